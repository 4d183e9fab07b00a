// One subscription as its reader sees it. Messages of the server reach it through `Subscriptions`.

import { Emitter } from './emitter.js';
import { Inbox } from './inbox.js';
import { decode } from './payload.js';
import { isBefore, oneBefore, step } from './position.js';

/**
 * ```text
 *   waiting ─▶ asked ─▶ catching_up ◀─▶ live          any ─▶ ended
 *      │                     ▲            ▲
 *      └──── expected ───────┴────────────┘    paused: the reader is slow
 * ```
 * `expected`: restored by a resume token, not announced yet.
 */
export class Subscription extends Emitter {
  #inbox;
  #isIterated = false;
  #owner;
  // With a `window`: the messages that the reader is not done with, and the position before each, oldest first.
  #undone;
  #newest;
  phase = 'waiting';
  /** The position of the last message that was handled. */
  position;
  /** The newest position received. */
  received;
  /** The `id` of the `subscribe` in flight. */
  asked;
  /** Ends the wait before the next `subscribe`. */
  cancelRetry;

  /**
   * @param target `{ channel }` or `{ filter }`; with `subscription`, the number that names it on the wire
   * @param owner callbacks `unsubscribe(subscription)`, `pause(…)`, `goOn(…)`, `moved(…)` and `done(…, position, cumulative)`
   */
  constructor(target, { since = 'now', presence, echo, window, token }, position, owner) {
    super();
    /** What the reader sees of it: `channel` or `filter`; `subscription`. */
    Object.assign(this, target);
    this.target = target;
    this.since = since;
    this.token = token;
    // What a `subscribe` says besides the target and where to begin. JSON leaves out what is undefined.
    this.fields = { presence: presence || undefined, echo: echo === false ? echo : undefined, window };
    if (window) this.#undone = new Map();
    this.received = this.position = position;
    this.#owner = owner;
    this.#inbox = new Inbox({
      full: () => owner.pause(this),
      empty: () => owner.goOn(this),
      handled: (event) => this.#isHandled(event),
      left: () => this.unsubscribe(),
    });
  }

  /** Names this subscription among those of the session: its number, or else its channel. */
  get key() {
    return this.subscription ?? this.channel;
  }

  /** Where a `subscribe` begins: after what the reader has, or with a `window` after what it is done with. */
  get from() {
    return this.#done ?? this.received ?? this.since;
  }

  /** `waiting`, `catching_up`, `live`, `paused` or `ended`. */
  get state() {
    return ['asked', 'expected'].includes(this.phase) ? 'waiting' : this.phase;
  }

  /** Calls `listener` for each event of this type. Returns a function that removes it. */
  on(type, listener) {
    // A subscription is read by listeners or by a loop; with listeners, events are not queued.
    if (!this.#isIterated) this.#inbox = undefined;
    return super.on(type, listener);
  }

  [Symbol.asyncIterator]() {
    if (this.#isIterated || !this.#inbox) throw new TypeError('it has a reader already');
    this.#isIterated = true;
    return this.#inbox.iterator();
  }

  /** With a `window`: the reader is done with this message, or with all up to it. The server then sends more. */
  done({ at, position }, { cumulative } = {}) {
    if (!this.#undone) throw new TypeError('done: subscribe with a window');
    const place = at ?? position;
    for (const other of this.#undone.keys()) {
      if (other === place || (cumulative && isBefore(other, place))) this.#undone.delete(other);
    }
    this.#moveTo(this.#done ?? this.#newest);
    this.#owner.done(this, place, cumulative);
  }

  unsubscribe() {
    this.#owner.unsubscribe(this);
  }

  /** Handles a message of the server about this subscription. */
  handle(event) {
    const { type } = event;
    if (type === 'message' || type === 'own') this.#message(event);
    else if (type === 'subscribed') this.#subscribed(event);
    else {
      if (type === 'live' || type === 'catching_up') this.phase = type;
      if (type === 'live') this.received ??= event.position;
      // A gap of one of a filter's channels leaves the filter's own position unchanged.
      if (type === 'gap' && (!this.filter || !event.channel)) this.#skip(event);
      this.#give(event);
    }
  }

  end(error) {
    if (this.phase === 'ended') return;
    this.phase = 'ended';
    this.cancelRetry?.();
    this.emit('ended', { type: 'ended', channel: this.channel, error });
    this.#inbox?.end(error);
  }

  #subscribed({ id, ...event }) {
    this.phase = event.live ? 'live' : 'catching_up';
    this.asked = undefined;
    // Nothing is missing: the next message follows this position.
    if (event.live) this.received = event.position;
    this.#give({ ...event, resumed: id === undefined });
  }

  #message(event) {
    // Values of the channel's state have holes between them, and come again after each reconnect until the stream goes on.
    if (!event.state) {
      const before = this.received;
      const place = event.at ?? event.position;
      if (this.#undone && before && !isBefore(before, place)) {
        // The reader has it already. Unless it is still busy with it, the server has not heard that it is done.
        if (!this.#undone.has(place)) this.#owner.done(this, place);
        return;
      }
      // For a filter, and for what was overtaken by a newer message, the transport says where the subscription is.
      const move = this.filter || event.at ? 'next' : step(before, event);
      if (move === 'repeated') return;
      // The protocol rules this out; the reader is told all the same.
      if (move === 'hole') this.#give({ type: 'gap', channel: this.channel, from: before, to: event.position, reason: 'unannounced' });
      this.received = place;
      if (event.type === 'message') {
        this.#undone?.set(place, before ?? oneBefore(place));
        this.#newest = place;
      }
    }
    this.#give(decode(event));
  }

  /** With a `window`, the position up to which the reader is done, while it is not done with everything. */
  get #done() {
    return this.#undone?.values().next().value;
  }

  #skip({ from, to }) {
    // The stream goes on from an earlier position: what came after that is no longer part of it.
    const isBack = isBefore(to, from);
    for (const place of this.#undone?.keys() ?? []) if (isBack && isBefore(to, place)) this.#undone.delete(place);
    // The server no longer keeps what the reader has already.
    if (isBack || !this.#undone || !this.received || isBefore(this.received, to)) this.received = to;
  }

  #give(event) {
    if (this.#inbox) this.#inbox.put(event);
    this.emit(event.type, event);
    if (!this.#inbox) this.#isHandled(event);
  }

  #isHandled({ type, channel, position, at, to, live, state }) {
    if (this.#done) {
      this.#moveTo(this.#done);
      return;
    }
    const isPlace = type === 'gap' ? !this.filter || !channel : live || ['message', 'own', 'live'].includes(type);
    if (isPlace && !state) this.#moveTo(to ?? at ?? position);
  }

  #moveTo(position) {
    if (position === this.position) return;
    this.position = position;
    this.#owner.moved(this);
  }
}
