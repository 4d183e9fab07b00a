// Connections over HTTP requests: how long they wait, how often they repeat, and what they leave behind.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Polling } from '../src/polling.js';
import { settledAll } from './http.js';
import { BASE, begin, polling, streaming } from './requests.js';

/** The `wait` of the poll under way. */
const waitOf = (http) => Number(/wait=(\d+)/.exec(http.find('GET').url)[1]);

for (const [name, open] of [['polling', polling], ['a stream', streaming]]) {
  test(`${name}: a failed request is repeated after 100 ms, and after twice as long each time`, async () => {
    const { http, socket, pass } = await open();
    socket.send('a');
    for (const pause of [100, 200, 400, 800, 1_600]) {
      await http.find('POST').answer(503);
      await pass(pause - 1);
      assert.ok(!http.lines.some((line) => line.startsWith('POST')), `${pause}`);
      await pass(1);
    }
    await http.find(`POST ${BASE}/c1?n=1`).answer(204);
  });

  test(`${name}: messages of up to 16 KiB go together`, async () => {
    const { http, socket } = await open();
    socket.send('first');
    const seventh = 'x'.repeat(7_000);
    for (let count = 0; count < 3; count += 1) socket.send(seventh);
    await http.find('POST').answer(204);
    assert.equal(http.find('POST').body, `${seventh}\n${seventh}`);
    await http.find('POST').answer(204);
    assert.equal(http.find('POST').body, seventh);
  });

  test(`${name}: no cache answers, and what was answered is not aborted at the end`, async () => {
    const { http, socket } = await open();
    socket.send('a');
    const post = http.find('POST');
    await post.answer(204);
    socket.close(4000);
    assert.deepEqual([post.signal.aborted, http.requests.every(({ cache }) => cache === 'no-store')], [false, true]);
  });

  test(`${name}: what is sent after the client has left goes nowhere, and no timer is left`, async () => {
    const { world, http, socket } = await open();
    socket.send('a');
    socket.close(1000);
    await http.find(`POST ${BASE}/c1?n=1`).answer(204);
    await http.find(`DELETE ${BASE}/c1`).answer(204);
    socket.send('b');
    await settledAll();
    assert.deepEqual([http.lines, world.timers], [[], 0]);
  });
}

test('a stream that ends while the client leaves ends what is still to be sent', async () => {
  const { http, socket, stream, pass } = await streaming();
  socket.send('a');
  socket.close(1000);
  await stream.ends();
  await http.find('POST').answer(503);
  await pass(500);
  assert.deepEqual(http.lines, [`DELETE ${BASE}/c1`]);
});

test('a stream that the server closes says why, whether or not something has come, unless nothing came and something is being sent', async () => {
  for (const [hasCome, isSending] of [[false, false], [true, false], [true, true]]) {
    const { socket, seen, stream } = await streaming();
    if (hasCome) await stream.writes('data: {}\n\n');
    if (isSending) socket.send('a');
    await stream.writes('event: close\ndata: {"code":4001,"reason":"replaced"}\n\n');
    assert.deepEqual(seen.at(-1), { code: 4001, reason: 'replaced', wasClean: true });
  }
});

test('polling: what comes after the listener has closed the connection is dropped', async () => {
  const { http, socket, seen } = await polling();
  const { onmessage } = socket;
  socket.onmessage = (event) => {
    onmessage(event);
    socket.close(4000);
  };
  await http.find('GET').answer(200, { first: 1, messages: [1, 2] });
  assert.deepEqual(seen, ['works', 1]);
});

test('polling: a connection that is refused, or not answered, says so', async () => {
  for (const [answer, reason] of [[(post) => post.answer(404), 'a request was refused: HTTP 404'], [(post) => post.fail(), 'no answer'], [(post) => post.answer(201), 'the answer has no connection']]) {
    const { http, seen } = await begin(Polling);
    await answer(http.find('POST'));
    assert.deepEqual(seen, [{ code: 1006, reason, wasClean: false }]);
  }
});

test('polling: another poll takes the place of one that was replaced after 100 ms', async () => {
  const { http, pass } = await polling();
  await http.find('GET').answer(409, { code: 'replaced' });
  await pass(99);
  assert.deepEqual(http.lines, []);
  await pass(1);
  http.find('GET');
});

test('polling: a request that is repeated has one timer', async () => {
  const { world, http, socket, pass } = await polling();
  socket.send('a');
  await settledAll();
  const { timers } = world;
  await http.find('POST').answer(503);
  await pass(100);
  http.find('POST');
  // It is alone now, and needs no timer that tells whether it is.
  assert.ok(world.timers < timers + 1);
  const second = await polling();
  second.socket.send('a');
  await settledAll();
  await second.http.find('POST').fail();
  await second.pass(100);
  assert.equal(second.world.timers, timers);
});

test('polling: requests go alone for one minute, then for two, at most for ten', async () => {
  const { world, http, socket, pass } = await polling();
  for (const minutes of [1, 2, 4, 8, 10, 10]) {
    socket.send('a');
    await pass(2_000);
    const from = world.now;
    await http.find('POST').answer(204);
    while (waitOf(http) < 25) {
      await pass(5_000);
      await http.find('GET').answer(200, { first: 1, messages: [] });
    }
    assert.equal(world.now - from, minutes * 60_000);
  }
});

test('polling: that a request waits again while requests go alone does not prolong this', async () => {
  const { world, http, socket, pass } = await polling();
  socket.send('a');
  await pass(2_000);
  const from = world.now;
  // Refused while it is alone.
  await http.find('POST').answer(503);
  await pass(100);
  await http.find('POST').answer(204);
  while (waitOf(http) < 25) {
    await pass(5_000);
    await http.find('GET').answer(200, { first: 1, messages: [] });
  }
  assert.ok(world.now - from < 70_000, `${world.now - from}`);
});

/** Requests go alone, and one is under way. */
async function alone() {
  const all = await polling();
  all.socket.send('a');
  await all.pass(2_000);
  await all.http.find('POST').answer(204);
  all.socket.send('b');
  await settledAll();
  return all;
}

test('polling: a request that goes alone is given 2 s, then 2 s, 4 s and so on', async () => {
  const { http, pass } = await alone();
  for (const within of [2_000, 4_000, 8_000, 10_000]) {
    const post = http.find(`POST ${BASE}/c1?n=2`);
    await pass(within - 1);
    assert.ok(!post.isOver, `${within}`);
    await pass(1);
    assert.ok(post.isAborted, `${within}`);
    await http.find(`GET ${BASE}/c1?after=0&wait=0`).answer(200, { first: 1, messages: [] });
    while (!http.lines.some((line) => line.startsWith('POST'))) await pass(100);
  }
});

test('polling: between two attempts to send there are at most eight polls, and none after one that fails', async () => {
  const { http, pass } = await alone();
  await pass(2_000);
  for (let turn = 0; turn < 8; turn += 1) {
    await http.find(`GET ${BASE}/c1?after=${turn}&wait=0`).answer(200, { first: turn + 1, messages: [turn] });
  }
  assert.deepEqual(http.lines, []);
  await pass(100);
  const post = http.find('POST');
  await pass(4_000);
  assert.ok(post.isAborted);
  await http.find(`GET ${BASE}/c1?after=8&wait=0`).answer(503);
  await pass(200);
  await http.find(`POST ${BASE}/c1?n=2`).answer(204);
});

test('polling: no poll follows a connection that was closed between two attempts to send', async () => {
  const { http, socket, pass } = await alone();
  await pass(2_000);
  const poll = http.find(`GET ${BASE}/c1?after=0&wait=0`);
  socket.close(4000);
  await poll.answer(200, { first: 1, messages: [1] });
  assert.deepEqual(http.lines, []);
});

test('polling: a poll that is not answered in time was cut off, and so was one that a proxy answers with 500', async () => {
  const late = await polling();
  await late.pass(35_000);
  await late.pass(100);
  assert.equal(waitOf(late.http), 24);
  const refused = await polling();
  await refused.pass(10_000);
  await refused.http.find('GET').answer(500);
  await refused.pass(100);
  assert.equal(waitOf(refused.http), 7);
});

test('polling: a poll that fails within 2 s says nothing about how long one may wait', async () => {
  const { http, pass } = await polling();
  await pass(2_000);
  await http.find('GET').fail();
  await pass(100);
  assert.equal(waitOf(http), 25);
});

test('polling: after a poll that was cut off, the wait grows by a second with each that was not, up to 25 s', async () => {
  const { http, pass } = await polling();
  await pass(32_000);
  await http.find('GET').fail();
  await pass(100);
  assert.equal(waitOf(http), 22);
  await pass(21_999);
  await http.find('GET').answer(200, { first: 1, messages: [] });
  assert.equal(waitOf(http), 22, 'that one was answered earlier');
  for (const expected of [23, 24, 25, 25]) {
    await pass(waitOf(http) * 1_000);
    await http.find('GET').answer(200, { first: 1, messages: [] });
    assert.equal(waitOf(http), expected);
  }
});
