// The binary form of messages: CBOR (RFC 8949), with the fields that they have in JSON. Loaded when bytes are sent or received.

const utf8 = new TextEncoder();
const text = new TextDecoder('utf-8', { fatal: true });

/** RFC 8949 §3.2: a map of indefinite length, and its end. */
const OPEN_MAP = 0xbf;
const BREAK = 0xff;

/** Fields that contain JSON as a text. */
const JSON_FIELDS = new Set(['data', 'info', 'backend']);

/** Encodes a message with bytes for a socket that takes them. They come last, so that they are copied once. */
export function encode({ base64, ...fields }, socket) {
  // Those from a store are base64. There is no socket if the connection was just lost.
  const bytes = base64?.bytes;
  if (!bytes || socket?.protocol !== 'offhook.v1.cbor') return undefined;
  const out = [];
  putMap(out, fields);
  out.pop();
  put(out, 'data');
  putHead(out, 2, bytes.length);
  const message = new Uint8Array(out.length + bytes.length + 1);
  message.set(out);
  message.set(bytes, out.length);
  message[message.length - 1] = BREAK;
  return message;
}

function put(out, value) {
  if (typeof value === 'string') putText(out, value);
  else if (Number.isSafeInteger(value) && value >= 0) putHead(out, 0, value);
  else if (value === null || typeof value === 'boolean') out.push(value === null ? 0xf6 : 0xf4 + value);
  else if (typeof value === 'number') {
    const float = new DataView(new ArrayBuffer(8));
    float.setFloat64(0, value);
    out.push(0xfb, ...new Uint8Array(float.buffer));
  } else putMap(out, value);
}

function putText(out, text) {
  const before = out.length;
  putHead(out, 3, text.length);
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    // Of an ASCII text, the bytes are as many as the characters. An encoder costs more than a short one.
    if (code > 127) return putUnicode(out, before, text);
    out.push(code);
  }
  return undefined;
}

function putUnicode(out, before, text) {
  out.length = before;
  const bytes = utf8.encode(text);
  putHead(out, 3, bytes.length);
  for (const byte of bytes) out.push(byte);
}

function putMap(out, fields) {
  out.push(OPEN_MAP);
  for (const [name, value] of Object.entries(fields)) {
    // As in JSON, what is undefined is left out.
    if (value === undefined) continue;
    put(out, name);
    put(out, value);
  }
  out.push(BREAK);
}

/** RFC 8949 §3: a major type and its argument. */
function putHead(out, major, argument) {
  const first = major << 5;
  if (argument < 24) out.push(first + argument);
  else if (argument < 2 ** 8) out.push(first + 24, argument);
  else if (argument < 2 ** 16) out.push(first + 25, argument >> 8, argument & 255);
  else {
    const isLong = argument >= 2 ** 32;
    const number = new DataView(new ArrayBuffer(8));
    number.setBigUint64(0, BigInt(argument));
    out.push(first + (isLong ? 27 : 26), ...new Uint8Array(number.buffer, isLong ? 0 : 4));
  }
}

/** Decodes a message of the server. @param {string | ArrayBuffer} buffer */
export function decode(buffer) {
  if (typeof buffer === 'string') return JSON.parse(buffer);
  const reader = new Reader(buffer);
  const message = reader.value();
  if (reader.at !== buffer.byteLength) throw new Error(`${buffer.byteLength - reader.at} bytes follow the message`);
  return message;
}

class Reader {
  at = 0;
  #bytes;
  #view;

  constructor(buffer) {
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
  }

  /** @param isForeign for a map whose names come from users: no field of it is JSON */
  value(isForeign) {
    const first = this.#byte();
    const [major, low] = [first >> 5, first & 31];
    switch (major) {
      case 0: return this.#argument(low);
      case 1: return -1 - this.#argument(low);
      case 2: return this.#slice(this.#argument(low));
      case 3: return this.#text(this.#argument(low));
      case 4: return this.#array(low);
      case 5: return this.#map(low, isForeign);
      // A tag says more about the value that follows.
      case 6: this.#argument(low); return this.value();
      default: return this.#simple(low);
    }
  }

  // Reading past the end throws.
  #byte() {
    return this.#view.getUint8(this.at++);
  }

  #argument(low) {
    if (low < 24) return low;
    const at = this.at;
    this.at += 1 << (low - 24);
    if (low === 24) return this.#view.getUint8(at);
    if (low === 25) return this.#view.getUint16(at);
    if (low === 26) return this.#view.getUint32(at);
    if (low === 27) return Number(this.#view.getBigUint64(at));
    throw new Error(`a length that begins with ${low} is not supported`);
  }

  /** Of a byte string: a copy, so that it does not keep the message. */
  #slice(length) {
    return this.#bytes.slice(this.at, this.#skip(length));
  }

  #text(length) {
    const from = this.at;
    const to = this.#skip(length);
    if (length > 24) return text.decode(this.#bytes.subarray(from, to));
    // A decoder costs more than a short text.
    let short = '';
    for (let at = from; at < to; at += 1) {
      const byte = this.#bytes[at];
      if (byte > 127) return text.decode(this.#bytes.subarray(from, to));
      short += String.fromCharCode(byte);
    }
    return short;
  }

  #skip(length) {
    this.at += length;
    if (this.at > this.#bytes.length) throw new Error('ends within a string');
    return this.at;
  }

  #array(low) {
    const array = [];
    this.#each(low, () => array.push(this.value()));
    return array;
  }

  #map(low, isForeign) {
    const map = {};
    this.#each(low, () => {
      const name = this.value();
      let value = this.value(name === 'tags');
      if (!isForeign && typeof value === 'string' && JSON_FIELDS.has(name)) value = JSON.parse(value);
      // As with JSON.parse, no name changes the prototype.
      if (name === '__proto__') Object.defineProperty(map, name, { value, enumerable: true, configurable: true, writable: true });
      else map[name] = value;
    });
    return map;
  }

  #each(low, read) {
    if (low === 31) {
      while (this.#view.getUint8(this.at) !== BREAK) read();
      this.at += 1;
    } else for (let left = this.#argument(low); left > 0; left -= 1) read();
  }

  #simple(low) {
    if (low === 20 || low === 21) return low === 21;
    if (low === 22 || low === 23) return low === 22 ? null : undefined;
    this.at += 1 << (low - 24);
    if (low === 26) return this.#view.getFloat32(this.at - 4);
    if (low === 27) return this.#view.getFloat64(this.at - 8);
    throw new Error(`a simple value ${low} is not supported`);
  }
}
