// A WebSocket that comes back, with the interface of the one that does not. For servers that speak no
// protocol of Offhook's: what was sent just before a loss may be lost, which only keys and positions mend.

import { ownEnvironment } from './environment.js';
import { Heartbeat } from './heartbeat.js';
import { Connection } from './connection.js';

/** Bytes that wait for a connection, at most. 1 MiB: minutes of a chat, and nothing to a phone. */
const MOST_QUEUED = 1 << 20;

const EVENTS = ['open', 'message', 'error', 'close'];

/**
 * `new WebSocket(url, protocols)`, and options. `readyState` is CONNECTING while it is away; `close` comes with
 * each loss, `open` with each return, and `waiting` says until when (`event.retryAt`).
 */
export class ReconnectingWebSocket extends EventTarget {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSING = 2;
  static CLOSED = 3;
  CONNECTING = 0;
  OPEN = 1;
  CLOSING = 2;
  CLOSED = 3;

  #connection;
  #environment;
  #heartbeat;
  #mostQueued;
  #readyState = 0;
  #queue = [];
  #queued = 0;
  #closedByUser = false;
  #url = '';

  constructor(url, protocols, options = {}) {
    super();
    this.#environment = options.environment ?? ownEnvironment(options.WebSocket);
    this.#mostQueued = options.maxQueuedBytes ?? MOST_QUEUED;
    const { heartbeat, backoff, openWithin } = options;
    const ask = async () => (this.#url = String(await url()));
    if (typeof url !== 'function') this.#url = String(url);
    this.#heartbeat = heartbeat && new Heartbeat(this.#environment, heartbeat, {
      ask: () => this.#connection.send(heartbeat.message),
      dead: () => this.#connection.abandon('nothing was heard'),
    });
    this.#connection = new Connection(this.#environment, { url: typeof url === 'function' ? ask : url, protocols, backoff, openWithin }, {
      opened: () => this.#opened(),
      received: (data) => this.#received(data),
      ended: () => this.#ended(),
      changed: (state) => this.#changed(state),
      failed: () => this.dispatchEvent(new Event('error')),
      woke: () => this.#heartbeat?.ask(),
    });
    for (const type of EVENTS) this.#addHandlerProperty(type);
    queueMicrotask(() => this.#closedByUser || this.#connection.start());
  }

  get readyState() {
    return this.#readyState;
  }

  get url() {
    return this.#connection.socket?.url ?? this.#url;
  }

  get protocol() {
    return this.#connection.socket?.protocol ?? '';
  }

  get extensions() {
    return this.#connection.socket?.extensions ?? '';
  }

  /** What the socket has not sent, and what waits for one. */
  get bufferedAmount() {
    return (this.#connection.socket?.bufferedAmount ?? 0) + this.#queued;
  }

  get binaryType() {
    return this.#connection.binaryType ?? 'blob';
  }

  set binaryType(type) {
    this.#connection.binaryType = type;
  }

  /** Sends, or keeps it for the next connection; throws a QuotaExceededError when too much is kept already. */
  send(data) {
    if (this.#readyState >= this.CLOSING) return;
    if (this.#readyState === this.OPEN) {
      this.#connection.send(data);
      return;
    }
    const size = sizeOf(data);
    if (this.#queued + size > this.#mostQueued) {
      throw new DOMException(`${this.#queued} bytes wait for a connection already`, 'QuotaExceededError');
    }
    this.#queue.push(data);
    this.#queued += size;
  }

  close(code, reason) {
    if (this.#readyState >= this.CLOSING) return;
    checkClose(code);
    this.#closedByUser = true;
    if (this.#readyState !== this.OPEN) {
      this.#connection.stop();
      return;
    }
    // Its `close` event ends it, as with a WebSocket.
    this.#readyState = this.CLOSING;
    this.#connection.socket.close(code, reason);
  }

  /** Does not wait for the next attempt. */
  reconnect() {
    this.#connection.hurry();
  }

  #opened() {
    this.#readyState = this.OPEN;
    this.#heartbeat?.start();
    const queue = this.#queue.splice(0);
    this.#queued = 0;
    for (const data of queue) this.#connection.send(data);
    this.dispatchEvent(new Event('open'));
  }

  #received(data) {
    this.#heartbeat?.heard();
    this.dispatchEvent(new MessageEvent('message', { data }));
  }

  #ended() {
    this.#heartbeat?.stop();
    return this.#closedByUser ? { retry: false } : {};
  }

  #changed({ name, retryAt, attempt, end }) {
    if (name === 'closed') this.#over(end);
    else if (name === 'waiting' || name === 'offline') this.#away({ retryAt, attempt }, end);
  }

  #away(until, end) {
    const wasOpen = this.#readyState === this.OPEN;
    this.#readyState = this.CONNECTING;
    if (wasOpen) this.dispatchEvent(closeEvent(end));
    this.dispatchEvent(Object.assign(new Event('waiting'), until));
  }

  #over(end) {
    // As a WebSocket that was closed before it was open.
    const seen = this.#readyState === this.CONNECTING ? { code: 1006, reason: end.reason, wasClean: false } : end;
    this.#readyState = this.CLOSED;
    queueMicrotask(() => this.dispatchEvent(closeEvent(seen)));
  }

  #addHandlerProperty(type) {
    let handler = null;
    this.addEventListener(type, (event) => handler?.call(this, event));
    Object.defineProperty(this, `on${type}`, {
      enumerable: true,
      get: () => handler,
      set: (given) => { handler = typeof given === 'function' ? given : null; },
    });
  }
}

function sizeOf(data) {
  if (typeof data === 'string') return new TextEncoder().encode(data).length;
  return data.byteLength ?? data.size ?? 0;
}

function checkClose(code) {
  // The WebSocket standard: other codes are not the application's to send.
  if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) {
    throw new DOMException(`close with 1000 or 3000 to 4999, not ${code}`, 'InvalidAccessError');
  }
}

// Node before 23 has no CloseEvent.
function closeEvent({ code, reason, wasClean }) {
  return Object.assign(new Event('close'), { code, reason, wasClean });
}
