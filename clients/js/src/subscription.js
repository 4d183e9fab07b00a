// One channel as its reader sees it. What the server says of it comes through `Subscriptions`.

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
  /** The newest position that came; what a new connection goes on from. */
  received;
  /** The `id` of the `subscribe` under way. */
  asked;

  constructor(channel, { since = 'now', presence = false }, position, owner) {
    Object.defineProperty(this, 'channel', { value: channel, enumerable: true });
    this.since = since;
    this.presence = presence;
    this.phase = 'waiting';
    this.received = position;
    this.#handled = position;
    this.#owner = owner;
    this.#inbox = new Inbox({
      full: () => owner.pause(this),
      empty: () => owner.goOn(this),
      handled: (event) => this.#isHandled(event),
      left: () => this.unsubscribe(),
    });
  }

  /** `waiting`, `catching_up`, `live`, `paused` or `ended`. */
  get state() {
    return this.phase === 'asked' || this.phase === 'expected' ? 'waiting' : this.phase;
  }

  /** That of the last message that was handled. */
  get position() {
    return this.#handled;
  }

  /** Calls `listener` for each event of this type; gives a function that stops it. */
  on(type, listener) {
    // Whoever listens does not wait for events that came before; and nobody will take them from there.
    if (!this.#isIterated) this.#inbox = undefined;
    return this.#emitter.on(type, listener);
  }

  off(type, listener) {
    this.#emitter.off(type, listener);
  }

  [Symbol.asyncIterator]() {
    if (this.#isIterated || !this.#inbox) {
      throw new TypeError(`the events of ${this.channel} go elsewhere already: to callbacks, or to another loop`);
    }
    this.#isIterated = true;
    return this.#inbox.iterator();
  }

  unsubscribe() {
    this.#owner.unsubscribe(this);
  }

  /** What the server said of the channel. */
  handle(event) {
    switch (event.type) {
      case 'message': this.#message(event); break;
      case 'gap': this.received = event.to; this.#give(event); break;
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

  #subscribed({ position, live, id }) {
    this.phase = live ? 'live' : 'catching_up';
    this.asked = undefined;
    // Nothing is missing: what comes next follows this.
    if (live) this.received = position;
    this.#give({ type: 'subscribed', channel: this.channel, position, live, resumed: id === undefined });
  }

  #message(event) {
    const move = step(this.received, event.position);
    if (move === 'repeated') return;
    if (move === 'hole') {
      // The protocol rules it out; a reader is told all the same.
      const gap = { from: this.received, to: event.position, reason: 'unannounced' };
      this.#give({ type: 'gap', channel: this.channel, ...gap });
    }
    this.received = event.position;
    this.#give(decode(event));
  }

  #give(event) {
    if (this.#inbox) this.#inbox.put(event);
    this.#emitter.emit(event.type, event);
    if (!this.#inbox) this.#isHandled(event);
  }

  #isHandled(event) {
    const position = { message: event.position, live: event.position, gap: event.to }[event.type]
      ?? (event.live ? event.position : undefined);
    if (position === undefined || position === this.#handled) return;
    this.#handled = position;
    this.#owner.handled(this);
  }
}
