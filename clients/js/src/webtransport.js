// A connection over WebTransport, with the interface of a WebSocket. docs/webtransport.md specifies it. Every subscription has a
// stream of its own, so that a lost packet or a large message of one channel delays no other.

import { isBefore } from './position.js';

/** The time limit for opening a session. 5 s: the same as for the first event of a stream. Where UDP is blocked, nothing answers. */
const OPEN_WITHIN = 5_000;

/** Values of the tag `key` that are told apart. 1,000: more than the cursors on a page. Of one that was forgotten, a repeated datagram is delivered. */
const MOST_VALUES = 1_000;

/** The bytes of a message's length, and of a stream's number. */
const LENGTH = 4;

export class WebTransportSocket {
  readyState = 0;
  bufferedAmount = 0;
  onopen = null;
  onmessage = null;
  onerror = null;
  onclose = null;
  /** Called with the first message, and when the connection has ended. */
  onworks = null;
  onended = null;
  #environment;
  #transport;
  #writer;
  #isProven = false;
  // Streams whose `subscribed` has not arrived, by number: resolved when it has. And the numbers that have arrived before.
  #announced = new Map();
  // By subscription: where it began to be live, its newest place, the newest position of each value of the tag `key`, and datagrams
  // that came before it was live.
  #followed = new Map();
  #hasDatagrams = false;

  /**
   * @param {string} url the address of the WebSocket
   * @param options those of the browser's WebTransport, such as `serverCertificateHashes`
   */
  constructor(url, environment, options) {
    this.#environment = environment;
    const address = url.replace(/^ws/, 'http');
    // The caller adds its listeners first.
    Promise.resolve().then(() => this.readyState === 0 && this.#begin(address, options));
  }

  get isOpen() {
    return this.readyState === 1;
  }

  send(text) {
    // The first message of a connection: its subscriptions are to have streams, and it reads datagrams.
    const message = text.replace(/^\{"type":"connect"/, '{"type":"connect","streams":true,"datagrams":true');
    const bytes = framed(message);
    this.bufferedAmount += bytes.length;
    this.#writer.write(bytes).then(() => { this.bufferedAmount -= bytes.length; }, () => {});
  }

  /** As with a WebSocket, 1000 means that the client leaves for good. */
  close(code) {
    if (!this.#end()) return;
    const closeCode = code === 1000 ? 0 : code;
    // What was sent before has to arrive first; over a dead network nobody waits for it.
    const closing = () => this.#close({ closeCode, reason: '' });
    if (this.#writer && code === 1000) this.#writer.close().then(closing, closing);
    else closing();
  }

  /** Ends the connection because the next one will use a better transport. */
  replace() {
    this.#lost('a better transport gets through', 1012);
  }

  async #begin(address, options) {
    const { WebTransport = globalThis.WebTransport } = this.#environment;
    const cancel = this.#environment.later(() => this.readyState === 0 && this.#lost('it took too long'), OPEN_WITHIN);
    try {
      this.#transport = new WebTransport(address, options);
      this.#transport.closed.then(
        ({ closeCode, reason }) => this.#lost(reason, closeCode || 1006),
        ({ message }) => this.#lost(`${this.isOpen ? 'the stream broke' : 'a request failed'}: ${message}`),
      );
      await this.#transport.ready;
      const control = await this.#transport.createBidirectionalStream();
      if (this.readyState !== 0) return;
      this.#writer = control.writable.getWriter();
      this.readyState = 1;
      this.onopen?.();
      this.#readStreams();
      this.#readDatagrams();
      await this.#read(new Bytes(control.readable), (text) => this.#control(text));
    } catch (error) {
      this.#lost(`a request failed: ${error.message}`);
    } finally {
      cancel();
    }
  }

  async #readStreams() {
    const streams = this.#transport.incomingUnidirectionalStreams.getReader();
    try {
      for (let next = await streams.read(); !next.done; next = await streams.read()) this.#readStream(new Bytes(next.value));
    } catch {
      // The session has ended, as `closed` says.
    }
  }

  /** Its messages follow the `subscribed` that names it. */
  async #readStream(bytes) {
    try {
      const number = numberIn(await bytes.take(LENGTH));
      await this.#waiting(number).promise;
      this.#announced.delete(number);
      await this.#read(bytes, (text) => this.#received(text));
    } catch (error) {
      // Messages would be missing.
      this.#lost(`the stream broke: ${error.message}`);
    }
  }

  #waiting(number) {
    let waiting = this.#announced.get(number);
    if (!waiting) {
      waiting = {};
      waiting.promise = new Promise((resolve) => { waiting.resolve = resolve; });
      this.#announced.set(number, waiting);
    }
    return waiting;
  }

  async #read(bytes, take) {
    for (;;) {
      const head = await bytes.take(LENGTH, true);
      if (!head) return;
      take(new TextDecoder().decode(await bytes.take(numberIn(head))));
    }
  }

  #control(text) {
    this.#received(text);
    if (!text.startsWith('{"type":"subscribed"')) return;
    const { stream } = JSON.parse(text);
    if (stream !== undefined) this.#waiting(stream).resolve();
  }

  #received(text) {
    if (this.readyState !== 1) return;
    if (!this.#isProven) {
      this.#isProven = true;
      this.onworks?.();
    }
    const [, type] = /^\{"type":"(\w+)"/.exec(text) ?? [];
    // A message that did not fit into a datagram follows the datagrams of its subscription.
    const isLoose = this.#hasDatagrams && ['message', 'own'].includes(type);
    this.#give(isLoose ? this.#inOrder(JSON.parse(text), text, false) : text);
    if (['subscribed', 'live', 'gap', 'unsubscribed'].includes(type)) this.#follow(JSON.parse(text));
  }

  #give(data) {
    if (data && this.readyState === 1) this.onmessage?.({ data });
  }

  async #readDatagrams() {
    const datagrams = this.#transport.datagrams.readable.getReader();
    try {
      for (let next = await datagrams.read(); !next.done; next = await datagrams.read()) {
        this.#hasDatagrams = true;
        this.#datagram(new TextDecoder().decode(next.value));
      }
    } catch {
      // The session has ended, as `closed` says.
    }
  }

  /** One that comes before its subscription is live waits for that. */
  #datagram(text) {
    const message = JSON.parse(text);
    const { begun, early } = this.#of(message);
    if (begun !== undefined) this.#give(this.#inOrder(message, text, true));
    else put(early, valueOf(message), text);
  }

  #of({ subscription, channel }) {
    const name = subscription ?? channel;
    if (!this.#followed.has(name)) this.#followed.set(name, { values: new Map(), early: new Map() });
    return this.#followed.get(name);
  }

  /** What the server says of a subscription itself. */
  #follow(message) {
    const { type, live, position, to, filter, channel, subscription } = message;
    const of = this.#of(message);
    if (type === 'gap') {
      // One of a single channel of a filter leaves the filter's own place unchanged.
      if (of.begun !== undefined && (!filter || !channel)) of.place = to;
      return;
    }
    this.#followed.delete(subscription ?? channel);
    if (type === 'unsubscribed') return;
    // What was known of an earlier subscription of that name does not hold for this one.
    const now = this.#of(message);
    if (live || type === 'live') {
      now.begun = now.place = position;
      for (const text of of.early.values()) this.#datagram(text);
    } else now.early = of.early;
  }

  /**
   * Drops a message that is older than the newest one with the same tag `key` in its channel. Of a newer one, says that it follows the
   * newest of the subscription: what was lost is outdated. One that was overtaken leaves the place of the subscription unchanged.
   */
  #inOrder(message, text, isDatagram) {
    const of = this.#of(message);
    const { position, at = position } = message;
    if (message.state || of.begun === undefined) return text;
    const value = valueOf(message);
    const newest = of.values.get(value);
    const isOld = newest === undefined ? isDatagram && !isBefore(of.begun, at) : !isBefore(newest, position);
    if (isOld) return undefined;
    put(of.values, value, position);
    if (!isBefore(of.place, at)) return JSON.stringify({ ...message, at: of.place });
    const previous = of.place;
    of.place = at;
    return JSON.stringify({ ...message, previous });
  }

  #lost(reason, code = 1006) {
    if (!this.#end()) return;
    this.#close({ closeCode: 4000, reason: '' });
    this.onclose?.({ code, reason, wasClean: code !== 1006 });
  }

  #end() {
    if (this.readyState === 3) return false;
    this.readyState = 3;
    this.onended?.();
    return true;
  }

  #close(info) {
    try {
      this.#transport?.close(info);
    } catch {
      // It has ended already.
    }
  }
}

/** Reads a stream by numbers of bytes. */
class Bytes {
  #reader;
  #pieces = [];
  #length = 0;

  constructor(stream) {
    this.#reader = stream.getReader();
  }

  /** The next bytes, as many as asked for; nothing at the end of the stream, if it may end here. */
  async take(length, mayEnd = false) {
    while (this.#length < length) {
      const { done, value } = await this.#reader.read();
      if (done && mayEnd && this.#length === 0) return undefined;
      if (done) throw new Error('a stream ended within a message');
      this.#pieces.push(value);
      this.#length += value.length;
    }
    const taken = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const piece = this.#pieces[0];
      const part = piece.subarray(0, length - filled);
      taken.set(part, filled);
      filled += part.length;
      if (part.length === piece.length) this.#pieces.shift();
      else this.#pieces[0] = piece.subarray(part.length);
    }
    this.#length -= length;
    return taken;
  }
}

/** What a message is about: only the newest one with the same tag `key` in its channel matters. */
function valueOf({ type, channel, tags }) {
  return JSON.stringify([type, channel, tags?.key]);
}

/** Adds an entry, and forgets the oldest one if there are too many. */
function put(map, key, value) {
  map.delete(key);
  map.set(key, value);
  if (map.size > MOST_VALUES) map.delete(map.keys().next().value);
}

/** A message, preceded by its length. */
function framed(text) {
  const bytes = new TextEncoder().encode(text);
  const all = new Uint8Array(LENGTH + bytes.length);
  new DataView(all.buffer).setUint32(0, bytes.length);
  all.set(bytes, LENGTH);
  return all;
}

function numberIn(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}
