// A WebSocket that reconnects, with the interface of WebSocket, for servers that do not speak Offhook's protocol. What was sent
// just before a connection was lost may be lost with it; only keys and positions can prevent that.

import { ownEnvironment } from './environment.js';
import { Heartbeat } from './heartbeat.js';
import { Connection } from './connection.js';

/** Bytes queued while there is no connection. 1 MiB: minutes of a chat, and little for a phone. */
const MOST_QUEUED = 1 << 20;

const EVENTS = ['open', 'message', 'error', 'close'];

/**
 * `new WebSocket(url, protocols)` with options. `readyState` is CONNECTING while there is no connection. `close` fires with each
 * loss, `open` with each connection, and `waiting` says when the next attempt is due (`event.retryAt`).
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
  #binaryType;

  constructor(url, protocols, options = {}) {
    super();
    this.#environment = options.environment ?? ownEnvironment(options.WebSocket);
    this.#mostQueued = options.maxQueuedBytes ?? MOST_QUEUED;
    const { heartbeat, backoff, openWithin } = options;
    const ask = async () => (this.#url = String(typeof url === 'function' ? await url() : url));
    if (typeof url !== 'function') this.#url = String(url);
    this.#heartbeat = heartbeat && new Heartbeat(this.#environment, heartbeat, {
      ask: () => this.#connection.send(heartbeat.message),
      dead: () => this.#connection.abandon('no answer to a ping'),
    });
    this.#connection = new Connection(this.#environment, { url: ask, protocols, backoff, openWithin }, {
      created: (socket) => {
        if (this.#binaryType) socket.binaryType = this.#binaryType;
      },
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

  /** Bytes that the socket has not sent, and bytes queued for the next one. */
  get bufferedAmount() {
    return (this.#connection.socket?.bufferedAmount ?? 0) + this.#queued;
  }

  get binaryType() {
    return this.#binaryType ?? this.#connection.socket?.binaryType ?? 'blob';
  }

  set binaryType(type) {
    this.#binaryType = type;
    const { socket } = this.#connection;
    if (socket) socket.binaryType = type;
  }

  /** Sends, or queues for the next connection. Throws a QuotaExceededError when the queue is full. */
  send(data) {
    if (this.#readyState >= this.CLOSING) return;
    if (this.#readyState === this.OPEN) {
      this.#connection.send(data);
      return;
    }
    const size = sizeOf(data);
    if (this.#queued + size > this.#mostQueued) {
      throw new DOMException(`${this.#queued} bytes are queued; the limit is ${this.#mostQueued}`, 'QuotaExceededError');
    }
    this.#queue.push(data);
    this.#queued += size;
  }

  close(code, reason) {
    if (this.#readyState >= this.CLOSING) return;
    checkClose(code);
    const isOpen = this.#readyState === this.OPEN;
    // Throws if the reason is too long.
    if (isOpen) this.#connection.socket.close(code, reason);
    this.#closedByUser = true;
    // The socket's `close` event ends it, as with a WebSocket.
    if (isOpen) this.#readyState = this.CLOSING;
    else this.#connection.stop();
  }

  /** Ends a wait; checks that an open connection is still alive. */
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
    // A listener of `close` may have closed it for good.
    if (this.#readyState !== this.CLOSED) this.dispatchEvent(Object.assign(new Event('waiting'), until));
  }

  #over(end) {
    // As for a WebSocket that is closed before it is open.
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
  // The WebSocket standard reserves other codes.
  if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) {
    throw new DOMException(`close code ${code} is reserved; use 1000 or 3000 to 4999`, 'InvalidAccessError');
  }
}

// Node before 23 has no CloseEvent.
function closeEvent({ code, reason, wasClean }) {
  return Object.assign(new Event('close'), { code, reason, wasClean });
}
