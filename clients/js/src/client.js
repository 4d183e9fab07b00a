// The channel client: who it is, and what goes to which part. The protocol is docs/protocol.md.

import { Emitter } from './emitter.js';
import { ownEnvironment } from './environment.js';
import { OffhookError } from './errors.js';
import { Heartbeat } from './heartbeat.js';
import { Connection } from './connection.js';
import { Memory } from './memory.js';
import { Outbox } from './outbox.js';
import { decode, encode } from './payload.js';
import { back, offsetOf, sameEpoch } from './position.js';
import { Questions } from './questions.js';
import { Subscriptions } from './subscriptions.js';

const SUBPROTOCOL = 'offhook.v1.json';

/** Bytes in the socket above which nothing is added. 256 KiB: what is behind them could not overtake anyway. */
const MOST_BUFFERED = 256 * 1024;

/** A server that closed a connection for its flood of messages is left alone for the longest pause. */
const AFTER_FLOOD = 30_000;

/** Opens a connection that comes back by itself. */
export function connect(url, options) {
  return new Client(url, options);
}

export class Client {
  #options;
  #environment;
  #emitter = new Emitter();
  #connection;
  #heartbeat;
  #memory;
  #outbox;
  #questions;
  #subscriptions;
  #nextId = 1;
  #token;
  #resume;
  // The `id` of the `connect` under way, and what was in it.
  #connecting;
  #isOpen = false;
  #advice;
  #closing;
  #pings = new Map();
  #latency;
  #state = { name: 'connecting', attempt: 1 };
  #identity = {};

  constructor(url, options = {}) {
    this.#options = options;
    this.#environment = options.environment ?? ownEnvironment(options.WebSocket);
    const name = options.name ?? `offhook:${typeof url === 'string' ? url : ''}`;
    this.#memory = new Memory(options.store, name, this.#environment, (error) => this.#emitter.emit('warning', error));
    this.#outbox = new Outbox(this.#environment, options.outbox, {
      send: (message) => (this.#hasRoom() ? this.#send({ type: 'publish', ...message }) : undefined),
      more: () => options.keepUnsent && this.#memory.moreUnsent(() => this.#outbox.entries),
      less: () => options.keepUnsent && this.#memory.lessUnsent(),
      published: ({ message }, answer) => this.#emitter.emit('published', { ...summary(message), ...answer }),
      refused: ({ message }, error) => this.#emitter.emit('refused', { ...summary(message), error }),
    });
    this.#questions = new Questions(this.#environment, options.answerWithin, (message) => this.#send(message));
    this.#subscriptions = new Subscriptions(this.#environment, {
      send: (message) => this.#send(message),
      handled: (channel, position) => options.store && this.#memory.setPosition(channel, position),
    });
    this.#heartbeat = new Heartbeat(this.#environment, options.heartbeat, {
      ask: () => this.#ping(),
      dead: () => this.#connection.abandon('nothing was heard'),
    });
    this.#connection = this.#newConnection(url);
    this.#begin();
  }

  /** `connecting`, `open`, `waiting` and `offline` (until `retryAt`), `closed` (why: `error`). */
  get state() {
    return this.#state;
  }

  /** The name that other members see; the same on the next connection if it could be resumed. */
  get session() {
    return this.#identity.session;
  }

  get user() {
    return this.#identity.user;
  }

  /** Milliseconds there and back, as of the last ping. */
  get latency() {
    return this.#latency;
  }

  /** What was published and not answered yet, oldest first. */
  get unsent() {
    return this.#outbox.entries.map(({ message, sentAt }) => ({ ...decode(message), tried: sentAt !== undefined }));
  }

  on(type, listener) {
    return this.#emitter.on(type, listener);
  }

  off(type, listener) {
    this.#emitter.off(type, listener);
  }

  subscribe(channel, options = {}) {
    this.#checkIsOpen();
    return this.#subscriptions.add(channel, options, this.#memory.position(channel));
  }

  async publish(channel, data, { key, tags, queue = true, unordered = false } = {}) {
    this.#checkIsOpen();
    const message = { channel, ...encode(data), ...(tags && { tags }) };
    if (!queue) return this.#outbox.addOnce({ ...message, key });
    // What may be sent again has to have one.
    return this.#outbox.add({ ...message, key: key ?? this.#environment.uuid() }, { isUnordered: unordered });
  }

  async history(channel, { since, before, limit = 100 } = {}) {
    this.#checkIsOpen();
    const from = before === undefined ? since : back(before, limit + 1);
    const answer = await this.#questions.ask({ type: 'history', channel, ...(from !== undefined && { since: from }), limit });
    const { head, gap } = answer;
    const earlier = (m) => before === undefined || (sameEpoch(m.position, before) && offsetOf(m.position) < offsetOf(before));
    return { head, gap, messages: answer.messages.filter(earlier).map(decode) };
  }

  async presence(channel) {
    this.#checkIsOpen();
    const { members, total } = await this.#questions.ask({ type: 'presence', channel });
    return { members, total };
  }

  async receipts(channel, position) {
    this.#checkIsOpen();
    const { received, subscribers, sessions = [] } = await this.#questions.ask({ type: 'receipts', channel, position });
    return { received, subscribers, sessions };
  }

  async ack(channel, consumer, position) {
    this.#checkIsOpen();
    const answer = await this.#questions.ask({ type: 'ack', channel, consumer, ...(position !== undefined && { position }) });
    return answer.position;
  }

  /** The next subscription to this channel begins with its `since`, not where the last one was. */
  forget(channel) {
    this.#memory.forget(channel);
  }

  /** Does not wait for the next attempt; looks whether an open connection still lives. */
  reconnect() {
    this.#connection.hurry();
  }

  /** For good. The session ends; what was not sent stays in the store. */
  close() {
    this.#connection.stop(1000, '');
  }

  #newConnection(url) {
    const { token, backoff, openWithin } = this.#options;
    const isAsked = typeof url === 'function' || typeof token === 'function';
    const ask = async () => {
      this.#token = typeof token === 'function' ? await token() : token;
      return address(typeof url === 'function' ? await url() : url);
    };
    this.#token = typeof token === 'function' ? undefined : token;
    const settings = { url: isAsked ? ask : address(url), protocols: [SUBPROTOCOL], backoff, openWithin };
    return new Connection(this.#environment, settings, {
      // The first question of the heartbeat is the `connect`: who accepts a connection and says no word is dead too.
      opened: () => this.#heartbeat.start(),
      received: (data) => this.#received(data),
      ended: (end) => this.#ended(end),
      changed: (state) => this.#connectionChanged(state),
      woke: () => this.#heartbeat.ask(),
      shown: () => this.#memory.takeSession(),
      hidden: () => this.#memory.flush(),
      leaving: () => this.#leaving(),
    });
  }

  #begin() {
    const session = this.#options.store && this.#memory.takeSession();
    this.#resume = session?.resume;
    this.#subscriptions.unseal(session?.channels ?? []);
    if (this.#options.keepUnsent) {
      // Nobody waits for these promises any more: `published` and `refused` tell.
      for (const { message, sentAt } of this.#memory.unsent()) this.#outbox.add(message, { sentAt }).catch(() => {});
    }
    // Whoever made this client attaches to it first.
    queueMicrotask(() => this.#state.name !== 'closed' && this.#connection.start());
  }

  #sayWhoIAm() {
    const resume = this.#resume;
    const positions = resume && this.#subscriptions.positions();
    this.#connecting = { resume };
    this.#connecting.id = this.#send({ type: 'connect', token: this.#token, info: this.#options.info, resume, positions });
    this.#pings.set(this.#connecting.id, this.#environment.now());
  }

  #ping() {
    if (this.#isOpen) this.#pings.set(this.#send({ type: 'ping' }), this.#environment.now());
    else if (!this.#connecting) this.#sayWhoIAm();
  }

  #hasRoom() {
    return this.#connection.socket?.bufferedAmount < MOST_BUFFERED;
  }

  #send(message) {
    const { type, ...rest } = message;
    const id = this.#nextId++;
    const text = JSON.stringify({ type, id, ...rest });
    this.#emitter.emit('frame', { direction: 'out', text });
    this.#connection.send(text);
    return id;
  }

  #received(text) {
    this.#heartbeat.heard();
    this.#emitter.emit('frame', { direction: 'in', text });
    try {
      this.#take(JSON.parse(text));
    } catch (cause) {
      this.#emitter.emit('warning', new OffhookError('bad_message', `the server sent what can not be read: ${cause.message}`));
    }
  }

  #take(message) {
    switch (message.type) {
      case 'welcome': this.#welcomed(message); break;
      case 'token': this.#keepToken(message.resume); break;
      case 'published': this.#outbox.answered(message); break;
      case 'history': case 'received': case 'acked': this.#questions.answered(message); break;
      case 'members': if (!this.#questions.answered(message)) this.#subscriptions.handle(message); break;
      case 'pong': this.#ponged(message.id); break;
      case 'error': this.#refused(message); break;
      case 'reconnect': this.#advised(message.after_ms); break;
      case 'closing': this.#closing = message.reason; break;
      case 'subscribed': case 'unsubscribed': case 'message': case 'gap':
      case 'live': case 'catching_up': case 'join': case 'leave':
        this.#subscriptions.handle(message);
        break;
      default: // A newer server's: docs/protocol.md says that a client ignores types it doesn't know.
    }
  }

  #welcomed({ id, session, user, resume }) {
    if (id !== this.#connecting?.id) return;
    const resumed = this.#connecting.resume !== undefined;
    this.#connecting = undefined;
    this.#isOpen = true;
    this.#ponged(id);
    this.#identity = { session, user };
    this.#subscriptions.opened(resumed);
    if (!resumed) this.#subscriptions.unseal([]);
    // Empty: this session is too large for a token, and comes back with its positions.
    this.#resume = resume || undefined;
    this.#questions.opened();
    this.#outbox.opened();
    this.#changeState({ name: 'open', resumed });
  }

  #keepToken(resume) {
    this.#resume = resume;
    this.#subscriptions.seal();
  }

  #ponged(id) {
    const sentAt = this.#pings.get(id);
    if (sentAt === undefined) return;
    this.#pings.clear();
    this.#latency = this.#environment.now() - sentAt;
    this.#emitter.emit('latency', this.#latency);
  }

  #refused(error) {
    if (this.#connecting && error.id === this.#connecting.id) this.#notWelcome(OffhookError.from(error));
    else if (this.#outbox.answered(error) || this.#questions.answered(error) || this.#subscriptions.refused(error)) return;
    else if (error.id === undefined) this.#emitter.emit('warning', OffhookError.from(error));
  }

  #notWelcome(error) {
    if (error.code === 'bad_token' && this.#connecting.resume !== undefined) {
      this.#resume = undefined;
      this.#sayWhoIAm();
    } else if (error.retry === 'never') {
      this.#closeWith(error);
    } else {
      this.#connection.abandon(error.code, { after: error.retryAfter });
    }
  }

  #advised(ms) {
    const at = this.#environment.now() + ms;
    const cancel = this.#environment.later(() => this.#connection.abandon('the server is going away', { after: 0 }), ms);
    this.#advice = { at, cancel };
  }

  #ended({ code }) {
    const [advice, closing] = [this.#advice, this.#closing];
    // RFC 6455 §7.4.1: 1009, a message too large. Sent again it would end the next connection too.
    const dropped = code === 1009 && this.#outbox.dropLargest();
    this.#lost();
    if (advice) return { retry: true, after: Math.max(0, advice.at - this.#environment.now()) };
    if (closing === 'too_slow') return { retry: true };
    if (closing === 'flood') return { retry: true, atLeast: AFTER_FLOOD };
    return dropped ? { retry: true } : {};
  }

  #lost() {
    this.#advice?.cancel();
    this.#isOpen = false;
    this.#advice = this.#closing = this.#connecting = undefined;
    this.#pings.clear();
    this.#heartbeat.stop();
    this.#outbox.lost();
    this.#questions.lost();
    this.#subscriptions.lost();
  }

  #connectionChanged(state) {
    // Open is what the server has welcomed.
    if (state.name === 'open') return;
    if (state.name === 'closed') this.#closeWith(closedBy(state.end));
    else this.#changeState(state);
  }

  #closeWith(error) {
    if (this.#state.name === 'closed') return;
    this.#changeState({ name: 'closed', error });
    this.#connection.stop(1000, '');
    this.#lost();
    this.#memory.flush();
    const reason = error ?? new OffhookError('closed', 'the client was closed');
    this.#outbox.close(reason);
    this.#questions.close(reason);
    this.#subscriptions.close(error);
  }

  #changeState(state) {
    this.#state = state;
    this.#emitter.emit('state', state);
  }

  #leaving() {
    this.#memory.flush();
    if (this.#options.store && this.#resume !== undefined) {
      this.#memory.leaveSession({ resume: this.#resume, channels: this.#subscriptions.sealed });
    }
  }

  #checkIsOpen() {
    if (this.#state.name === 'closed') throw new OffhookError('closed', 'the client was closed');
  }
}

/** What says which publication it was. */
function summary(message) {
  const { channel, key, data } = decode(message);
  return { channel, key, data };
}

/** Nothing for a client's own close. */
function closedBy({ code, reason }) {
  if (code === 1000) return undefined;
  const why = code === 4001 ? 'the session came back on another connection' : reason || 'no reason given';
  return new OffhookError(code === 4001 ? 'replaced' : 'closed', `the connection was closed for good with ${code}: ${why}`);
}

/** An absolute `ws:` or `wss:` address; a page may leave out where it came from. */
function address(url) {
  const absolute = new URL(url, globalThis.location?.href);
  absolute.protocol = absolute.protocol.replace(/^http/, 'ws');
  return absolute.href;
}
