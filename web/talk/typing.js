// Who is writing: a channel beside the room's that keeps nothing.

import { tidy } from './identity.js';

/** Said again while one writes. 2.5 s: what others forget after 6 s is renewed in time, if once lost too. */
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

  /** Their names. */
  get names() {
    return [...this.#writers.values()].map(({ name }) => name);
  }

  /** I write. */
  writes() {
    if (Date.now() - this.#saidAt >= SAY_EVERY) this.#say(true);
  }

  /** I do not any more. */
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
    // Without a connection nobody needs to know.
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
