// MessagePack, written in the same way as clients/js/src/cbor.js, to be measured beside it. It is not part of the client.

const utf8 = new TextEncoder();
const text = new TextDecoder('utf-8', { fatal: true });
const JSON_FIELDS = new Set(['data', 'info', 'backend']);

export function encode({ base64: { bytes }, ...fields }) {
  const out = [];
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  putMap(out, [...entries, ['data']]);
  putLength(out, bytes.length, [0xc4, 0xc5, 0xc6]);
  const message = new Uint8Array(out.length + bytes.length);
  message.set(out);
  message.set(bytes, out.length);
  return message;
}

function put(out, value) {
  if (typeof value === 'string') {
    // As in cbor.js, ASCII without an encoder.
    const isAscii = !/[^\0-\x7f]/.test(value);
    const bytes = isAscii ? value : utf8.encode(value);
    if (bytes.length < 32) out.push(0xa0 + bytes.length);
    else putLength(out, bytes.length, [0xd9, 0xda, 0xdb]);
    for (let at = 0; at < bytes.length; at += 1) out.push(isAscii ? value.charCodeAt(at) : bytes[at]);
  } else if (typeof value === 'boolean') out.push(0xc2 + value);
  else if (typeof value === 'object') putMap(out, Object.entries(value));
  else if (value < 128) out.push(value);
  else if (value < 2 ** 32) putLength(out, value, [0xcc, 0xcd, 0xce]);
  else {
    const number = new DataView(new ArrayBuffer(8));
    number.setBigUint64(0, BigInt(value));
    out.push(0xcf, ...new Uint8Array(number.buffer));
  }
}

function putMap(out, entries) {
  if (entries.length < 16) out.push(0x80 + entries.length);
  else out.push(0xde, entries.length >> 8, entries.length & 255);
  for (const [name, value] of entries) {
    put(out, name);
    if (value !== undefined) put(out, value);
  }
}

function putLength(out, length, [one, two, four]) {
  if (length < 2 ** 8) out.push(one, length);
  else if (length < 2 ** 16) out.push(two, length >> 8, length & 255);
  else out.push(four, length >>> 24, (length >> 16) & 255, (length >> 8) & 255, length & 255);
}

export function decode(buffer) {
  const reader = new Reader(buffer);
  const message = reader.value();
  if (reader.at !== buffer.byteLength) throw new Error('bytes follow the message');
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

  value(isForeign) {
    const first = this.#number(1);
    if (first < 0x80) return first;
    if (first < 0x90) return this.#map(first - 0x80, isForeign);
    if (first < 0xa0) return this.#array(first - 0x90);
    if (first < 0xc0) return this.#text(first - 0xa0);
    if (first >= 0xe0) return first - 256;
    switch (first) {
      case 0xc0: return null;
      case 0xc2: case 0xc3: return first === 0xc3;
      case 0xc4: case 0xc5: case 0xc6: return this.#slice(this.#number(1 << (first - 0xc4)));
      case 0xca: this.at += 4; return this.#view.getFloat32(this.at - 4);
      case 0xcb: this.at += 8; return this.#view.getFloat64(this.at - 8);
      case 0xcc: case 0xcd: case 0xce: case 0xcf: return this.#number(1 << (first - 0xcc));
      case 0xd9: case 0xda: case 0xdb: return this.#text(this.#number(1 << (first - 0xd9)));
      case 0xdc: case 0xdd: return this.#array(this.#number(2 << (first - 0xdc)));
      case 0xde: case 0xdf: return this.#map(this.#number(2 << (first - 0xde)), isForeign);
      default: throw new Error(`the type ${first} is not supported`);
    }
  }

  #number(size) {
    const at = this.at;
    this.at += size;
    if (size === 1) return this.#view.getUint8(at);
    if (size === 2) return this.#view.getUint16(at);
    if (size === 4) return this.#view.getUint32(at);
    return Number(this.#view.getBigUint64(at));
  }

  #slice(length) {
    return this.#bytes.slice(this.at, this.#skip(length));
  }

  #text(length) {
    const from = this.at;
    const to = this.#skip(length);
    if (length > 24) return text.decode(this.#bytes.subarray(from, to));
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

  #array(length) {
    return Array.from({ length }, () => this.value());
  }

  #map(length, isForeign) {
    const map = {};
    for (let left = length; left > 0; left -= 1) {
      const name = this.value();
      let value = this.value(name === 'tags');
      if (!isForeign && typeof value === 'string' && JSON_FIELDS.has(name)) value = JSON.parse(value);
      if (name === '__proto__') Object.defineProperty(map, name, { value, enumerable: true, configurable: true, writable: true });
      else map[name] = value;
    }
    return map;
  }
}
