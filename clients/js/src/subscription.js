// One subscription as its reader sees it. Messages of the server reach it through `Subscriptions`.

import { Emitter } from './emitter.js';
import { Inbox } from './inbox.js';
import { decode } from './payload.js';
import { step } from './position.js';

/**
 * ```text
 *   waiting ─▶ asked ─▶ catching_up ◀─▶ live          any ─▶ ended
 *      │                     ▲            ▲
 *      └──── expected ───────┴────────────┘    paused: the reader is slow
 * ```
 * `expected`: restored by a resume token, not announced yet.
 */
export class Subscription {
  #emitter = new Emitter();
  #inbox;
  #isIterated = false;
  #owner;
  #handled;
  phase = 'waiting';
  /** The newest position received; a new connection goes on after it. */
  received;
  /** The `id` of the `subscribe` in flight. */
  asked;

  /** @param target `{ channel }` or `{ filter }`; with `subscription`, the number that names it on the wire */
  constructor(target, { since = 'now', presence, echo }, position, owner) {
    this.target = target;
    this.since = since;
    // What a `subscribe` says besides the target and where to begin.
    this.fields = { ...(presence && { presence }), ...(echo === false && { echo }) };
    this.received = this.#handled = position;
    this.#owner = owner;
    this.#inbox = new Inbox({
      full: () => owner.pause(this),
      empty: () => owner.goOn(this),
      handled: (event) => this.#isHandled(event),
      left: () => this.unsubscribe(),
    });
  }

  get channel() {
    return this.target.channel;
  }

  get filter() {
    return this.target.filter;
  }

  /** Names this subscription among those of the session: its number, or else its channel. */
  get key() {
    return this.target.subscription ?? this.channel;
  }

  /** `waiting`, `catching_up`, `live`, `paused` or `ended`. */
  get state() {
    return this.phase === 'asked' || this.phase === 'expected' ? 'waiting' : this.phase;
  }

  /** The position of the last message that was handled. */
  get position() {
    return this.#handled;
  }

  /** Calls `listener` for each event of this type. Returns a function that removes it. */
  on(type, listener) {
    // A subscription is read by listeners or by a loop; with listeners, events are not queued.
    if (!this.#isIterated) this.#inbox = undefined;
    return this.#emitter.on(type, listener);
  }

  off(type, listener) {
    this.#emitter.off(type, listener);
  }

  [Symbol.asyncIterator]() {
    if (this.#isIterated || !this.#inbox) throw new TypeError('read already, by listeners or another loop');
    this.#isIterated = true;
    return this.#inbox.iterator();
  }

  unsubscribe() {
    this.#owner.unsubscribe(this);
  }

  /** Handles a message of the server about this subscription. */
  handle(event) {
    switch (event.type) {
      case 'message': case 'own': this.#message(event); break;
      case 'gap':
        // A gap of a filter is about one of its channels; the filter's own position is unchanged.
        if (!this.filter) this.received = event.to;
        this.#give(event);
        break;
      case 'live':
        this.phase = 'live';
        this.received ??= event.position;
        this.#give(event);
        break;
      case 'catching_up': this.phase = 'catching_up'; this.#give(event); break;
      case 'subscribed': this.#subscribed(event); break;
      default: this.#give(event);
    }
  }

  end(error) {
    if (this.phase === 'ended') return;
    this.phase = 'ended';
    this.#emitter.emit('ended', { type: 'ended', channel: this.channel, error });
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
      const move = this.filter ? 'next' : step(before, event);
      if (move === 'repeated') return;
      // The protocol rules this out; the reader is told all the same.
      if (move === 'hole') this.#give({ type: 'gap', channel: this.channel, from: before, to: event.position, reason: 'unannounced' });
      this.received = event.at ?? event.position;
    }
    this.#give(decode(event));
  }

  #give(event) {
    if (this.#inbox) this.#inbox.put(event);
    this.#emitter.emit(event.type, event);
    if (!this.#inbox) this.#isHandled(event);
  }

  #isHandled({ type, position, at, to, live, state }) {
    if (type === 'gap' && !this.filter) position = to;
    else if (state || !(live || type === 'message' || type === 'own' || type === 'live')) return;
    position = at ?? position;
    if (position === this.#handled) return;
    this.#handled = position;
    this.#owner.handled(this);
  }
}
