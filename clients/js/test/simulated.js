// A simulated page: the test advances the time, and acts as the other end of
// each socket.

import assert from 'node:assert/strict';

export class World {
  now = 1_700_000_000_000;
  /** What the system's clock shows, compared with `now`: it may be set. */
  clockIsAhead = 0;
  sockets = [];
  isOnline = true;
  #timers = [];
  #watchers = [];
  #uuids = 0;

  constructor({ random = () => 0.5 } = {}) {
    this.environment = {
      now: () => this.now,
      date: () => this.now + this.clockIsAhead,
      random,
      uuid: () => `key-${(this.#uuids += 1)}`,
      open: (url, protocols) => {
        const socket = new SimulatedSocket(url, protocols);
        this.sockets.push(socket);
        return socket;
      },
      later: (callback, ms) => {
        const timer = { at: this.now + Math.max(0, ms), callback };
        this.#timers.push(timer);
        return () => {
          this.#timers = this.#timers.filter((other) => other !== timer);
        };
      },
      isOnline: () => this.isOnline,
      watch: (watcher) => {
        this.#watchers.push(watcher);
        return () => {
          this.#watchers = this.#watchers.filter((other) => other !== watcher);
        };
      },
    };
  }

  /** How many watch the network and the page. */
  get watchers() {
    return this.#watchers.length;
  }

  /** How many timers are set. */
  get timers() {
    return this.#timers.length;
  }

  /** The newest socket. */
  get socket() {
    return this.sockets.at(-1);
  }

  /** Lets time pass, timer by timer. */
  async pass(ms) {
    const until = this.now + ms;
    await settled();
    for (let timer = this.#due(until); timer; timer = this.#due(until)) {
      this.now = Math.max(this.now, timer.at);
      this.#run(timer);
      await settled();
    }
    this.now = until;
  }

  /** The machine sleeps: time passes, and the timers that were due fire together afterwards. */
  async sleep(ms) {
    this.now += ms;
    for (const timer of this.#timers.filter((timer) => timer.at <= this.now)) this.#run(timer);
    await settled();
  }

  /** `online`, `offline`, `shown`, `hidden` or `leaving`. */
  async happens(what) {
    if (what === 'online') this.isOnline = true;
    if (what === 'offline') this.isOnline = false;
    for (const watcher of [...this.#watchers]) watcher[what]?.();
    await settled();
  }

  #due(until) {
    const due = this.#timers.filter((timer) => timer.at <= until);
    return due.sort((a, b) => a.at - b.at)[0];
  }

  #run(timer) {
    const before = this.#timers.length;
    this.#timers = this.#timers.filter((other) => other !== timer);
    if (this.#timers.length < before) timer.callback();
  }
}

/** Lets everything that waits for resolved promises run. */
export async function settled() {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

export class SimulatedSocket {
  readyState = 0;
  bufferedAmount = 0;
  extensions = '';
  protocol = '';
  sent = [];
  closedWith;
  #listeners = [];

  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
  }

  send(data) {
    assert.equal(this.readyState, 1, 'sent while the socket is not open');
    this.sent.push(data);
  }

  close(code, reason) {
    this.closedWith ??= code === undefined ? {} : { code, reason };
    if (this.readyState < 2) this.readyState = 2;
  }

  /** For `message`. */
  addEventListener(type, listener, { once } = {}) {
    assert.equal(type, 'message');
    this.#listeners.push({ listener, once });
  }

  /** The handshake went well. */
  async opens() {
    this.readyState = 1;
    this.onopen?.({});
    await settled();
  }

  /** The server says something. */
  async says(message) {
    const listeners = this.#listeners;
    this.#listeners = listeners.filter(({ once }) => !once);
    for (const { listener } of listeners) listener();
    const isWire = typeof message === 'string' || message instanceof ArrayBuffer;
    this.onmessage?.({ data: isWire ? message : JSON.stringify(message) });
    await settled();
  }

  /** It ends. */
  async ends(code = 1006, reason = '') {
    this.readyState = 3;
    this.onclose?.({ code, reason, wasClean: code !== 1006 });
    await settled();
  }

  /** The messages that were sent and not taken yet. */
  take() {
    return this.sent.splice(0).map((text) => JSON.parse(text));
  }

  /** The only message that was sent and not taken yet. */
  takeOne(type) {
    const messages = this.take();
    assert.deepEqual(messages.map((message) => message.type), [type]);
    return messages[0];
  }
}

/** What sessionStorage does. */
export class SimulatedStore {
  entries = new Map();

  getItem(key) {
    return this.entries.get(key) ?? null;
  }

  setItem(key, value) {
    this.entries.set(key, String(value));
  }

  removeItem(key) {
    this.entries.delete(key);
  }
}
