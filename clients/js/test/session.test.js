// A WebTransport session as a connection: framing, streams, its beginning and its end.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { WebTransportSocket } from '../src/webtransport.js';
import { settledAll } from './http.js';
import { framed, webTransports } from './sessions.js';
import { World } from './simulated.js';

/** A connection that has begun, and everything it says. */
function begin() {
  const world = new World();
  const { WebTransport, sessions } = webTransports();
  Object.assign(world.environment, { WebTransport });
  const socket = new WebTransportSocket('wss://example.test/ws', world.environment);
  const seen = [];
  socket.onopen = () => seen.push('open');
  socket.onworks = () => seen.push('works');
  socket.onmessage = ({ data }) => seen.push(JSON.parse(data));
  socket.onended = () => seen.push('ended');
  socket.onclose = (end) => seen.push(end);
  return { world, socket, sessions, seen };
}

async function open() {
  const all = begin();
  await settledAll();
  const [session] = all.sessions;
  await session.opens();
  assert.deepEqual([all.seen.splice(0), all.socket.isOpen, all.socket.readyState], [['open'], true, 1]);
  return { ...all, session };
}

const lost = (reason) => ['ended', { code: 1006, reason, wasClean: false }];
const message = (offset, data = offset) => ({ type: 'message', channel: 'chat', position: `9.${offset}`, data });
const subscribed = (stream) => ({ type: 'subscribed', id: 1, channel: 'chat', position: '9.0', live: true, stream });

test('messages arrive in pieces of any length, and the first one proves that the transport works', async () => {
  const { session, seen } = await open();
  const bytes = [message(1, 'ü'), message(2)].flatMap((one) => [...framed(one)]);
  for (const byte of bytes) await session.control.writes(Uint8Array.of(byte));
  await session.control.writes(Uint8Array.from([...bytes, ...bytes.slice(0, 7)]));
  await session.control.writes(Uint8Array.from(bytes.slice(7)));
  const both = [message(1, 'ü'), message(2)];
  assert.deepEqual(seen, ['works', ...both, ...both, ...both]);
});

test('what is sent has its length before it, and counts as buffered until it was written', async () => {
  const { session, socket } = await open();
  let written;
  session.holdsBack = new Promise((resolve) => { written = resolve; });
  socket.send('{"type":"connect","id":1}');
  socket.send('{"type":"publish","data":"ü"}');
  assert.equal(socket.bufferedAmount, 4 + 57 + 4 + 30);
  written();
  await settledAll();
  assert.equal(socket.bufferedAmount, 0);
  assert.deepEqual(session.lengths, [true, true]);
  assert.deepEqual(session.take(), [{ type: 'connect', streams: true, datagrams: true, id: 1 }, { type: 'publish', data: 'ü' }]);
});

test('what was not written when the session ends is no error', async () => {
  const { session, socket, seen } = await open();
  session.holdsBack = Promise.reject(new Error('it has ended'));
  socket.send('{}');
  await settledAll();
  assert.deepEqual(seen, []);
});

test('a stream is read once the subscription that it belongs to was announced, in whichever order they come', async () => {
  for (const isEarly of [true, false]) {
    const { session, seen } = await open();
    if (!isEarly) await session.says(subscribed(7));
    const stream = await session.stream(7, message(1));
    if (isEarly) {
      assert.deepEqual(seen, []);
      await session.says(subscribed(7));
    }
    await stream.writes(framed(message(2)));
    await stream.ends();
    assert.deepEqual(seen, ['works', subscribed(7), message(1), message(2)]);
    // A number is used once.
    await session.stream(7, message(3));
    assert.equal(seen.length, 4);
  }
});

test('two streams do not wait for each other', async () => {
  const { session, seen } = await open();
  await session.says(subscribed(1));
  await session.says({ ...subscribed(2), channel: 'news' });
  const first = await session.stream(1);
  await first.writes(framed(message(1)).slice(0, 5));
  await session.stream(2, { ...message(4), channel: 'news' });
  assert.deepEqual(seen.slice(3), [{ ...message(4), channel: 'news' }]);
});

test('only a `subscribed` on the control stream announces a stream', async () => {
  const { session, seen } = await open();
  await session.says({ type: 'told', data: 1, stream: 7 });
  await session.says({ ...subscribed(), channel: 'other' });
  await session.stream(7, message(1));
  assert.equal(seen.filter(({ type }) => type === 'message').length, 0);
});

test('a stream that ends within a message, or is broken off, ends the connection', async () => {
  for (const [end, reason] of [[(stream) => stream.ends(), 'the stream broke: a stream ended within a message'], [(stream) => stream.breaks('reset'), 'the stream broke: reset']]) {
    const { session, seen } = await open();
    await session.says(subscribed(1));
    const stream = await session.stream(1);
    await stream.writes(framed(message(1)).slice(0, 9));
    await end(stream);
    assert.deepEqual(seen.slice(2), lost(reason));
    assert.deepEqual(session.log, [{ closeCode: 4000, reason: '' }]);
  }
});

test('a control stream that ends within a message, or is broken off, ends the connection', async () => {
  const ended = await open();
  await ended.session.control.writes(Uint8Array.of(0, 0));
  await ended.session.control.ends();
  assert.deepEqual(ended.seen, lost('a request failed: a stream ended within a message'));
  const broken = await open();
  await broken.session.control.breaks('reset');
  assert.deepEqual(broken.seen, lost('a request failed: reset'));
});

test('the end of a session is reported once, with its code, or as a loss', async () => {
  for (const [code, reason, expected] of [[1012, 'restart', { code: 1012, reason: 'restart', wasClean: true }], [0, '', { code: 1006, reason: '', wasClean: false }]]) {
    const { session, seen, socket } = await open();
    await session.ends(code, reason);
    await session.control.breaks('it has ended');
    await session.streams.breaks('it has ended');
    await session.datagramsPipe.breaks('it has ended');
    assert.deepEqual([seen, socket.readyState, socket.isOpen], [['ended', expected], 3, false]);
  }
});

test('nothing is received after the end', async () => {
  const { session, seen, socket } = await open();
  await session.says(subscribed(1));
  const stream = await session.stream(1);
  seen.splice(0);
  socket.close(4000);
  await stream.writes(framed(message(1)));
  await session.datagram(message(2));
  assert.deepEqual([seen, session.log], [['ended'], [{ closeCode: 4000, reason: '' }]]);
});

test('a session that cannot be opened says why', async () => {
  const refused = begin();
  await settledAll();
  await refused.sessions[0].fails('blocked');
  assert.deepEqual(refused.seen, lost('a request failed: blocked'));
  assert.equal(refused.world.timers, 0);
  const world = new World();
  world.environment.WebTransport = class {
    constructor() {
      throw new TypeError('no such option');
    }
  };
  const socket = new WebTransportSocket('wss://example.test/ws', world.environment);
  const ends = [];
  socket.onclose = (end) => ends.push(end);
  await settledAll();
  assert.deepEqual([ends, world.timers], [[{ code: 1006, reason: 'a request failed: no such option', wasClean: false }], 0]);
});

test('a connection that is closed before it has begun opens no session, and one that is closed meanwhile does not open', async () => {
  const early = begin();
  early.socket.close(4000);
  await settledAll();
  assert.deepEqual([early.sessions, early.seen, early.world.timers], [[], ['ended'], 0]);
  const later = begin();
  await settledAll();
  const [session] = later.sessions;
  // It is ready, but has no stream yet.
  session.resolveReady();
  await Promise.resolve();
  later.socket.close(4000);
  await settledAll();
  assert.deepEqual([later.seen, later.socket.readyState, later.world.timers], [['ended'], 3, 0]);
});

test('the time limit for opening does not end an open session', async () => {
  const { world, seen, socket } = await open();
  await world.pass(60_000);
  assert.deepEqual([seen, socket.readyState], [[], 1]);
});

test('who leaves finishes the control stream first; who gives up does not', async () => {
  const leaving = await open();
  leaving.socket.close(1000);
  await settledAll();
  assert.deepEqual(leaving.session.log, ['finished', { closeCode: 0, reason: '' }]);
  leaving.socket.close(1000);
  assert.deepEqual(leaving.seen, ['ended']);
  const replaced = await open();
  replaced.socket.replace();
  assert.deepEqual(replaced.seen, ['ended', { code: 1012, reason: 'a better transport gets through', wasClean: true }]);
  assert.deepEqual(replaced.session.log, [{ closeCode: 4000, reason: '' }]);
  const unopened = begin();
  await settledAll();
  unopened.socket.close(1000);
  assert.deepEqual(unopened.sessions[0].log, [{ closeCode: 0, reason: '' }]);
});

const cursor = (offset, key, more) => ({ ...message(offset), tags: { key }, ...more });

/** The offsets of the messages that were given. */
const offsets = (seen) => seen.filter(({ type }) => type === 'message').map(({ data }) => data);

test('of 1,000 values the newest position is known; of one that was forgotten, an older datagram is given', async () => {
  const { session, seen } = await open();
  await session.says(subscribed());
  for (let offset = 1; offset <= 1_001; offset += 1) session.datagramsPipe.controller.enqueue(new TextEncoder().encode(JSON.stringify(cursor(offset + 10, `k${offset}`))));
  await settledAll();
  for (let turn = 0; offsets(seen).length < 1_001; turn += 1) {
    assert.ok(turn < 1_000);
    await settledAll();
  }
  seen.splice(0);
  // The value k2 is known, and k1 was forgotten.
  await session.datagram(cursor(5, 'k2'));
  await session.datagram(cursor(6, 'k1'));
  assert.deepEqual(offsets(seen), [6]);
});

test('a value that is seen again is not the oldest', async () => {
  const { session, seen } = await open();
  await session.says(subscribed());
  await session.datagram(cursor(10, 'old'));
  for (let offset = 1; offset <= 999; offset += 1) session.datagramsPipe.controller.enqueue(new TextEncoder().encode(JSON.stringify(cursor(offset + 10, `k${offset}`))));
  for (let turn = 0; offsets(seen).length < 1_000; turn += 1) {
    assert.ok(turn < 1_000);
    await settledAll();
  }
  await session.datagram(cursor(2_000, 'old'));
  await session.datagram(cursor(2_001, 'new'));
  seen.splice(0);
  await session.datagram(cursor(1_999, 'old'));
  assert.deepEqual(offsets(seen), []);
});

test('values of different channels, and own messages, are told apart', async () => {
  const { session, seen } = await open();
  await session.says(subscribed());
  await session.datagram(cursor(5, 'a'));
  await session.datagram(cursor(4, 'b'));
  await session.datagram({ ...cursor(4, 'a'), type: 'own' });
  await session.datagram(cursor(5, 'a'));
  await session.says(cursor(4, 'a'));
  await session.says({ type: 'message', channel: 'chat', position: '9.3', data: 'no tags' });
  assert.deepEqual(seen.slice(2).map(({ type, data }) => [type, data]), [['message', 5], ['message', 4], ['own', 4], ['message', 'no tags']]);
});

test('a gap before a subscription is live, and one of a single channel of a filter, leave its place unchanged', async () => {
  const filter = { filter: '#', subscription: 4 };
  const of = (at, more) => ({ type: 'message', channel: 'a', ...filter, position: `9.${at}`, at: `1.${at}`, data: at, ...more });
  const { session, seen } = await open();
  await session.says({ type: 'subscribed', id: 1, ...filter, position: '1.0', live: false });
  await session.says({ type: 'gap', ...filter, from: '1.0', to: '1.50', reason: 'dropped' });
  await session.says({ type: 'live', ...filter, position: '1.60' });
  await session.datagram(of(61));
  await session.says({ type: 'gap', ...filter, channel: 'a', from: '9.61', to: '9.900', reason: 'dropped' });
  await session.datagram(of(62));
  await session.says({ type: 'gap', ...filter, from: '1.62', to: '1.70', reason: 'dropped' });
  await session.datagram(of(71));
  assert.deepEqual(seen.filter(({ type }) => type === 'message').map(({ at, previous }) => [at, previous]), [['1.61', '1.60'], ['1.62', '1.61'], ['1.71', '1.70']]);
});

test('without datagrams, messages are given as they are', async () => {
  const { session, seen } = await open();
  await session.says(subscribed());
  await session.says(message(5));
  await session.says(message(3));
  assert.deepEqual(seen.slice(2), [message(5), message(3)]);
});
