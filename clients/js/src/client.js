// The channel client: the session, and which part of the client handles which message. The protocol is docs/protocol.md.

import { Emitter } from './emitter.js';
import { ownEnvironment } from './environment.js';
import { OffhookError } from './errors.js';
import { Heartbeat } from './heartbeat.js';
import { Connection } from './connection.js';
import { Outbox } from './outbox.js';
import { cbor, decode, encode, loadCbor } from './payload.js';
import { ANSWER_WITHIN, Questions } from './questions.js';
import { nameOf, Subscriptions } from './subscriptions.js';

/** The first one allows binary messages, which are CBOR and contain bytes. A server may know only the second. */
const PROTOCOLS = ['offhook.v1.cbor', 'offhook.v1.json'];

/** Nothing is published while the socket holds this many unsent bytes. 256 KiB: more would only delay what has to be sent first. */
const MOST_BUFFERED = 256 * 1024;

/** The least pause after the server closed the connection because of too many messages. 30 s: its rate limits have recovered by then. */
const AFTER_FLOOD = 30_000;

const utf8 = new TextEncoder();

/** Opens a connection and keeps it open. */
export function connect(url, options) {
  return new Client(url, options);
}

export class Client extends Emitter {
  #options;
  #environment;
  #connection;
  #heartbeat;
  #memory;
  #outbox;
  #questions;
  #subscriptions;
  #nextId = 1;
  #token;
  #info;
  #resume;
  // The `id` of the `connect` in flight, and the token that was in it.
  #connecting;
  #isOpen = false;
  #advice;
  #closing;
  // The ping in flight: its `id`, and when it was sent.
  #pinged;
  // Settles when CBOR is loaded, once there was a message with bytes: it and all that follow wait for that, in order.
  #reading;
  // The largest message of this connection: its `id`, and its size in bytes.
  #largest = {};
  /** `{ name }`: `connecting`, `open`, `waiting` or `offline` (until `retryAt`), or `closed` (with its `error`). */
  state = { name: 'connecting', attempt: 1 };
  /** The name that other members see. It stays the same when the next connection resumes the session. */
  session;
  user;
  /** The transport in use: `websocket`, `sse` or `polling`. */
  transport = 'websocket';
  /** The round trip of the last ping in milliseconds. */
  latency;

  constructor(url, options = {}) {
    super();
    this.#options = options;
    this.#info = options.info;
    this.#environment = options.environment ?? ownEnvironment(options.WebSocket);
    const { store } = options;
    if (store && typeof store !== 'function') throw new TypeError('store: expected persist(sessionStorage)');
    const name = options.name ?? `offhook:${typeof url === 'string' ? url : ''}`;
    this.#memory = store?.(name, this.#environment, (error) => queueMicrotask(() => this.emit('warning', error)));
    this.#outbox = new Outbox(this.#environment, options.outbox, {
      send: (message) => (this.#connection.socket?.bufferedAmount < MOST_BUFFERED ? this.#send({ type: 'publish', ...message }) : undefined),
      more: () => this.#memory?.moreUnsent(() => this.#outbox.entries),
      less: () => this.#memory?.lessUnsent(),
      published: ({ message }, answer) => this.emit('published', { ...decode(message), ...answer }),
      refused: ({ message }, error) => this.emit('refused', { ...decode(message), error }),
    });
    this.#questions = new Questions(this.#environment, options.answerWithin, (message) => this.#send(message));
    this.#subscriptions = new Subscriptions(this.#environment, {
      send: (message, ids) => this.#send(message, ids),
      // What is not done in time, or on this connection, comes again on the next.
      ask: (message) => this.#questions.ask(message, ANSWER_WITHIN, true).catch(() => {}),
      handled: (name, position) => this.#memory?.setPosition(name, position),
      made: (subscription) => this.emit('subscribed', subscription),
    });
    this.#heartbeat = new Heartbeat(this.#environment, options.heartbeat, {
      ask: () => this.#ping(),
      dead: () => this.#connection.abandon('no answer to a ping'),
    });
    this.#connection = this.#newConnection(url);
    this.#begin();
  }

  /** Publications that the server has not answered, oldest first. */
  get unsent() {
    return this.#outbox.entries.map(({ message, sentAt }) => ({ ...decode(message), tried: !!sentAt }));
  }

  /** Subscribes to a channel, to all channels of `{ filter }`, or to each of several channels with one request. */
  subscribe(target, options = {}) {
    this.#checkIsOpen();
    const isMany = Array.isArray(target);
    const targets = (isMany ? target : [target]).map((one) => (typeof one === 'string' ? { channel: one } : one));
    const added = this.#subscriptions.add(targets, options, (name) => this.#memory?.position(name));
    return isMany ? added : added[0];
  }

  async publish(channel, data, { key, tags, queue = true, unordered } = {}) {
    this.#checkIsOpen();
    const message = { channel, ...encode(data), key, tags };
    if (!queue) return this.#outbox.addOnce(message);
    // Without a key it could not be sent again.
    return this.#outbox.add({ ...message, key: key ?? this.#environment.uuid() }, { isUnordered: unordered });
  }

  history(channel, { since, before, limit = 100 } = {}) {
    return this.#read({ type: 'history', channel, since, before, limit });
  }

  /** Reads the state of a channel once: the newest message of each value of the tag `key`. */
  readState(channel, { since, limit } = {}) {
    return this.#read({ type: 'state', channel, since, limit });
  }

  presence(channel) {
    return this.#ask({ type: 'presence', channel });
  }

  /** Replaces what other members see of this session. */
  async setInfo(info) {
    await this.#ask({ type: 'presence_update', info });
    // Not before: each `connect` with an info that the server refuses would be refused, too.
    this.#info = info;
  }

  async receipts(channel, position) {
    return { sessions: [], ...(await this.#ask({ type: 'receipts', channel, position })) };
  }

  async ack(channel, consumer, position) {
    return (await this.#ask({ type: 'ack', channel, consumer, position })).position;
  }

  /** Calls the server's backend. Sent once: if the connection is lost before the answer, the result is unknown. */
  async call(method, data = null, { deadline, key } = {}) {
    return decode(await this.#ask({ type: 'call', method, ...encode(data), deadline_ms: deadline, key }, deadline ?? 10_000)).data;
  }

  /** The next subscription to this channel or `{ filter }` begins at its `since`, not at the stored position. */
  forget(target) {
    this.#memory?.forget(typeof target === 'string' ? target : nameOf(target.filter));
  }

  /** Ends a wait; checks that an open connection is still alive. */
  reconnect() {
    this.#connection.hurry();
  }

  /** Closes for good and ends the session. Unsent publications stay in the store. */
  close() {
    this.#connection.stop();
  }

  #newConnection(url) {
    const { token, backoff, openWithin, transports } = this.#options;
    // One that cannot be an address is an error of the caller.
    if (typeof url !== 'function') address(url);
    const ask = async () => {
      this.#token = await current(token);
      const href = address(await current(url));
      await this.#environment.recall?.(href, this, transports).catch(() => {});
      return href;
    };
    const settings = { url: ask, protocols: PROTOCOLS, backoff, openWithin };
    return new Connection(this.#environment, settings, {
      created: (socket) => { socket.binaryType = 'arraybuffer'; },
      // The heartbeat's first question is the `connect`: a server that accepts and does not answer counts as dead.
      opened: () => this.#heartbeat.start(),
      received: (data) => this.#received(data),
      ended: (end) => this.#ended(end),
      changed: (state) => (state.name === 'closed' ? this.#closeWith(closedBy(state.end)) : this.#changeState(state)),
      woke: () => this.#heartbeat.ask(),
      shown: () => this.#memory?.takeSession(),
      hidden: () => this.#memory?.flush(),
      leaving: () => this.#leaving(),
    });
  }

  #begin() {
    const session = this.#memory?.takeSession();
    this.#resume = session?.resume;
    this.#subscriptions.sealed = session?.channels ?? [];
    // The page that had these promises is gone: the events `published` and `refused` report the answers.
    for (const { message, sentAt } of this.#memory?.unsent() ?? []) this.#outbox.add(message, { sentAt, isStored: true }).catch(() => {});
    // Later in this task, so that the caller can add listeners first.
    queueMicrotask(() => this.state.name !== 'closed' && this.#connection.start());
  }

  #sendConnect() {
    const resume = this.#resume || undefined;
    const positions = resume && this.#subscriptions.positions();
    this.#connecting = { resume };
    this.#largest = { size: 0 };
    this.#connecting.id = this.#send({ type: 'connect', token: this.#token, info: this.#info, resume, ...positions, lineage: true });
    this.#expectPong(this.#connecting.id);
  }

  #ping() {
    if (this.#isOpen) this.#expectPong(this.#send({ type: 'ping' }));
    else if (!this.#connecting) this.#sendConnect();
  }

  #expectPong(id) {
    this.#pinged = { id, at: this.#environment.now() };
  }

  /** Sends a message; returns its `id`, the first of as many as its answers need. */
  #send({ type, ...rest }, ids = 1) {
    const id = this.#nextId;
    this.#nextId += ids;
    const message = { type, id, ...rest };
    const data = cbor?.encode(message, this.#connection.socket) ?? JSON.stringify(message);
    const size = isText(data) ? utf8.encode(data).length : data.length;
    if (size > this.#largest.size) this.#largest = { id, size };
    this.#frame('out', data);
    this.#connection.send(data);
    return id;
  }

  #frame(direction, data) {
    this.emit('frame', { direction, [isText(data) ? 'text' : 'bytes']: data });
  }

  #received(data) {
    this.#heartbeat.heard();
    if (this.#reading || !isText(data)) this.#readLater(data, this.#connection.socket);
    else this.#parse(data);
  }

  /** In order. The first message with bytes waits until CBOR is loaded. */
  async #readLater(data, socket) {
    await (this.#reading ??= loadCbor());
    // If the connection was lost, what it brought comes again.
    if (socket !== this.#connection.socket) return;
    if (cbor) this.#parse(data);
    else {
      // Perhaps a newer version of the page has replaced its files: go on with base64.
      PROTOCOLS.splice(0, PROTOCOLS.length - 1);
      this.#reading = undefined;
      this.#connection.abandon('no cbor.js');
    }
  }

  #parse(data) {
    this.#frame('in', data);
    try {
      this.#take((cbor?.decode ?? JSON.parse)(data));
    } catch (cause) {
      this.emit('warning', new OffhookError('bad_message', `unreadable: ${cause.message}`));
    }
  }

  #take(message) {
    switch (message.type) {
      case 'welcome': this.#welcomed(message); break;
      case 'token':
        this.#resume = message.resume;
        this.#subscriptions.seal();
        break;
      case 'pong': this.#ponged(message.id); break;
      case 'error': this.#refused(message); break;
      case 'reconnect': this.#advised(message.after_ms); break;
      case 'closing': this.#closing = message.reason; break;
      case 'restored': this.#subscriptions.restored(); break;
      case 'expiring': this.#refresh().catch((error) => this.emit('warning', error)); break;
      case 'told': this.emit('told', decode(message).data); break;
      default: if (!this.#answered(message)) this.#subscriptions.handle(message);
    }
  }

  #welcomed({ id, session, user, resume }) {
    if (id !== this.#connecting?.id) return;
    const resumed = !!this.#connecting.resume;
    this.#connecting = undefined;
    this.#isOpen = true;
    this.#ponged(id);
    Object.assign(this, { session, user });
    this.#subscriptions.opened(resumed);
    if (!resumed) this.#subscriptions.sealed = [];
    // Empty: there is no token for this session, which is resumed with its positions.
    this.#resume = resume;
    this.#questions.opened();
    this.#outbox.opened();
    this.#changeState({ name: 'open', resumed });
  }

  /** The token that the session stands on expires soon. Without a newer one the server closes the connection with 4003. */
  async #refresh() {
    this.#token = await current(this.#options.token);
    await this.#ask({ type: 'refresh', token: this.#token });
  }

  #ponged(id) {
    if (id !== this.#pinged?.id) return;
    this.latency = this.#environment.now() - this.#pinged.at;
    this.#pinged = undefined;
    this.emit('latency', this.latency);
  }

  /** Whether this was the answer to a publication or a question. */
  #answered(message) {
    return this.#outbox.answered(message) || this.#questions.answered(message);
  }

  #refused(error) {
    if (this.#connecting && error.id === this.#connecting.id) this.#notWelcome(OffhookError.from(error));
    else if (error.id === undefined) this.emit('warning', OffhookError.from(error));
    else if (!this.#answered(error)) this.#subscriptions.refused(error);
  }

  #notWelcome(error) {
    if (error.code === 'bad_token' && this.#connecting.resume) {
      this.#resume = undefined;
      this.#sendConnect();
    } else if (error.retry === 'never') {
      this.#closeWith(error);
    } else {
      this.#connection.abandon(error.code, error.retryAfter);
    }
  }

  #advised(ms) {
    this.#advice?.cancel();
    const at = this.#environment.now() + ms;
    const cancel = this.#environment.later(() => this.#connection.abandon('going away'), ms);
    this.#advice = { at, cancel };
  }

  #ended(end) {
    const { code } = end;
    const [advice, closing, isOpen] = [this.#advice, this.#closing, this.#isOpen];
    // WebSockets may be blocked: loads the other transports, which decide about the next attempt.
    if (!isOpen) this.#environment.fallBack?.(end, this);
    if (code === 1009) this.#refuseLargest();
    this.#lost();
    // The token has expired, and with it what resumes the session.
    if (code === 4003) this.#resume = undefined;
    if (advice) return { retry: true, after: advice.at - this.#environment.now() };
    if (closing === 'flood') return { retry: true, atLeast: AFTER_FLOOD };
    const isRenewed = code === 4003 && typeof this.#options.token === 'function';
    // 1008 before the `welcome`: the `connect` came too late, because the page was frozen.
    const isLate = code === 1008 && !isOpen;
    return { retry: code === 1009 || isRenewed || isLate || closing === 'too_slow' || undefined };
  }

  /** RFC 6455 §7.4.1: 1009, message too big. Sent again it would end the next connection, too. */
  #refuseLargest() {
    const { id, size } = this.#largest;
    this.#refused({ type: 'error', id, code: 'too_large', message: `${size} bytes: larger than the server accepts` });
  }

  #lost() {
    // First, because listeners may use the client.
    this.#outbox.lost();
    this.#questions.lost();
    this.#subscriptions.lost();
    this.#advice?.cancel();
    this.#isOpen = false;
    this.#advice = this.#closing = this.#connecting = this.#pinged = undefined;
    this.#heartbeat.stop();
  }

  #closeWith(error) {
    if (this.state.name === 'closed') return;
    this.#changeState({ name: 'closed', error });
    this.#connection.stop();
    this.#lost();
    this.#memory?.flush();
    const reason = error ?? new OffhookError('closed', 'the client was closed');
    this.#outbox.close(reason);
    this.#questions.close(reason);
    this.#subscriptions.close(error);
  }

  #changeState(state) {
    this.state = state;
    this.emit('state', state);
  }

  #leaving() {
    this.#memory?.flush();
    if (this.#resume) this.#memory?.leaveSession({ resume: this.#resume, channels: this.#subscriptions.sealed });
  }

  async #read(message) {
    const answer = await this.#ask(message);
    return { ...answer, messages: answer.messages.map(decode) };
  }

  async #ask(message, once) {
    this.#checkIsOpen();
    const { type, id, channel, ...answer } = await this.#questions.ask(message, once);
    return answer;
  }

  #checkIsOpen() {
    if (this.state.name === 'closed') throw new OffhookError('closed', 'the client was closed');
  }
}

function isText(data) {
  return typeof data === 'string';
}

/** An address or a token; a function is called for a new one. */
function current(given) {
  return typeof given === 'function' ? given() : given;
}

/** The error of a close for good; none for a normal close. */
function closedBy({ code, reason }) {
  if (code === 1000) return undefined;
  return new OffhookError(code === 4001 ? 'replaced' : 'closed', `closed with ${code} ${reason}`);
}

/** An absolute `ws:` or `wss:` address. In a page it may be relative. */
function address(url) {
  const absolute = new URL(url, globalThis.location?.href);
  absolute.protocol = absolute.protocol.replace(/^http/, 'ws');
  return absolute.href;
}
