// Who is writing, over a channel of its own that keeps no history.

import { tidy } from './identity.js';

/** Published again while somebody writes. 2.5 s: twice within the 6 s after which the others stop showing it. */
const SAY_EVERY = 2_500;
const FORGET_AFTER = 6_000;

export class Typing {
  #client;
  #channel;
  #me;
  #changed;
  #subscription;
  #saidAt = 0;
  #writers = new Map();

  constructor(client, room, me, changed) {
    this.#client = client;
    this.#channel = `talk-typing:${room}`;
    this.#me = me;
    this.#changed = changed;
    this.#subscription = client.subscribe(this.#channel, { since: 'now' });
    this.#subscription.on('message', (message) => this.#heard(message));
  }

  /** The names of those who are writing. */
  get names() {
    return [...this.#writers.values()].map(({ name }) => name);
  }

  /** I am writing. */
  writes() {
    if (Date.now() - this.#saidAt >= SAY_EVERY) this.#say(true);
  }

  /** I stopped writing. */
  stopped() {
    if (this.#saidAt > 0) this.#say(false);
  }

  stoppedBy(session) {
    const writer = this.#writers.get(session);
    if (!writer) return;
    clearTimeout(writer.timer);
    this.#writers.delete(session);
    this.#changed();
  }

  leave() {
    this.#subscription.unsubscribe();
    for (const session of [...this.#writers.keys()]) this.stoppedBy(session);
  }

  #say(isWriting) {
    this.#saidAt = isWriting ? Date.now() : 0;
    // Not queued: later it would not be true any more.
    this.#client.publish(this.#channel, { name: this.#me, isWriting }, { queue: false }).catch(() => {});
  }

  #heard({ session, data }) {
    if (session === undefined || session === this.#client.session) return;
    this.stoppedBy(session);
    if (!data?.isWriting) return;
    const timer = setTimeout(() => this.stoppedBy(session), FORGET_AFTER);
    this.#writers.set(session, { name: tidy(data.name), timer });
    this.#changed();
  }
}
