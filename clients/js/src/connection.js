// Keeps a WebSocket open: opens one, notices when it ends, waits, and opens the next. It does not look into messages and
// keeps none.
//
//              ┌──────── timer, online, focus, reconnect() ───────┐
//              ▼                                                  │
//   idle ─▶ connecting ──── opened ────▶ open ──── lost ────▶ waiting ◀─▶ offline
//              └──────── failed, in time or not ──────────────────▲
//   any ── stop(), or an end that says "do not come back" ──▶ closed

import { BACKOFF, isTemporary, pause } from './backoff.js';

/** The limit for opening a socket. 10 s: a handshake takes two round trips, three with TLS, even on the slowest networks. */
export const OPEN_WITHIN = 10_000;

/** RFC 6455 §5.5: a reason has at most 123 bytes; these are at most 120. It may be a server's code. */
const LONGEST_REASON = 40;

export class Connection {
  #environment;
  #settings;
  #owner;
  #socket;
  #attempts = 0;
  #openedAt;
  #url;
  #cancel = () => {};
  #unwatch = () => {};
  #state = { name: 'idle' };
  // Counts attempts. An address that was looked up for an earlier attempt is ignored.
  #turn = 0;
  // The server asked for this pause; nothing shortens it.
  #notBefore = 0;

  /**
   * @param environment time, randomness, sockets and network events
   * @param settings `url` (an asynchronous function that is called for each attempt), `protocols`, `backoff`, `openWithin`
   * @param owner callbacks `opened()`, `received(data)`, `ended(end)`, `changed(state)` with every other state; optionally `created(socket)`, `woke()`,
   *   `failed(event)`, `shown()`, `hidden()`, `leaving()`. `ended` may return `{ retry: boolean, after: ms, atLeast: ms }`, which takes
   *   precedence over the close code
   */
  constructor(environment, { backoff, openWithin = OPEN_WITHIN, ...settings }, owner) {
    this.#environment = environment;
    this.#settings = { ...settings, openWithin, backoff: { ...BACKOFF, ...backoff } };
    this.#owner = owner;
  }

  get socket() {
    return this.#socket;
  }

  start() {
    const { hidden, leaving } = this.#owner;
    this.#unwatch = this.#environment.watch({
      hidden,
      leaving,
      online: () => this.#networkFound(),
      offline: () => this.#networkLost(),
      shown: () => {
        this.#owner.shown?.();
        this.hurry();
      },
    });
    this.#attempt();
  }

  /** Without a socket, in a callback about its loss, the owner sends it again over the next one. */
  send(data) {
    this.#socket?.send(data);
  }

  /** An attempt may succeed now: ends a wait, or checks that an open connection is still alive. */
  hurry() {
    if (this.#state.name === 'open') this.#owner.woke?.();
    // Otherwise the wait ends at `#notBefore` by itself. Only the states of a wait have a `retryAt`.
    else if (this.#state.retryAt && this.#environment.now() >= this.#notBefore) this.#attempt();
  }

  /**
   * Drops this socket, because it does not open, is silent, or the server asked for a new connection, and opens the next after a pause.
   */
  abandon(reason, after) {
    // Do not wait for the closing handshake: over a dead network it would run into the browser's own long timeout.
    // Not 1000, which would end the session.
    this.#letGo()?.close(4000, reason.slice(0, LONGEST_REASON));
    this.#lost({ code: 1006, reason, wasClean: false }, after);
  }

  /** For good. */
  stop() {
    const socket = this.#letGo();
    this.#end({ code: 1000, reason: '', wasClean: true });
    socket?.close(1000);
  }

  #attempt() {
    this.#letGo()?.close();
    const turn = this.#turn;
    this.#attempts += 1;
    this.#cancel = this.#environment.later(() => this.abandon('it took too long'), this.#settings.openWithin);
    this.#settings.url().then(
      (address) => this.#turn === turn && this.#open(address),
      (error) => this.#turn === turn && this.abandon(`no address: ${error?.message ?? error}`),
    );
    // Last, because a listener may close the client.
    this.#change({ name: 'connecting', attempt: this.#attempts });
  }

  #open(url) {
    let socket;
    try {
      this.#url = url;
      socket = this.#environment.open(url, this.#settings.protocols);
    } catch (error) {
      // A SyntaxError: the address is invalid and stays so.
      this.#end({ code: 1006, reason: error.message });
      return;
    }
    this.#socket = socket;
    this.#owner.created?.(socket);
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
    this.#state = { name: 'open' };
    this.#owner.opened();
  }

  /** Detaches the socket; its events are ignored from now on. */
  #letGo() {
    const socket = this.#socket;
    this.#socket = undefined;
    this.#cancel();
    this.#turn += 1;
    if (socket) {
      // Some WebSocket implementations for Node end the process on an `error` without a listener.
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.onerror = () => {};
    }
    return socket;
  }

  #lost(end, after) {
    const now = this.#environment.now();
    // Not a number if it was not opened, which no comparison holds for.
    if (now - this.#openedAt >= this.#settings.backoff.stable) this.#attempts = 0;
    this.#openedAt = undefined;
    const verdict = this.#owner.ended({ ...end, url: this.#url }) ?? {};
    if (this.#state.name === 'closed') return;
    if (!(verdict.retry ?? isTemporary(end.code))) {
      this.#end(end);
      return;
    }
    const drawn = pause(this.#attempts, this.#environment.random, this.#settings.backoff);
    const advised = after ?? verdict.after;
    const least = advised ?? verdict.atLeast ?? 0;
    const wait = advised ?? Math.max(drawn, least);
    this.#notBefore = now + least;
    const name = this.#environment.isOnline() ? 'waiting' : 'offline';
    this.#cancel = this.#environment.later(() => this.#attempt(), wait);
    this.#change({ name, retryAt: this.#environment.date() + wait, attempt: this.#attempts, end });
  }

  #networkFound() {
    // An attempt that began without a network retransmits at growing intervals; a new attempt succeeds sooner.
    if (this.#state.name === 'connecting') this.#attempt();
    else this.hurry();
  }

  #networkLost() {
    if (this.#state.retryAt) this.#change({ ...this.#state, name: 'offline' });
    // Another network interface may have gone down: check whether this connection is still alive.
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
