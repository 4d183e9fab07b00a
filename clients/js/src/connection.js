// One socket after another to the same place: opens them, notices their end, waits, opens the next. It does
// not look into messages and keeps none.
//
//              ┌────────────── timer, online, shown ──────────────┐
//              ▼                                                  │
//   idle ─▶ connecting ──── opened ────▶ open ──── lost ────▶ waiting ◀─▶ offline
//              └──────── failed, in time or not ──────────────────▲
//   any ── stop(), or an end that says "do not come back" ──▶ closed

import { BACKOFF, isTemporary, pause } from './backoff.js';

/** An opening handshake takes two round trips, three with TLS; who needs longer than 10 s gets no connection at all. */
export const OPEN_WITHIN = 10_000;

export class Connection {
  #environment;
  #settings;
  #owner;
  #socket;
  #attempts = 0;
  #openedAt;
  #cancel = () => {};
  #unwatch = () => {};
  #state = { name: 'idle' };
  // Attempts wait for an address: what came of an earlier one is nobody's any more.
  #turn = 0;
  // Not before this, whatever happens: the server said so.
  #notBefore = 0;
  #binaryType;

  /**
   * @param environment time, chance, sockets, news of the network
   * @param settings `url` (text, or a function for each attempt), `protocols`, `backoff`, `openWithin`
   * @param owner `opened()`, `received(data)`, `ended(end)`, `changed(state)`; if it likes `woke()`,
   *   `failed(event)`, `shown()`, `hidden()`, `leaving()`. `ended` may return
   *   `{ retry: boolean, after: ms, atLeast: ms }` to overrule what the code says
   */
  constructor(environment, { url, protocols, backoff = {}, openWithin = OPEN_WITHIN }, owner) {
    this.#environment = environment;
    this.#settings = { url, protocols, openWithin, backoff: { ...BACKOFF, ...backoff } };
    this.#owner = owner;
  }

  /** `{ name, … }`: see the drawing; `waiting` and `offline` have `retryAt`, `closed` has its `end`. */
  get state() {
    return this.#state;
  }

  get socket() {
    return this.#socket;
  }

  /** What binary messages come as; the socket's own default when it was not said. */
  get binaryType() {
    return this.#binaryType ?? this.#socket?.binaryType;
  }

  set binaryType(type) {
    this.#binaryType = type;
    if (this.#socket) this.#socket.binaryType = type;
  }

  start() {
    this.#unwatch = this.#environment.watch({
      online: () => this.#networkFound(),
      offline: () => this.#networkLost(),
      shown: () => {
        this.#owner.shown?.();
        this.hurry();
      },
      hidden: () => this.#owner.hidden?.(),
      leaving: () => this.#owner.leaving?.(),
    });
    this.#attempt();
  }

  send(data) {
    this.#socket.send(data);
  }

  /** Something says that it may go well now: no more waiting, or a look at whether the connection still lives. */
  hurry() {
    if (this.#state.name === 'open') this.#owner.woke?.();
    else if (this.#isWaiting() && this.#environment.now() >= this.#notBefore) this.#attempt();
    else if (this.#isWaiting()) this.#wait(this.#notBefore - this.#environment.now());
  }

  /** Gives this socket up, since nothing is heard of it, or to open a new one after a pause. */
  abandon(reason, { after, code = 4000 } = {}) {
    if (!this.#socket) return;
    const socket = this.#letGo();
    // Not waited for: over a dead network the closing handshake takes as long as nobody wants to wait.
    socket.close(code, reason);
    this.#lost({ code: 1006, reason, wasClean: false }, after);
  }

  /** For good. */
  stop(code, reason) {
    const socket = this.#letGo();
    this.#end({ code: code ?? 1000, reason: reason ?? '', wasClean: true });
    socket?.close(code, reason);
  }

  #isWaiting() {
    return this.#state.name === 'waiting' || this.#state.name === 'offline';
  }

  #attempt() {
    this.#cancel();
    const turn = (this.#turn += 1);
    this.#attempts += 1;
    this.#change({ name: 'connecting', attempt: this.#attempts });
    this.#cancel = this.#environment.later(() => this.#failed('it took too long'), this.#settings.openWithin);
    const { url } = this.#settings;
    if (typeof url !== 'function') {
      this.#open(url);
      return;
    }
    Promise.resolve().then(() => url()).then(
      (address) => this.#turn === turn && this.#open(address),
      (error) => this.#turn === turn && this.#failed(`no address: ${error?.message ?? error}`, error),
    );
  }

  #open(url) {
    let socket;
    try {
      socket = this.#environment.open(String(url), this.#settings.protocols);
    } catch (error) {
      // A SyntaxError: this address will never do.
      this.#end({ code: 1006, reason: error.message, wasClean: false, error });
      return;
    }
    if (this.#binaryType !== undefined) socket.binaryType = this.#binaryType;
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = ({ data }) => this.#owner.received(data);
    socket.onerror = (event) => this.#owner.failed?.(event);
    socket.onclose = ({ code, reason, wasClean }) => {
      this.#letGo();
      this.#lost({ code, reason, wasClean });
    };
  }

  #opened() {
    this.#cancel();
    this.#openedAt = this.#environment.now();
    this.#change({ name: 'open' });
    this.#owner.opened();
  }

  #failed(reason, error) {
    this.#turn += 1;
    this.#letGo()?.close();
    this.#lost({ code: 1006, reason, wasClean: false, error });
  }

  /** The socket, whose events concern nobody any more. */
  #letGo() {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#cancel();
    this.#turn += 1;
    if (socket) {
      // An `error` without a listener ends the process in some WebSockets for Node.
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.onerror = () => {};
    }
    return socket;
  }

  #lost(end, after) {
    const now = this.#environment.now();
    if (this.#openedAt !== undefined && now - this.#openedAt >= this.#settings.backoff.stable) this.#attempts = 0;
    this.#openedAt = undefined;
    const verdict = this.#owner.ended(end) ?? {};
    if (this.#state.name === 'closed') return;
    if (!(verdict.retry ?? isTemporary(end.code))) {
      this.#end(end);
      return;
    }
    const drawn = pause(this.#attempts, this.#environment.random, this.#settings.backoff);
    const advised = after ?? verdict.after;
    const wait = advised ?? Math.max(drawn, verdict.atLeast ?? 0);
    this.#notBefore = now + (advised ?? verdict.atLeast ?? 0);
    this.#wait(wait, end);
  }

  #wait(ms, end = this.#state.end) {
    this.#cancel();
    const name = this.#environment.isOnline() ? 'waiting' : 'offline';
    this.#cancel = this.#environment.later(() => this.#attempt(), ms);
    this.#change({ name, retryAt: this.#environment.now() + ms, attempt: this.#attempts, end });
  }

  #networkFound() {
    // What was sent into the network before waits for longer and longer: a new attempt is there sooner.
    if (this.#state.name !== 'connecting') this.hurry();
    else {
      this.#letGo()?.close();
      this.#attempt();
    }
  }

  #networkLost() {
    if (this.#isWaiting()) this.#change({ ...this.#state, name: 'offline' });
    // It may be another network that is gone: a look at whether the connection still lives says.
    else if (this.#state.name === 'open') this.#owner.woke?.();
  }

  #end(end) {
    this.#letGo();
    this.#unwatch();
    this.#change({ name: 'closed', end });
  }

  #change(state) {
    if (this.#state.name === 'closed') return;
    this.#state = state;
    this.#owner.changed(state);
  }
}
