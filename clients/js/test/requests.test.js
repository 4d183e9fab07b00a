// The transports over HTTP requests, without the rest of the client.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EventStream } from '../src/event-stream.js';
import { Polling } from '../src/polling.js';
import { settledAll } from './http.js';
import { BASE, begin, polling, streaming } from './requests.js';

for (const [name, open] of [['polling', polling], ['a stream', streaming]]) {
  test(`${name}: messages go one request after the other, those that wait together`, async () => {
    const { http, socket } = await open();
    for (const text of ['a', 'b', 'c']) socket.send(text);
    assert.equal(socket.bufferedAmount, 3);
    const first = http.find('POST');
    assert.deepEqual([first.url, first.body], [`${BASE}/c1?n=1`, 'a']);
    await first.answer(204);
    const second = http.find('POST');
    assert.deepEqual([second.url, second.body, socket.bufferedAmount], [`${BASE}/c1?n=2`, 'b\nc', 2]);
    socket.send('x'.repeat(20_000));
    socket.send('d');
    await second.answer(204);
    assert.equal(http.find('POST').body.length, 20_000);
    await http.find('POST').answer(204);
    assert.equal(http.find('POST').body, 'd');
    await http.find('POST').answer(204);
    assert.equal(socket.bufferedAmount, 0);
  });

  test(`${name}: a request whose answer is lost is repeated with its number, for a while`, async () => {
    const { http, socket, seen, pass } = await open();
    socket.send('a');
    const fails = [(request) => request.fail(), (request) => request.answer(502), (request) => request.answer(409, { code: 'busy' })];
    for (const fail of fails) {
      await fail(http.find(`POST ${BASE}/c1?n=1`));
      await pass(1_700);
    }
    await http.find(`POST ${BASE}/c1?n=1`).answer(204);
    socket.send('b');
    for (let attempt = 0; attempt < 6; attempt += 1) {
      await http.find(`POST ${BASE}/c1?n=2`).answer(503);
      await pass(1_700);
    }
    assert.deepEqual(seen.at(-1), { code: 1006, reason: 'a request failed: HTTP 503', wasClean: false });
    assert.deepEqual(http.lines, []);
  });

  test(`${name}: a request that hangs is given up and repeated`, async () => {
    const { http, socket, pass } = await open();
    socket.send('a');
    const hanging = http.find('POST');
    await pass(10_000);
    assert.ok(hanging.isAborted);
    // The server may be waiting until messages are polled.
    if (name === 'polling') await http.find(`GET ${BASE}/c1?after=0&wait=0`).answer(200, { first: 1, messages: [] });
    await pass(100);
    assert.ok(http.find(`POST ${BASE}/c1?n=1`) !== hanging);
  });

  test(`${name}: what was sent before it is closed is sent before the client leaves`, async () => {
    const { http, socket } = await open();
    for (const text of ['a', 'b', 'c']) socket.send(text);
    socket.close(1000);
    await http.find(`POST ${BASE}/c1?n=1`).answer(503);
    assert.ok(!http.lines.includes(`DELETE ${BASE}/c1`));
    assert.deepEqual([socket.isOpen, socket.readyState], [false, 3]);
  });

  test(`${name}: a client that leaves does so once everything was sent, and no later than after two seconds`, async () => {
    const { http, socket } = await open();
    for (const text of ['a', 'b']) socket.send(text);
    socket.close(1000);
    await http.find(`POST ${BASE}/c1?n=1`).answer(204);
    await http.find(`POST ${BASE}/c1?n=2`).answer(204);
    await http.find(`DELETE ${BASE}/c1`).answer(204);
    assert.deepEqual(http.lines, []);
    const late = await open();
    late.socket.send('a');
    late.socket.close(1000);
    await late.pass(2_000);
    assert.ok(late.http.requests.find(({ url }) => url === `${BASE}/c1?n=1`).isAborted);
    await late.http.find(`DELETE ${BASE}/c1`).answer(204);
    assert.deepEqual(late.http.lines, []);
  });

  test(`${name}: a message that is too large ends it with 1009, and one that is refused with 1006`, async () => {
    for (const [status, code] of [[413, 1009], [404, 1006], [409, 1006], [400, 1006], [200, 1006]]) {
      const { http, socket, seen } = await open();
      socket.send('a');
      await http.find('POST').answer(status);
      assert.equal(seen[0].code, code);
    }
  });

  test(`${name}: if several messages together are too large, each is sent alone, and only one that is too large itself ends it`, async () => {
    const { http, socket, seen } = await open();
    for (const text of ['a', 'b', 'c', 'd']) socket.send(text);
    await http.find('POST').answer(204);
    const together = http.find('POST');
    assert.deepEqual([together.url, together.body], [`${BASE}/c1?n=2`, 'b\nc\nd']);
    await together.answer(413);
    for (const [n, body] of [[2, 'b'], [3, 'c']]) {
      const alone = http.find('POST');
      assert.deepEqual([alone.url, alone.body], [`${BASE}/c1?n=${n}`, body]);
      await alone.answer(204);
    }
    assert.equal(socket.bufferedAmount, 1);
    await http.find(`POST ${BASE}/c1?n=4`).answer(413);
    assert.deepEqual(seen.map(({ code }) => code), [1009]);
  });

  test(`${name}: a connection that has ended waits for nothing`, async () => {
    const { world, http, socket } = await open();
    socket.send('a');
    await http.find('POST').answer(503);
    socket.close(4000);
    await settledAll();
    assert.deepEqual([http.lines, world.timers], [[], 0]);
  });

  test(`${name}: who leaves for good says so, and nothing else is under way`, async () => {
    const { http, socket } = await open();
    socket.close(1000, '');
    const leaving = http.find(`DELETE ${BASE}/c1`);
    assert.ok(leaving.keepalive);
    await leaving.answer(204);
    assert.deepEqual(http.lines, []);
    const hanging = await open();
    hanging.socket.close(1000);
    await hanging.pass(2_000);
    assert.deepEqual(hanging.http.lines, [`DELETE ${BASE}/c1`]);
  });

  test(`${name}: a connection that is only dropped does not leave`, async () => {
    for (const code of [undefined, 4000]) {
      const { http, socket, seen } = await open();
      socket.send('a');
      socket.close(code);
      assert.deepEqual(http.lines, []);
      await settledAll();
      assert.deepEqual(seen, []);
    }
  });
}

test('polling: each poll acknowledges what has arrived, and the first message proves that polling works', async () => {
  const { http, seen } = await polling();
  await http.find(`GET ${BASE}/c1?after=0&wait=25`).answer(200, { first: 1, messages: [{ a: 1 }, { a: 2 }] });
  assert.deepEqual(seen.splice(0), ['works', { a: 1 }, { a: 2 }]);
  await http.find(`GET ${BASE}/c1?after=2&wait=25`).answer(200, { first: 3, messages: [] });
  await http.find(`GET ${BASE}/c1?after=2&wait=25`).answer(200, { first: 3, messages: [{ a: 3 }], closed: { code: 4001, reason: 'replaced' } });
  assert.deepEqual(seen, [{ a: 3 }, { code: 4001, reason: 'replaced', wasClean: true }]);
  assert.deepEqual(http.lines, []);
});

test('polling: if the answer to a poll is lost, the next poll requests the same messages again', async () => {
  const { http, seen, pass } = await polling();
  await http.find('GET').fail();
  await pass(100);
  await http.find(`GET ${BASE}/c1?after=0`).answer(409, { code: 'replaced' });
  await pass(100);
  await http.find(`GET ${BASE}/c1?after=0`).answer(200, { first: 1, messages: [{ a: 1 }] });
  assert.deepEqual(seen, ['works', { a: 1 }]);
});

for (const answer of ['', 'null', '[]', '{}', '{"first":2,"messages":[]}', '{"first":1,"messages":{}}', '{"first":1,"messages":"ab"}']) {
  test(`polling: ${answer || 'an empty answer'} ends it`, async () => {
    const { http, seen } = await polling();
    await http.find('GET').answer(200, answer);
    assert.equal(seen[0].code, 1006);
  });
}

for (const answer of ['', 'null', '{}', '{"connection":1}']) {
  test(`polling: ${answer || 'an empty answer'} is no connection`, async () => {
    const { http, seen } = await begin(Polling);
    await http.find('POST').answer(201, answer);
    assert.equal(seen[0].code, 1006);
  });
}

test('polling: a connection that the server no longer knows has ended', async () => {
  const { http, seen } = await polling();
  await http.find('GET').answer(404, { code: 'unknown_connection' });
  assert.equal(seen[0].reason, 'a request was refused: HTTP 404');
});

test('polling: if only one request at a time gets through, a poll is cancelled for messages that are to be sent', async () => {
  const { http, socket, pass } = await polling();
  socket.send('a');
  const poll = http.find('GET');
  await pass(1_999);
  assert.ok(!poll.isOver);
  await pass(1);
  assert.ok(poll.isAborted);
  assert.deepEqual(http.lines, [`POST ${BASE}/c1?n=1`]);
  await http.find('POST').answer(204);
  assert.deepEqual(http.lines, [`GET ${BASE}/c1?after=0&wait=5`]);
  // From now on, requests are sent concurrently.
  socket.send('b');
  await settledAll();
  assert.deepEqual(http.lines, [`POST ${BASE}/c1?n=2`]);
  await http.find('POST').answer(204);
  assert.deepEqual(http.lines, [`GET ${BASE}/c1?after=0&wait=5`]);
});

test('polling: if only one request at a time gets through, a request that waits for a poll is cancelled for it, and repeated', async () => {
  const { http, socket, seen, pass } = await polling();
  socket.send('a');
  await pass(2_000);
  await http.find('POST').answer(204);
  socket.send('b');
  await settledAll();
  const waiting = http.find(`POST ${BASE}/c1?n=2`);
  await pass(2_000);
  assert.ok(waiting.isAborted);
  await http.find(`GET ${BASE}/c1?after=0&wait=0`).answer(200, { first: 1, messages: [1, 2] });
  await http.find(`GET ${BASE}/c1?after=2&wait=0`).answer(200, { first: 3, messages: [] });
  assert.deepEqual(seen.filter((one) => typeof one === 'number'), [1, 2]);
  await pass(100);
  await http.find(`POST ${BASE}/c1?n=2`).answer(204);
  assert.deepEqual(http.lines, [`GET ${BASE}/c1?after=2&wait=5`]);
});

test('polling: after a minute, concurrent requests are tried again', async () => {
  const { http, socket, pass } = await polling();
  socket.send('a');
  await pass(2_000);
  await http.find('POST').answer(204);
  for (let turn = 0; turn < 12; turn += 1) {
    await pass(5_000);
    await http.find('GET').answer(200, { first: 1, messages: [] });
  }
  const poll = http.find(`GET ${BASE}/c1?after=0&wait=25`);
  socket.send('b');
  await http.find('POST').answer(204);
  assert.ok(!poll.isOver);
});

test('polling: a poll that failed late does not make the next one wait longer', async () => {
  const { http, socket, pass } = await polling();
  socket.send('a');
  await pass(2_000);
  await http.find('POST').answer(204);
  await pass(14_000);
  await http.find(`GET ${BASE}/c1?after=0&wait=5`).fail();
  await pass(200);
  http.find(`GET ${BASE}/c1?after=0&wait=5`);
});

test('polling: the same if the other request is refused', async () => {
  const { http, socket, pass } = await polling();
  socket.send('a');
  const poll = http.find('GET');
  await http.find('POST').answer(503);
  assert.ok(poll.isAborted);
  await pass(100);
  assert.deepEqual(http.lines, [`POST ${BASE}/c1?n=1`]);
});

test('polling: if requests are cut off while they wait, later ones wait less', async () => {
  const { http, pass } = await polling();
  await pass(10_000);
  await http.find('GET').fail();
  await pass(100);
  await pass(2_100);
  await http.find(`GET ${BASE}/c1?after=0&wait=7`).fail();
  await pass(200);
  http.find(`GET ${BASE}/c1?after=0&wait=2`);
});

test('polling: a poll that is not answered is given up', async () => {
  const { http, pass } = await polling();
  const poll = http.find('GET');
  await pass(34_999);
  assert.ok(!poll.isOver);
  await pass(1);
  assert.ok(poll.isAborted);
});

test('a stream: events arrive in any pieces, comments are ignored, and the last event gives the reason for the end', async () => {
  const { seen, stream } = await streaming();
  const text = ':\n\ndata: {"a":"ü"}\n\nevent: other\ndata: {}\n\ndata: {"b":\ndata: 2}\n\nevent: close\ndata: {"code":1012,"reason":"later"}\n\n';
  for (const character of text) await stream.writes(character);
  assert.deepEqual(seen, ['works', { a: 'ü' }, { b: 2 }, { code: 1012, reason: 'later', wasClean: true }]);
});

test('a stream that the server closes because it received nothing means that requests are lost on the way', async () => {
  const { socket, seen, stream } = await streaming();
  socket.send('a');
  await stream.writes('event: close\ndata: {"code":1008,"reason":"no connect came in time"}\n\n');
  assert.deepEqual(seen, [{ code: 1006, reason: 'a request failed: nothing came through', wasClean: false }]);
});

test('a stream that does not begin in time ends the connection', async () => {
  const { http, seen, pass } = await begin(EventStream);
  await http.find('GET').streams();
  await http.find('GET').writes(':\n\n');
  await pass(5_000);
  assert.deepEqual(seen, [{ code: 1006, reason: 'it took too long', wasClean: false }]);
});

test('a stream that ends, breaks, is refused or contains nonsense ends the connection', async () => {
  const ended = await streaming();
  await ended.stream.ends();
  const broken = await streaming();
  await broken.stream.fail();
  const refused = await begin(EventStream);
  await refused.http.find('GET').answer(503);
  const nonsense = await begin(EventStream);
  await nonsense.http.find('GET').streams();
  await nonsense.http.find('GET').writes('event: open\ndata: rubbish\n\n');
  for (const { seen, http } of [ended, broken, refused, nonsense]) {
    assert.equal(seen[0].code, 1006);
    assert.deepEqual(http.lines.filter((line) => !line.startsWith('GET')), []);
  }
  assert.equal(refused.seen[0].reason, 'a request was refused: HTTP 503');
});

test('a stream: an event without an end uses bounded memory', async () => {
  const { seen, stream } = await streaming();
  const piece = 'x'.repeat(4 * 1024 * 1024);
  for (let turn = 0; turn < 5 && seen.length === 0; turn += 1) await stream.writes(piece);
  assert.equal(seen[0].reason, 'an event is too long');
});
