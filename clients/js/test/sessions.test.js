// WebTransport among the transports: when it is used, and how the client leaves it and returns to it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { lose, welcome } from './conversation.js';
import { settledAll } from './http.js';
import { webTransports } from './sessions.js';
import { begin, KEY, next, QUIET } from './transports.js';

const SECURE = 'wss://example.test/ws';
const OPTIONS = { serverCertificateHashes: [{ algorithm: 'sha-256', value: new Uint8Array(32) }] };

/** A client that may use WebTransport and WebSockets, and has begun its first attempt. */
async function preferring(options = {}) {
  const { WebTransport, sessions } = webTransports();
  const all = await begin({ url: SECURE, WebTransport, transports: ['websocket', { webtransport: OPTIONS }], ...QUIET, ...options });
  return { ...all, sessions };
}

/** The server takes the newest session. */
async function opens({ sessions, client }) {
  const session = sessions.at(-1);
  await session.opens();
  const [{ id, type, streams, datagrams }] = session.take();
  assert.deepEqual([type, streams, datagrams], ['connect', true, true]);
  await session.says({ type: 'welcome', id, session: 's1', resume: 'v1.first' });
  assert.deepEqual([client.state.name, client.transport], ['open', 'webtransport']);
  return session;
}

/** WebTransport is blocked, and the client is open over a WebSocket. */
async function overWebSocket(options) {
  const all = await preferring(options);
  for (let turn = 0; turn < 2; turn += 1) {
    await all.sessions.at(-1).fails('blocked');
    await all.http.find('GET https://example.test/ws').answer(426);
    // The next attempt.
    const [sessions, sockets] = [all.sessions.length, all.world.sockets.length];
    while (all.sessions.length === sessions && all.world.sockets.length === sockets) await all.pass(100);
    if (all.world.sockets.length > sockets) break;
  }
  await welcome(all.world);
  assert.equal(all.client.transport, 'websocket');
  return all;
}

test('a session is opened first if it is allowed, with the given options, and nothing is stored', async () => {
  const all = await preferring();
  const { address, options } = await opens(all);
  assert.deepEqual([address, options, all.world.sockets.length], ['https://example.test/ws', OPTIONS, 0]);
  await all.pass(3_600_000);
  assert.deepEqual([all.sessions.length, all.storage.entries.size], [1, 0]);
});

test('a session without options is asked for by its name', async () => {
  const all = await preferring({ transports: ['webtransport'] });
  assert.equal((await opens(all)).options, undefined);
});

test('without TLS, without the browser’s interface, or without being allowed, no session is opened', async () => {
  for (const options of [{ url: 'ws://example.test/ws' }, { WebTransport: undefined }, { transports: ['websocket', 'sse'] }, { transports: undefined }]) {
    const all = await preferring(options);
    assert.deepEqual([all.sessions.length, all.world.sockets.length], [0, 1]);
    await welcome(all.world);
    await all.pass(60_000);
    assert.deepEqual([all.sessions.length, all.storage.entries.size], [0, 0]);
  }
});

test('where UDP is blocked, a WebSocket is used, which the next page begins with', async () => {
  const all = await overWebSocket();
  assert.equal(all.storage.getItem(KEY), '{"example.test":"websocket"}');
  const next = await preferring({ found: { 'example.test': 'websocket' } });
  assert.deepEqual([next.sessions.length, next.world.sockets.length], [0, 1]);
});

test('from a WebSocket the client returns to a session that answers', async () => {
  const all = await overWebSocket();
  const before = all.sessions.length;
  await all.world.socket.says({ type: 'told', data: 1 });
  await all.pass(60_000);
  assert.equal(all.sessions.length, before + 1, 'one trial, however many messages there were');
  const trial = all.sessions.at(-1);
  await trial.opens();
  assert.deepEqual(trial.take(), [{ type: 'ping', id: 1 }]);
  await trial.says({ type: 'error', id: 1, code: 'bad_request', message: 'send connect first' });
  assert.deepEqual(all.world.socket.closedWith, { code: 4000, reason: 'a better transport gets through' });
  assert.deepEqual([all.client.state.name, all.client.state.end], ['waiting', { code: 1012, reason: 'a better transport gets through', wasClean: true }]);
  assert.deepEqual(trial.log, ['finished', { closeCode: 0, reason: '' }]);
  assert.equal(all.storage.entries.size, 0);
  while (all.sessions.length === before + 1) await all.pass(100);
  await opens(all);
});

test('a WebSocket that has ended meanwhile is not replaced', async () => {
  const all = await overWebSocket();
  const [sessions, { timers }] = [all.sessions.length, all.world];
  await lose(all.world);
  await welcome(all.world);
  assert.equal(all.world.timers, timers, 'one trial is planned');
  all.world.socket.readyState = 3;
  all.client.close();
  await all.pass(3_600_000);
  assert.equal(all.sessions.length, sessions);
});

test('a session that breaks is opened again, and one that the server closes with a code is treated as that code says', async () => {
  const all = await preferring();
  const first = await opens(all);
  first.rejectClosed(new Error('the network is gone'));
  await settledAll();
  assert.deepEqual([all.client.state.name, all.client.state.end], ['waiting', { code: 1006, reason: 'the stream broke: the network is gone', wasClean: false }]);
  while (all.sessions.length === 1) await all.pass(100);
  const second = await opens(all);
  await second.ends(4001, 'replaced');
  assert.deepEqual([all.client.state.name, all.client.state.error.code], ['closed', 'replaced']);
});

test('a message that is too large fails over a session, too', async () => {
  const all = await preferring();
  const session = await opens(all);
  const call = assert.rejects(all.client.call('store', 'x'.repeat(1_000)), { code: 'too_large' });
  await settledAll();
  await session.ends(1009, 'too big');
  await call;
  assert.equal(all.client.state.name, 'waiting');
});

test('a session that does not open in time is given up', async () => {
  const all = await preferring();
  await all.pass(4_999);
  assert.deepEqual(all.sessions[0].log, []);
  await all.pass(1);
  assert.deepEqual(all.sessions[0].log, [{ closeCode: 4000, reason: '' }]);
  assert.equal(all.client.state.name, 'waiting');
  await all.http.find('GET https://example.test/ws').answer(426);
  await next(all);
  assert.equal(all.world.sockets.length, 1, 'the next transport, at once');
});

test('a closed client ends its session after what it has sent', async () => {
  const all = await preferring();
  const session = await opens(all);
  all.client.close();
  await settledAll();
  assert.deepEqual([session.log, all.world.timers], [['finished', { closeCode: 0, reason: '' }], 0]);
});
