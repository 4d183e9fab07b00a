// Measures the forms of the native dialect in JavaScript: size, and time to encode and decode. Prints a table as Markdown.
// `node bench/forms/run.js`, with Node 20 or newer. The other half is `cargo run --release` in this folder.

import { gzipSync } from 'node:zlib';
import { readFileSync } from 'node:fs';

import * as cbor from '../../clients/js/src/cbor.js';
import { decode as decodeData, encode as encodeData } from '../../clients/js/src/payload.js';
import * as messagepack from './messagepack.js';

const MEASURED_MS = 300;
const ROUNDS = 5;

/** A publication of this many bytes, without its data. */
const FIELDS = {
  type: 'message', id: undefined, channel: 'rooms/42', position: '1700000000000000.43', user: 'ann',
  session: '000102030405060708090a0b0c0d0e0f', key: '6c1f3b0e-9d6a-4b1e-8f1f-2a9c55a1b2c3', tags: { lang: 'en' }, time: 1_700_000_000_123,
};

const socket = { protocol: 'offhook.v1.cbor' };
const FORMS = {
  'JSON, base64': { encode: (message) => JSON.stringify(message), decode: (text) => decodeData(JSON.parse(text)), size: (text) => Buffer.byteLength(text) },
  CBOR: { encode: (message) => cbor.encode(message, socket), decode: (bytes) => cbor.decode(bytes.buffer), size: (bytes) => bytes.length },
  MessagePack: { encode: messagepack.encode, decode: (bytes) => messagepack.decode(bytes.buffer), size: (bytes) => bytes.length },
};

/** Microseconds of one call: the least of several rounds. */
function time(call) {
  const until = (ms) => {
    const from = performance.now();
    let calls = 0;
    for (; performance.now() - from < ms; calls += 10) for (let n = 0; n < 10; n += 1) call();
    return ((performance.now() - from) * 1_000) / calls;
  };
  until(MEASURED_MS);
  return Math.min(...Array.from({ length: ROUNDS }, () => until(MEASURED_MS)));
}

console.log('| data | form | bytes | encode, µs | decode, µs |\n|---|---|---|---|---|');
for (const size of [16, 256, 4_096, 65_536]) {
  const data = Uint8Array.from({ length: size }, (_, index) => (index * 167) % 256);
  const message = { ...FIELDS, ...encodeData(data) };
  for (const [name, form] of Object.entries(FORMS)) {
    const encoded = form.encode(message);
    const read = form.decode(encoded);
    if (Buffer.compare(Buffer.from(read.data), Buffer.from(data)) !== 0 || read.key !== FIELDS.key) throw new Error(`${name} is wrong`);
    console.log(`| ${size} bytes | ${name} | ${form.size(encoded)} | ${time(() => form.encode(message)).toFixed(2)} | ${time(() => form.decode(encoded)).toFixed(2)} |`);
  }
}
const weigh = (path) => gzipSync(readFileSync(new URL(path, import.meta.url)), { level: 9 }).length;
console.log(`\nSource with comments, compressed: CBOR ${weigh('../../clients/js/src/cbor.js')} bytes, MessagePack ${weigh('messagepack.js')} bytes.`);
