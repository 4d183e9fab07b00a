// Which transport a client uses: it falls back if one does not get through, and returns to a better one later.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connect } from '../src/index.js';
import { install } from '../src/transports.js';
import { URL, welcome } from './conversation.js';
import { Http, settledAll } from './http.js';
import { SimulatedStore, World } from './simulated.js';
import { BASE, begin, KEY, next, overPolling, overStream, polls, QUIET, refused, streams } from './transports.js';

test('if a WebSocket works, no HTTP request is sent', async () => {
  const { client, world, http, storage } = await begin();
  await welcome(world);
  assert.deepEqual([client.transport, http.requests.length, storage.entries.size], ['websocket', 0, 0]);
});

test('a WebSocket that is refused twice while the server answers over HTTP is replaced by a stream of events', async () => {
  const all = await begin();
  assert.equal(await refused(all), 'websocket');
  assert.equal(await refused(all), 'other');
  await streams(all);
  assert.equal(all.storage.getItem(KEY), '{"example.test":"sse"}');
});

test('a WebSocket that was accepted but transmits nothing is replaced at once', async () => {
  const all = await begin();
  await all.world.socket.opens();
  await all.pass(10_000);
  await all.http.find('GET http://example.test/ws').answer(426);
  await next(all);
  assert.equal(all.world.sockets.length, 1);
  await streams(all);
});

test('a message that arrives means that WebSockets get through', async () => {
  const all = await begin();
  assert.equal(await refused(all), 'websocket');
  await welcome(all.world);
  await all.world.socket.ends();
  await next(all);
  assert.equal(await refused(all), 'websocket');
});

for (const status of [429, 500, 502, 503, 504]) {
  test(`a server that answers ${status} is busy or away, and the WebSocket is tried again`, async () => {
    const all = await begin();
    for (let turn = 0; turn < 4; turn += 1) assert.equal(await refused(all, status), 'websocket');
    assert.deepEqual([all.http.requests.length, all.warnings.length], [4, status === 429 || status === 503 ? 0 : 1]);
  });
}

test('without a network, or without an answer, the WebSocket is tried again', async () => {
  const all = await begin();
  for (let turn = 0; turn < 3; turn += 1) {
    await all.world.socket.ends();
    await settledAll();
    if (turn === 1) await all.http.find('GET http://example.test/ws').fail();
    await all.pass(11_000);
    assert.equal(all.world.sockets.length, turn + 2);
  }
});

test('a refusal that the server explains is reported once, and the server is not asked again', async () => {
  const all = await begin();
  for (let turn = 0; turn < 4; turn += 1) assert.equal(await refused(all, 403, 'add it to `origins`'), 'websocket');
  assert.deepEqual(all.warnings.map(({ code, message }) => [code, message]), [['unreachable', `${URL} refused the WebSocket: HTTP 403: add it to \`origins\``]]);
  assert.deepEqual([all.http.requests.length, all.warnings[0].retry], [1, 'never']);
});

test('after 30 s the server is asked again, and its reason is not reported again', async () => {
  const all = await begin();
  const [from] = [all.world.now];
  await refused(all, 403, 'add it to `origins`');
  await all.pass(from + 29_999 - all.world.now);
  await all.world.socket.ends();
  assert.equal(all.http.requests.length, 1);
  await all.pass(1);
  // The next attempt has begun by then.
  await next(all);
  assert.equal(await refused(all, 403, 'add it to `origins`'), 'websocket');
  assert.deepEqual([all.http.requests.length, all.warnings.length], [2, 1]);
});

test('refusals without a reason are no warnings, and ends that the server explains by a code are not asked about', async () => {
  const all = await begin();
  assert.equal(await refused(all), 'websocket');
  assert.equal(all.warnings.length, 0);
  const ended = await begin();
  await ended.world.socket.opens();
  await ended.world.socket.ends(1011);
  await settledAll();
  assert.equal(ended.http.requests.length, 0);
  const busy = await begin();
  await busy.world.socket.opens();
  await busy.world.socket.says({ type: 'error', id: busy.world.socket.takeOne('connect').id, code: 'busy', message: 'later', retry: 'later' });
  await settledAll();
  assert.deepEqual([busy.client.state.name, busy.http.requests.length], ['waiting', 0]);
});

test('a WebSocket that transmits nothing is tried again if nothing else is answered either', async () => {
  const all = await begin();
  for (let turn = 1; turn < 4; turn += 1) {
    await all.world.socket.opens();
    await all.pass(10_000);
    await all.pass(3_000);
    assert.equal(all.world.sockets.length, turn + 1);
  }
});

test('the next page begins anew with what works if the transport of the page before fails', async () => {
  const all = await begin({ found: { 'example.test': 'polling' } });
  for (let turn = 0; turn < 2; turn += 1) {
    await all.http.find(`POST ${BASE}`).answer(404);
    await all.http.find('GET http://example.test/ws').answer(426);
    await next(all);
  }
  assert.equal(all.world.sockets.length, 1);
  await all.world.socket.ends();
  await all.http.find('GET http://example.test/ws').fail();
  await next(all);
  assert.equal(all.world.sockets.length, 2);
  await welcome(all.world);
  assert.deepEqual([all.client.transport, all.storage.entries.size], ['websocket', 0]);
});

test('if the best of the allowed transports fails, it is tried again after a minute, although an earlier page had found it', async () => {
  const all = await begin({ found: { 'example.test': 'sse' }, transports: ['sse', 'polling'] });
  for (let turn = 0; turn < 2; turn += 1) {
    await all.http.find(`GET ${BASE}`).answer(404);
    await all.http.find('GET http://example.test/ws').answer(426);
    await next(all);
  }
  await polls(all);
  await all.pass(20_000);
  assert.equal(all.http.requests.filter(({ method, url }) => method === 'GET' && url === BASE).length, 2);
});

test('a question that was answered leaves no timer', async () => {
  const all = await begin();
  await all.world.socket.ends();
  await settledAll();
  await all.http.find('GET http://example.test/ws').answer(426);
  assert.equal(all.world.timers, 1, 'the wait before the next attempt');
});

test('a trial that was answered, or refused, leaves no timer, and after a refusal nothing else is tried', async () => {
  const all = await overStream(QUIET);
  await all.pass(59_999);
  const { timers } = all.world;
  await all.pass(1);
  const requests = all.http.requests.length;
  await all.world.socket.ends();
  await settledAll();
  assert.deepEqual([all.world.timers, all.http.requests.length], [timers, requests]);
  await all.pass(120_000);
  await all.world.socket.opens();
  await all.world.socket.says({ type: 'error', id: 1, code: 'bad_request', message: 'send connect first' });
  assert.equal(all.world.timers, 1, 'the wait before the next attempt');
});

test('if the connection ends during a trial, the trial decides nothing', async () => {
  const all = await overStream(QUIET);
  await all.pass(60_000);
  const trial = all.world.socket;
  await all.stream.ends();
  await trial.opens();
  await trial.says({ type: 'error', id: 1, code: 'bad_request', message: 'send connect first' });
  const sockets = all.world.sockets.length;
  await next(all);
  assert.equal(all.world.sockets.length, sockets);
  await streams(all);
});

test('a connection that has ended tries no other transport, and leaves no timer', async () => {
  const all = await overStream(QUIET);
  await all.stream.ends();
  assert.deepEqual([all.client.state.name, all.world.timers], ['waiting', 1]);
});

test('without a readable storage every transport works', async () => {
  const all = await begin();
  all.storage.getItem = () => '{';
  await refused(all);
  await refused(all);
  await streams(all);
});

test('only one question is in progress at a time, however fast attempts fail', async () => {
  const all = await begin({ backoff: { first: 1, cap: 1 } });
  for (let turn = 0; turn < 5; turn += 1) {
    await all.world.socket.ends();
    await all.pass(10);
  }
  assert.deepEqual(all.http.lines, ['GET http://example.test/ws']);
});

test('a stream that is held back is replaced by polls, and those by a WebSocket', async () => {
  const all = await begin();
  await refused(all);
  await refused(all);
  await all.http.find(`GET ${BASE}`).streams();
  await all.pass(5_000);
  await all.http.find('GET http://example.test/ws').answer(426);
  await next(all);
  const sockets = all.world.sockets.length;
  for (let turn = 0; turn < 2; turn += 1) {
    await all.http.find(`POST ${BASE}`).answer(405);
    await all.http.find('GET http://example.test/ws').answer(426);
    await next(all);
  }
  assert.equal(all.world.sockets.length, sockets + 1);
});

test('a stream over which nothing can be sent is replaced by polls', async () => {
  const all = await begin();
  await refused(all);
  await refused(all);
  const stream = all.http.find(`GET ${BASE}`);
  await stream.streams();
  await stream.writes('event: open\ndata: {"connection":"c1"}\n\n');
  // The request waits behind the stream.
  await all.pass(10_000);
  await all.http.find('GET http://example.test/ws').answer(426);
  await next(all);
  await polls(all);
});

/** The current stream does not begin in time, and the client asks the server by HTTP. */
async function stuck({ http, pass }) {
  const stream = http.find(`GET ${BASE}`);
  await pass(5_000);
  assert.ok(stream.isAborted);
  return http.find('GET http://example.test/ws');
}

test('a stream that does not begin is replaced by polls if nothing else is answered, for example because other tabs use all connections', async () => {
  const all = await begin();
  await refused(all);
  await refused(all);
  await stuck(all);
  await all.pass(3_000);
  // The attempt that has already begun is the last one.
  await all.pass(5_000);
  await next(all);
  await polls(all);
});

test('a stream that does not begin is tried again if there is no network, or no permission to poll', async () => {
  const without = await begin();
  await refused(without);
  await refused(without);
  for (let turn = 0; turn < 3; turn += 1) {
    await (await stuck(without)).fail();
    await next(without);
  }
  const alone = await begin({ transports: ['sse'] });
  await alone.pass(60_000);
  for (const { http } of [without, alone]) {
    assert.ok(http.requests.filter(({ url }) => url === BASE).length > 3);
    assert.ok(http.requests.every(({ method }) => method === 'GET'));
  }
});

test('a client of a busy server keeps the transport that was found', async () => {
  const all = await begin();
  await refused(all);
  await refused(all);
  const sockets = all.world.sockets.length;
  for (let turn = 0; turn < 3; turn += 1) {
    await all.http.find(`GET ${BASE}`).answer(503);
    await all.http.find('GET http://example.test/ws').answer(503);
    await next(all);
  }
  assert.ok(all.http.find(`GET ${BASE}`));
  assert.equal(all.world.sockets.length, sockets);
});

test('a server that refused everything for a while is asked again, and the next transport is found', async () => {
  const all = await begin();
  for (let turn = 0; turn < 2; turn += 1) await refused(all, 404, 'no such service');
  await all.pass(29_000);
  let way;
  for (let turn = 0; turn < 6 && way !== 'other'; turn += 1) way = await refused(all);
  assert.ok(all.http.find(`GET ${BASE}`));
});

test('a lost stream is opened again, with the session', async () => {
  const all = await overStream();
  await all.stream.ends();
  await next(all);
  const stream = all.http.find(`GET ${BASE}`);
  await stream.streams();
  await stream.writes('event: open\ndata: {"connection":"c2"}\n\n');
  const { type, resume } = JSON.parse(all.http.find(`POST ${BASE}/c2?n=1`).body);
  assert.deepEqual([type, resume], ['connect', 'v1.first']);
});

test('after a while, a WebSocket is tried in addition to the stream, and takes over the session once it has answered', async () => {
  const all = await overStream(QUIET);
  const sockets = all.world.sockets.length;
  await all.pass(59_000);
  assert.equal(all.world.sockets.length, sockets);
  await all.pass(1_000);
  assert.equal(all.world.sockets.length, sockets + 1);
  const trial = all.world.socket;
  await trial.opens();
  trial.takeOne('ping');
  assert.equal(all.client.state.name, 'open');
  await trial.says({ type: 'error', id: 1, code: 'bad_request', message: 'send connect first' });
  assert.deepEqual([trial.closedWith, all.client.state.name, all.client.state.end.code], [{ code: 1000, reason: undefined }, 'waiting', 1012]);
  assert.deepEqual(all.http.lines, []);
  await next(all);
  const { resume } = await welcome(all.world);
  assert.deepEqual([resume, all.client.transport, all.storage.entries.size], ['v1.first', 'websocket', 0]);
});

test('a trial that is not answered disturbs nothing, and is repeated less and less often', async () => {
  const all = await overStream(QUIET);
  const started = all.world.sockets.length;
  const times = [];
  for (let minute = 0; minute < 45; minute += 1) {
    const before = all.world.sockets.length;
    await all.pass(60_000);
    if (all.world.sockets.length > before) times.push(minute);
  }
  assert.deepEqual(times, [0, 3, 7, 15, 25, 35]);
  assert.ok(all.world.sockets.slice(started, -1).every(({ closedWith }) => closedWith));
  assert.equal(all.client.transport, 'sse');
  assert.equal(all.client.state.name, 'open');
});

test('polls are replaced by a stream that works, if a WebSocket does not', async () => {
  const all = await overPolling(QUIET);
  await all.pass(60_000);
  await all.world.socket.ends();
  await settledAll();
  const trial = all.http.find(`GET ${BASE}`);
  assert.equal(trial.url, BASE);
  await trial.streams();
  await trial.writes('event: open\ndata: {"connection":"t1"}\n\n');
  await all.http.find(`POST ${BASE}/t1?n=1`).answer(204);
  await trial.writes('data: {"type":"error","id":1,"code":"bad_request","message":"send connect first"}\n\n');
  await all.http.find(`DELETE ${BASE}/t1`).answer(204);
  assert.equal(all.client.state.name, 'waiting');
  await next(all);
  await streams(all);
});

test('what worked in an earlier page comes first, and a WebSocket is tried soon', async () => {
  const all = await begin({ found: { 'example.test': 'polling', 'other.test': 'sse' } });
  assert.equal(all.world.sockets.length, 0);
  await polls(all);
  await all.pass(5_000);
  const trial = all.world.socket;
  await trial.opens();
  await trial.says({ type: 'error', id: 1, code: 'bad_request', message: 'send connect first' });
  assert.equal(all.storage.getItem(KEY), '{"other.test":"sse"}');
});

test('a closed client tries no other transport', async () => {
  const all = await overStream(QUIET);
  const sockets = all.world.sockets.length;
  all.client.close();
  await all.http.find(`DELETE ${BASE}/c1`).answer(204);
  await all.pass(3_600_000);
  assert.deepEqual([all.world.sockets.length, all.http.lines, all.world.timers], [sockets, [], 0]);
});

test('a question why a WebSocket fails that is not answered is given up, so that it occupies no connection', async () => {
  const all = await begin();
  for (let turn = 0; turn < 5; turn += 1) {
    await all.world.socket.ends();
    await settledAll();
    assert.deepEqual(all.http.lines, ['GET http://example.test/ws']);
    await all.pass(3_000);
    assert.deepEqual(all.http.lines, []);
    await all.pass(10_000);
  }
  assert.equal(all.warnings.length, 0);
});

test('what was not read of an answer is discarded', async () => {
  const all = await begin();
  const { fetch } = all.world.environment.globals;
  const signals = [];
  all.world.environment.globals.fetch = (url, init) => {
    signals.push(init.signal);
    return fetch(url, init);
  };
  await refused(all);
  assert.deepEqual(signals.map(({ aborted }) => aborted), [true]);
});

test('a transport that the page may not open is tried again later, like one that does not get through', async () => {
  const all = await begin({ found: { 'example.test': 'sse' }, ...QUIET });
  await streams(all);
  all.policy.forbids = true;
  for (const [wait, asked] of [[5_000, 1], [60_000, 2], [120_000, 3]]) {
    await all.pass(wait);
    assert.equal(all.policy.asked, asked);
  }
  assert.deepEqual([all.client.state.name, all.client.transport], ['open', 'sse']);
});

test('only the transports in the option are used', async () => {
  const one = await begin({ transports: ['websocket'] });
  for (let turn = 0; turn < 4; turn += 1) assert.equal(await refused(one), 'websocket');
  const two = await begin({ transports: ['polling', 'sse'] });
  await streams(two);
  await two.pass(3_600_000);
  assert.equal(two.world.sockets.length, 0);
  const unreadable = await begin({ found: 'rubbish' });
  assert.equal(unreadable.world.sockets.length, 1);
});

test('the transports are installed once', async () => {
  const { world, http } = await begin();
  const { open } = world.environment;
  assert.equal(install(world.environment).open, open);
  assert.equal(http.requests.length, 0);
});

test('the other transports may be loaded while an attempt is under way', async () => {
  const world = new World();
  const http = new Http(world);
  world.environment.storage = new SimulatedStore();
  const failed = [];
  world.environment.fallBack = (...given) => failed.push(given);
  const found = [];
  const client = connect(() => new Promise((resolve) => found.push(resolve)), { environment: world.environment });
  await settledAll();
  found[0](URL);
  await settledAll();
  await world.socket.ends();
  await world.pass(500);
  // The next attempt waits for its address, and has asked for no transport.
  install(world.environment);
  world.environment.fallBack(...failed[0]);
  found[1](URL);
  await settledAll();
  await http.find('GET http://example.test/ws').answer(426);
  client.transport = undefined;
  await welcome(world);
  assert.deepEqual([client.state.name, client.transport], ['open', 'websocket']);
});
