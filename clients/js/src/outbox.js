// What is published, until the server has answered: each with its key, over as many connections as it takes. The
// key makes it safe to send again what may have arrived. A server may refuse one publication for now and take
// the next: to keep their order, a channel has one under way at a time.

import { OffhookError } from './errors.js';

/** Defaults, each with its reason. */
export const OUTBOX = {
  /** Publications that wait. 1,000: what somebody types offline in a day. */
  count: 1_000,
  /** Characters of what waits. 1 MiB: nothing to a phone, and a fifth of what sessionStorage holds. */
  size: 1 << 20,
  /** Sent and not answered, in all channels. 32: fills a connection of 100 ms and a server that commits every 10 ms. */
  inFlight: 32,
  /** Sent and not answered for this long: given up, since servers forget keys after an hour. */
  giveUpAfter: 50 * 60_000,
};

/** When a server says `later`, but not when. */
const LATER = 1_000;

export class Outbox {
  #environment;
  #limits;
  #owner;
  #entries = [];
  #size = 0;
  #inFlight = new Map();
  #isOpen = false;
  #pausedUntil = 0;
  #cancel = () => {};

  /**
   * @param owner `send(message)` gives the id it was sent with, or `undefined` while the socket is full;
   *   `more()`, `less()`, `published(entry, answer)`, `refused(entry, error)`
   */
  constructor(environment, limits, owner) {
    this.#environment = environment;
    this.#limits = { ...OUTBOX, ...limits };
    this.#owner = owner;
  }

  /** What waits, and what has no answer yet. */
  get entries() {
    return this.#entries.filter(({ isOnce }) => !isOnce);
  }

  /** Queues a message; the promise is kept once the server has it, or says that it will not. */
  add(message, { sentAt, isUnordered = false } = {}) {
    const size = JSON.stringify(message).length;
    if (this.#entries.length >= this.#limits.count || this.#size + size > this.#limits.size) {
      const detail = `${this.#entries.length} publications wait for a connection, as many as may`;
      return Promise.reject(new OffhookError('queue_full', detail, { retry: 'later' }));
    }
    const entry = this.#put({ message, size, sentAt, isUnordered });
    this.pump();
    return entry.answer;
  }

  /** Sends a message now and once, or not at all. */
  addOnce(message) {
    const isBusy = this.#inFlight.size >= this.#limits.inFlight || this.#environment.now() < this.#pausedUntil;
    const id = this.#isOpen && !isBusy ? this.#owner.send(message) : undefined;
    if (id === undefined) return Promise.reject(notQueued());
    const entry = this.#put({ message, size: 0, isSent: true, isOnce: true, isUnordered: true });
    this.#inFlight.set(id, entry);
    return entry.answer;
  }

  #put(entry) {
    entry.answer = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
    this.#entries.push(entry);
    this.#size += entry.size;
    this.#owner.more();
    return entry;
  }

  opened() {
    this.#isOpen = true;
    this.#pausedUntil = 0;
    this.pump();
  }

  /** What was not answered goes again over the next connection. */
  lost() {
    this.#isOpen = false;
    this.#inFlight.clear();
    this.#cancel();
    for (const entry of [...this.#entries]) {
      entry.isSent = false;
      if (entry.isOnce) this.#reject(entry, notQueued());
    }
  }

  /** Sends what may be sent now. */
  pump() {
    this.#cancel();
    const now = this.#environment.now();
    this.#giveUp(now);
    if (!this.#isOpen) return;
    if (now < this.#pausedUntil) {
      this.#pumpLater(this.#pausedUntil - now);
      return;
    }
    const busy = new Set();
    for (const entry of this.#entries) {
      const { channel } = entry.message;
      const mayGo = !entry.isSent && (entry.isUnordered || !busy.has(channel));
      if (mayGo && this.#inFlight.size < this.#limits.inFlight && !this.#send(entry, now)) return;
      if (!entry.isUnordered) busy.add(channel);
    }
  }

  /** Whether the socket had room. */
  #send(entry, now) {
    const id = this.#owner.send(entry.message);
    if (id === undefined) {
      // No event says when a socket has room again.
      this.#pumpLater(50);
      return false;
    }
    entry.isSent = true;
    entry.sentAt ??= now;
    this.#inFlight.set(id, entry);
    return true;
  }

  /** Whether this was the answer to a publication. */
  answered(answer) {
    const entry = this.#inFlight.get(answer.id);
    if (!entry) return false;
    this.#inFlight.delete(answer.id);
    if (answer.type === 'error') this.#refused(entry, OffhookError.from(answer));
    else {
      const { position, duplicate = false } = answer;
      this.#remove(entry);
      entry.resolve({ position, duplicate });
      this.#owner.published(entry, { position, duplicate });
    }
    this.pump();
    return true;
  }

  /** The connection ended since a message was too large: the largest under way will not be sent again. */
  dropLargest() {
    const [largest] = [...this.#inFlight.values()].sort((a, b) => b.size - a.size);
    if (!largest) return false;
    this.#reject(largest, new OffhookError('too_large', 'the server takes no message as large as this'));
    return true;
  }

  /** Nothing will be sent any more. */
  close(error) {
    this.lost();
    for (const entry of [...this.#entries]) this.#reject(entry, error, { isKept: true });
    this.#entries = [];
  }

  #refused(entry, error) {
    entry.isSent = false;
    if (error.retry === 'never' || entry.isOnce) this.#reject(entry, error);
    else if (error.retry === 'reconnect') this.#isOpen = false;
    else {
      const until = this.#environment.now() + (error.retryAfter ?? LATER);
      this.#pausedUntil = Math.max(this.#pausedUntil, until);
    }
  }

  #giveUp(now) {
    const old = (entry) => entry.sentAt !== undefined && now - entry.sentAt > this.#limits.giveUpAfter;
    for (const entry of this.#entries.filter((entry) => !entry.isSent && old(entry))) {
      const detail = 'no answer for so long that the key may be forgotten; it may have been published';
      this.#reject(entry, new OffhookError('timed_out', detail));
    }
  }

  #reject(entry, error, { isKept = false } = {}) {
    if (!isKept) this.#remove(entry);
    entry.reject(error);
    this.#owner.refused(entry, error);
  }

  #remove(entry) {
    this.#entries.splice(this.#entries.indexOf(entry), 1);
    this.#size -= entry.size;
    this.#owner.less();
  }

  #pumpLater(ms) {
    this.#cancel = this.#environment.later(() => this.pump(), ms);
  }
}

function notQueued() {
  return new OffhookError('offline', 'there is no connection, or it is busy, and this was not to wait', { retry: 'later' });
}
