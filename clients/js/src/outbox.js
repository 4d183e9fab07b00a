// Publications that the server has not answered. Each has a key, so it is safe to send it again over the next connection
// when it may have arrived already. A server may refuse one publication for now and accept the next one; to keep
// their order, each channel has one publication in flight at a time.

import { OffhookError } from './errors.js';

/** Defaults, each with its reason. */
export const OUTBOX = {
  /** Queued publications. 1,000: more than a person types in a day offline. */
  count: 1_000,
  /** Characters of queued publications. 1 MiB: little for a phone, and a fifth of what sessionStorage holds. */
  size: 1 << 20,
  /** Sent and not answered, over all channels. 32: keeps a connection with a round trip of 100 ms and a server that commits every 10 ms busy. */
  inFlight: 32,
  /** A publication that was sent and not answered for this long is given up. 50 minutes: servers forget keys after an hour. */
  giveUpAfter: 50 * 60_000,
};

/** The pause when the server says `later` without a time. */
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
   * @param owner `send(message)` returns the id it was sent with, or `undefined` while the socket is full. Callbacks:
   *   `more()`, `less()`, `published(entry, answer)`, `refused(entry, error)`
   */
  constructor(environment, limits, owner) {
    this.#environment = environment;
    this.#limits = { ...OUTBOX, ...limits };
    this.#owner = owner;
  }

  /** The queued and unanswered publications. */
  get entries() {
    return this.#entries.filter(({ isOnce }) => !isOnce);
  }

  /** Queues a message. The promise resolves once the server has stored it, and rejects when the server refuses it for good. */
  add(message, { sentAt, isUnordered, isStored } = {}) {
    const { base64, ...rest } = message;
    const text = JSON.stringify(rest);
    const size = text.length + (base64?.length ?? 0);
    const isFull = this.#entries.length >= this.#limits.count || this.#size + size > this.#limits.size;
    // What was accepted by an earlier page is kept, whatever the limits are now.
    if (isFull && !isStored) {
      const detail = `${this.#entries.length} publications are queued`;
      return Promise.reject(new OffhookError('queue_full', detail, { retry: 'later' }));
    }
    // A copy: the caller may change its own.
    const entry = this.#put({ message: { ...JSON.parse(text), base64 }, size, sentAt, isUnordered });
    this.pump();
    return entry.answer;
  }

  /** Sends a message now, once, or rejects. */
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

  /** Unanswered publications are sent again over the next connection. */
  lost() {
    this.#isOpen = false;
    this.#inFlight.clear();
    this.#cancel();
    for (const entry of [...this.#entries]) {
      entry.isSent = false;
      if (entry.isOnce) this.#reject(entry, notQueued());
    }
  }

  /** Sends everything that may be sent now. */
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
    entry.isSent = true;
    const id = this.#owner.send(entry.message);
    if (id === undefined) {
      entry.isSent = false;
      // There is no event for a socket that has room again.
      this.#pumpLater(50);
      return false;
    }
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
      const published = { position: answer.position, duplicate: !!answer.duplicate };
      this.#remove(entry);
      entry.resolve(published);
      this.#owner.published(entry, published);
    }
    this.pump();
    return true;
  }

  /** The client is closed. The publications stay in the store. */
  close(error) {
    for (const entry of this.#entries.splice(0)) this.#end(entry, error);
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
    for (const entry of [...this.#entries]) {
      // Never sent: not a number, and no comparison with it holds.
      const isOld = now - entry.sentAt > this.#limits.giveUpAfter;
      if (isOld && !entry.isSent) this.#reject(entry, new OffhookError('timed_out', 'no answer in time; it may have been done'));
    }
  }

  #reject(entry, error) {
    this.#remove(entry);
    this.#end(entry, error);
  }

  #end(entry, error) {
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
  return new OffhookError('offline', 'not connected, or busy', { retry: 'later' });
}
