// Bytes travel as they are where the server takes binary messages, and as base64 elsewhere.

import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { decode, encode } from '../src/cbor.js';
import { encode as encodeData, loadCbor } from '../src/payload.js';
import { persist } from '../src/index.js';
import { at, liveSubscription, message, newClient, openClient, welcome } from './conversation.js';
import { settled, SimulatedStore, World } from './simulated.js';

const CBOR = 'offhook.v1.cbor';

/** A message as a server sends it. */
function fromHex(hex) {
  const { buffer, byteOffset, length } = Buffer.from(hex.replace(/\s/g, ''), 'hex');
  return buffer.slice(byteOffset, byteOffset + length);
}

/** An open client of a server that takes binary messages. */
async function binaryClient(options) {
  const all = await newClient(options);
  all.world.socket.protocol = CBOR;
  await welcome(all.world);
  return all;
}

// {"type":"message","channel":"chat","position":"17.8","data":h'00ff',"time":1}, in a map of indefinite length.
const EIGHTH = fromHex(`
  bf 64 74797065 67 6d657373616765 67 6368616e6e656c 64 63686174 68 706f736974696f6e 64 31372e38
  64 64617461 42 00ff 64 74696d65 01 ff`);

/** The next event of a subscription. */
const next = (subscription, type) => new Promise((resolve) => subscription.on(type, resolve));

test('bytes are received in a binary message, and what follows it waits until it was read', async () => {
  const { client, world } = await binaryClient();
  assert.equal(world.socket.binaryType, 'arraybuffer');
  const { subscription } = await liveSubscription(client, world);
  const got = [];
  subscription.on('message', ({ position, data }) => got.push([position, data]));
  const ninth = new Promise((resolve) => subscription.on('message', ({ position }) => position === at(9) && resolve()));
  await world.socket.says(EIGHTH);
  await world.socket.says(message(9));
  await ninth;
  assert.deepEqual(got, [[at(8), Uint8Array.of(0, 255)], [at(9), 'm9']]);
});

test('a binary message of a connection that was lost meanwhile is left to the next one', async () => {
  const { client, world } = await binaryClient();
  const { subscription, events } = await liveSubscription(client, world);
  await loadCbor();
  const frames = [];
  client.on('frame', ({ direction }) => frames.push(direction));
  world.socket.says(EIGHTH);
  await world.socket.ends();
  await world.pass(10_000);
  assert.deepEqual([events, subscription.received, frames], [[], at(7), []]);
});

test('bytes are sent in a binary message once CBOR is loaded', async () => {
  const { client, world } = await binaryClient();
  await loadCbor();
  const bytes = Uint8Array.of(1, 2);
  client.publish('chat', bytes, { key: 'k', tags: { a: 'ü' } });
  client.call('resize', bytes.buffer, { deadline: 5_000 });
  // What the caller does afterwards does not matter.
  bytes[0] = 9;
  await settled();
  const [publish, call] = world.socket.sent.splice(0).map((data) => decode(data.slice().buffer));
  assert.deepEqual(publish, { type: 'publish', id: publish.id, channel: 'chat', key: 'k', tags: { a: 'ü' }, data: Uint8Array.of(1, 2) });
  assert.deepEqual(call, { type: 'call', id: call.id, method: 'resize', deadline_ms: 5_000, data: Uint8Array.of(1, 2) });
});

test('an older server gets base64, and everything else is text in any case', async () => {
  await loadCbor();
  for (const protocol of ['offhook.v1.json', undefined]) {
    const { client, world } = await newClient();
    world.socket.protocol = protocol;
    await welcome(world);
    client.publish('chat', Uint8Array.of(1, 2));
    await settled();
    assert.equal(world.socket.takeOne('publish').base64, 'AQI=');
  }
  const { client, world } = await binaryClient();
  client.publish('chat', { a: 1 });
  await settled();
  assert.deepEqual(world.socket.takeOne('publish').data, { a: 1 });
});

test('unsent bytes are in the store as base64, and sent from it', async () => {
  const store = new SimulatedStore();
  const { client } = await newClient({ store: persist(store, { unsent: true }) });
  client.publish('chat', Uint8Array.of(1, 2)).catch(() => {});
  await settled();
  assert.deepEqual(client.unsent[0].data, Uint8Array.of(1, 2));
  const later = await newClient({ store: persist(store, { unsent: true }) });
  assert.deepEqual(later.client.unsent[0].data, Uint8Array.of(1, 2));
  later.world.socket.protocol = CBOR;
  await welcome(later.world);
  assert.equal(later.world.socket.takeOne('publish').base64, 'AQI=');
});

test('the limit of the queue counts bytes as base64', async () => {
  const { client } = await openClient({ outbox: { size: 1_000 } });
  client.publish('chat', new Uint8Array(600)).catch(() => {});
  await assert.rejects(client.publish('chat', new Uint8Array(600)), { code: 'queue_full' });
});

test('frames show binary messages as bytes', async () => {
  const { client, world } = await binaryClient();
  await loadCbor();
  const frames = [];
  client.on('frame', ({ direction, text, bytes }) => frames.push([direction, typeof text, bytes?.byteLength]));
  const seen = next(client, 'told');
  // {"type":"told","data":h'01'}
  world.socket.says(fromHex('bf 64 74797065 64 746f6c64 64 64617461 41 01 ff'));
  assert.deepEqual(await seen, Uint8Array.of(1));
  assert.deepEqual(frames, [['in', 'undefined', 19]]);
});

test('a message that is not CBOR is a warning', async () => {
  for (const [hex, reason] of [
    ['bf', /Offset/], ['64 7479', /ends within a string/], ['a0 00', /1 bytes follow/], ['7f 61 61 ff', /not supported/],
    ['f8 20', /not supported/], ['a1 64 64617461 61 7b', /JSON/], [`${'81'.repeat(100_000)}00`, /stack/], ['61 ff', /./],
  ]) {
    const { client, world } = await binaryClient();
    const warned = next(client, 'warning');
    world.socket.says(fromHex(hex));
    const warning = await warned;
    assert.equal(warning.code, 'bad_message');
    assert.match(warning.message, reason, hex);
  }
});

test('numbers, texts and containers of every length are read', () => {
  const read = (hex) => decode(fromHex(hex));
  assert.deepEqual(
    ['17', '18 18', '19 0100', '1a 00010000', '1b 001fffffffffffff', '20', '38 63', 'f4', 'f5', 'f6', 'f7', 'fa 3fc00000', 'fb 3ff8000000000000'].map(read),
    [23, 24, 256, 65_536, Number.MAX_SAFE_INTEGER, -1, -100, false, true, null, undefined, 1.5, 1.5],
  );
  assert.deepEqual(read('9f 61 61 c1 02 ff'), ['a', 2]);
  assert.deepEqual(read('82 62 c3bc 40'), ['ü', new Uint8Array(0)]);
  const long = 'ü'.repeat(300);
  assert.equal(read(`79 0258 ${Buffer.from(long).toString('hex')}`), long);
});

test('JSON is read from texts in the fields that contain it, and nowhere else', () => {
  // {"data":"[1]","info":"{}","tags":{"data":"[1]"},"key":"1","messages":[{"data":"2"}]}
  const read = decode(fromHex(`
    a5 64 64617461 63 5b315d 64 696e666f 62 7b7d 64 74616773 a1 64 64617461 63 5b315d 63 6b6579 61 31
    68 6d65737361676573 81 a1 64 64617461 61 32`));
  assert.deepEqual(read, { data: [1], info: {}, tags: { data: '[1]' }, key: '1', messages: [{ data: 2 }] });
});

test('no name of a map changes its prototype', () => {
  const read = decode(fromHex('a1 69 5f5f70726f746f5f5f a1 61 61 01'));
  assert.deepEqual([Object.keys(read), read.a], [['__proto__'], undefined]);
});

test('the example of docs/protocol.md is written byte by byte', () => {
  const written = encode({ type: 'publish', id: 3, channel: 'chat', ...encodeData(Uint8Array.of(1, 2)) }, { protocol: CBOR });
  assert.equal(Buffer.from(written).toString('hex'), 'bf647479706567' + '7075626c697368' + '62696403' + '676368616e6e656c' + '6463686174' + '6464617461' + '420102' + 'ff');
});

test('tags of a wrong type are sent as they are, so that the server refuses them', () => {
  const tags = { a: 1.5, b: null, c: true, d: -1, e: 2 ** 33, f: 70_000, g: 300 };
  const written = encode({ type: 'publish', tags, ...encodeData(new ArrayBuffer(1)) }, { protocol: CBOR });
  assert.deepEqual(decode(written.buffer).tags, tags);
});

test('reading after a binary message keeps nothing of the messages before', async () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc');
  const { client, world } = await binaryClient();
  const seen = next(client, 'told');
  world.socket.says(fromHex('bf 64 74797065 64 746f6c64 64 64617461 41 01 ff'));
  await seen;
  const used = async () => {
    await new Promise(setImmediate);
    gc();
    return process.memoryUsage().heapUsed;
  };
  const growth = [];
  for (let round = 0; round < 3; round += 1) {
    const before = await used();
    for (let count = 0; count < 20_000; count += 1) world.socket.onmessage({ data: '{"type":"told","data":1}' });
    growth.push((await used() - before) / 20_000);
  }
  // The test runner's own records of promises take up to 80 bytes.
  assert.ok(Math.min(...growth) < 120, `${growth} bytes for each message`);
});

test('if cbor.js is missing, the client connects again without binary messages, and reads those', async (t) => {
  // The modules of a page whose files were replaced.
  const directory = mkdtempSync(join(tmpdir(), 'offhook-client-'));
  t.after(() => rmSync(directory, { recursive: true }));
  cpSync(fileURLToPath(new URL('../src', import.meta.url)), directory, { recursive: true });
  cpSync(fileURLToPath(new URL('../package.json', import.meta.url)), join(directory, 'package.json'));
  rmSync(join(directory, 'cbor.js'));
  const { connect } = await import(pathToFileURL(join(directory, 'client.js')).href);
  const world = new World();
  const client = connect('ws://example.test/ws', { environment: world.environment });
  await settled();
  assert.deepEqual(world.socket.protocols, ['offhook.v1.cbor', 'offhook.v1.json']);
  await welcome(world);
  const lost = new Promise((resolve) => client.on('state', resolve));
  world.socket.says(EIGHTH);
  assert.equal((await lost).name, 'waiting');
  await world.pass(500);
  assert.deepEqual(world.socket.protocols, ['offhook.v1.json']);
  await welcome(world);
  const told = next(client, 'told');
  await world.socket.says({ type: 'told', base64: 'AQI=' });
  assert.deepEqual(await told, Uint8Array.of(1, 2));
  assert.equal(world.sockets.length, 2);
  client.close();
});
