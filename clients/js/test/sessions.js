// Simulated WebTransport: the test is the server's end of each session.

import { settledAll } from './http.js';

/** A message, preceded by its length. */
export function framed(message) {
  const text = encoded(message);
  const all = new Uint8Array(4 + text.length);
  new DataView(all.buffer).setUint32(0, text.length);
  all.set(text, 4);
  return all;
}

export function encoded(message) {
  return new TextEncoder().encode(JSON.stringify(message));
}

/** The end of a stream at which the test writes. */
class Pipe {
  readable = new ReadableStream({ start: (controller) => { this.controller = controller; } });

  async writes(bytes) {
    this.controller.enqueue(bytes);
    await settledAll();
  }

  async ends() {
    this.controller.close();
    await settledAll();
  }

  async breaks(message) {
    this.controller.error(new Error(message));
    await settledAll();
  }
}

class Session {
  /** What the client sent, and in which order it ended things. */
  sent = [];
  log = [];
  control = new Pipe();
  streams = new Pipe();
  datagramsPipe = new Pipe();

  constructor(address, options) {
    Object.assign(this, { address, options });
    this.closed = new Promise((...settle) => { [this.resolveClosed, this.rejectClosed] = settle; });
    this.ready = new Promise((...settle) => { [this.resolveReady, this.rejectReady] = settle; });
    this.incomingUnidirectionalStreams = this.streams.readable;
    this.datagrams = { readable: this.datagramsPipe.readable };
  }

  async createBidirectionalStream() {
    const write = (bytes) => {
      const { buffer, byteOffset, byteLength } = bytes;
      this.lengths ??= [];
      this.lengths.push(new DataView(buffer, byteOffset).getUint32(0) === byteLength - 4);
      this.sent.push(JSON.parse(new TextDecoder().decode(bytes.subarray(4))));
      return this.holdsBack;
    };
    const writable = new WritableStream({ write, close: () => { this.log.push('finished'); } });
    return { readable: this.control.readable, writable };
  }

  close(info) {
    if (this.isClosed) throw new Error('it is closed already');
    this.isClosed = true;
    this.log.push(info);
    this.control.controller.error(new Error('the session was closed'));
    this.resolveClosed(info);
  }

  async opens() {
    this.resolveReady();
    await settledAll();
  }

  async says(message) {
    await this.control.writes(framed(message));
  }

  /** A stream of the server: its number, and messages. */
  async stream(number, ...messages) {
    const pipe = new Pipe();
    const head = new Uint8Array(4);
    new DataView(head.buffer).setUint32(0, number);
    await this.streams.writes(pipe.readable);
    await pipe.writes(head);
    for (const message of messages) await pipe.writes(framed(message));
    return pipe;
  }

  async datagram(message) {
    await this.datagramsPipe.writes(encoded(message));
  }

  async ends(closeCode, reason) {
    this.resolveClosed({ closeCode, reason });
    await settledAll();
  }

  async fails(message) {
    this.rejectReady(new Error(message));
    this.rejectClosed(new Error(message));
    await settledAll();
  }

  take() {
    return this.sent.splice(0);
  }
}

/** The class for an environment, and the sessions that were begun. */
export function webTransports() {
  const sessions = [];
  const WebTransport = class extends Session {
    constructor(...given) {
      super(...given);
      sessions.push(this);
    }
  };
  return { WebTransport, sessions };
}
