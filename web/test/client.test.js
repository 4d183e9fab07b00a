import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { connect, persist, ReconnectingWebSocket } from '../../clients/js/src/index.js';
import { stage } from './browser.js';
import { Network } from './network.js';
import { Server } from './server.js';

// Node before 22 has no WebSocket.
const { WebSocket } = createRequire(import.meta.url)('ws');

const MESSAGES = 150;

async function served(t, settings) {
  const server = await Server.start(settings);
  t.after(() => server.remove());
  const network = await Network.to(server.port);
  t.after(() => network.close());
  const clients = [];
  t.after(() => clients.forEach((client) => client.close()));
  const client = (options) => {
    const made = connect(`ws://127.0.0.1:${network.port}/ws`, { WebSocket, backoff: { first: 50, cap: 200 }, ...options });
    clients.push(made);
    return made;
  };
  return { server, network, client };
}

/** The data of so many messages, and how many gaps there were among them. */
async function read(subscription, count) {
  const seen = { data: [], gaps: 0 };
  for await (const { type, data } of subscription) {
    if (type === 'gap') seen.gaps += 1;
    if (type === 'message') seen.data.push(data);
    if (seen.data.length === count) return seen;
  }
  return seen;
}

test('killed and cut while it publishes: every message is delivered once and in order, also to later subscribers', async (t) => {
  const { server, network, client } = await served(t);
  const [publisher, subscriber] = [client(), client()];
  const reading = read(subscriber.subscribe('chat', { since: 'start' }), MESSAGES);
  const expected = Array.from({ length: MESSAGES }, (_, number) => number);
  const answers = [];
  for (const number of expected) {
    answers.push(publisher.publish('chat', number));
    if (number % 50 === 25) {
      await answers[number - 10];
      await server.kill();
      await server.start();
    } else if (number % 10 === 5) {
      await answers[Math.max(0, number - 3)];
      network.cut();
    }
  }
  const positions = (await Promise.all(answers)).map(({ position }) => position);
  assert.deepEqual(await reading, { data: expected, gaps: 0 });
  assert.equal(new Set(positions).size, MESSAGES);
  const late = client().subscribe('chat', { since: 'start' });
  assert.deepEqual(await read(late, MESSAGES), { data: expected, gaps: 0 });
});

test('what the channel no longer retains is a gap with its reason', async (t) => {
  const { client } = await served(t);
  const reader = client();
  const events = reader.subscribe('chat', { since: '17.3' })[Symbol.asyncIterator]();
  const first = [(await events.next()).value, (await events.next()).value];
  assert.deepEqual(first.map(({ type }) => type).sort(), ['gap', 'subscribed']);
  assert.equal(first.find(({ type }) => type === 'gap').reason, 'epoch_changed');
});

test('a graceful restart: told when to reconnect, and back with the same session', async (t) => {
  const { server, client } = await served(t);
  const one = client();
  const states = [];
  const open = () => new Promise((resolve) => one.on('state', (state) => {
    states.push(state);
    if (state.name === 'open') resolve(state);
  }));
  await open();
  const { session } = one;
  const room = one.subscribe('chat');
  await room[Symbol.asyncIterator]().next();
  const back = open();
  await server.stop();
  await server.start();
  assert.equal((await back).resumed, true);
  assert.equal(one.session, session);
});

test('bytes, tags, history, presence, receipts and a consumer’s position, against the real server', async (t) => {
  const { client } = await served(t);
  const one = client({ info: { name: 'one' } });
  const room = one.subscribe('chat', { presence: true });
  const events = room[Symbol.asyncIterator]();
  await events.next();
  const { position } = await one.publish('chat', Uint8Array.of(0, 255), { tags: { kind: 'raw' }, key: 'k1' });
  assert.deepEqual(await one.publish('chat', 'again', { key: 'k1' }), { position, duplicate: true });
  let event;
  do event = (await events.next()).value; while (event.type !== 'message');
  assert.deepEqual([event.data, event.tags, event.key, event.position], [Uint8Array.of(0, 255), { kind: 'raw' }, 'k1', position]);
  for (const text of ['a', 'b', 'c']) await one.publish('chat', text);
  const { messages, head } = await one.history('chat', { limit: 2 });
  assert.deepEqual(messages.map(({ data }) => data), ['b', 'c']);
  assert.equal(messages.at(-1).position, head);
  const before = await one.history('chat', { before: messages[0].position, limit: 2 });
  assert.deepEqual(before.messages.map(({ data }) => data), [Uint8Array.of(0, 255), 'a']);
  assert.deepEqual((await one.presence('chat')).members, [{ session: one.session, info: { name: 'one' } }]);
  let receipts;
  do receipts = await one.receipts('chat', head); while (receipts.received === 0);
  assert.deepEqual(receipts, { position: head, received: 1, subscribers: 1, sessions: [one.session] });
  assert.equal(await one.ack('chat', 'billing'), undefined);
  assert.equal(await one.ack('chat', 'billing', head), head);
  await assert.rejects(one.publish('a*b', 1), { code: 'bad_channel_name', retry: 'never' });
  await assert.rejects(one.publish('chat', 'x'.repeat(100_000)), { code: 'too_large' });
  // Larger than a message may be: the server closes with 1009.
  await assert.rejects(one.publish('chat', 'x'.repeat(300_000)), { code: 'too_large' });
  await assert.rejects(one.setInfo({ name: 'x'.repeat(300_000) }), { code: 'too_large' });
  await one.publish('chat', 'after');
});

test('bytes travel in binary messages in both directions, also over a cut and a kill', async (t) => {
  const { server, network, client } = await served(t);
  const [publisher, subscriber] = [client(), client()];
  const wire = { publisher: new Set(), subscriber: new Set() };
  publisher.on('frame', ({ direction, bytes }) => bytes && wire.publisher.add(direction));
  subscriber.on('frame', ({ direction, text }) => text?.includes('"base64"') && wire.subscriber.add(direction));
  const reading = read(subscriber.subscribe('blobs', { since: 'start' }), 60);
  const answers = [];
  for (let number = 0; number < 60; number += 1) {
    answers.push(publisher.publish('blobs', number % 2 ? number : Uint8Array.of(number, 255)));
    if (number === 20) {
      await answers[10];
      network.cut();
    }
    if (number === 40) {
      await answers[30];
      await server.kill();
      await server.start();
    }
  }
  const { data, gaps } = await reading;
  assert.deepEqual(data, Array.from({ length: 60 }, (_, number) => (number % 2 ? number : Uint8Array.of(number, 255))));
  assert.equal(gaps, 0);
  const { messages } = await publisher.history('blobs', { limit: 2 });
  assert.deepEqual(messages.map(({ data: one }) => one), data.slice(-2));
  assert.deepEqual([[...wire.publisher].sort(), [...wire.subscriber]], [['in', 'out'], []]);
});

test('in a page: bytes are received in binary messages, and the module for them is loaded then', async (t) => {
  const { open } = await stage(t);
  const { page } = await open();
  const loaded = () => page.evaluate(() => performance.getEntriesByType('resource').some(({ name }) => name.endsWith('/cbor.js')));
  await page.evaluate(async () => {
    const { connect } = await import('../client/index.js');
    globalThis.client = connect('../ws');
    globalThis.seen = [];
    client.on('frame', ({ direction, bytes }) => bytes && seen.push(`${direction} ${Object.prototype.toString.call(bytes)}`));
    client.subscribe('blobs').on('message', ({ data }) => seen.push([...data]));
    await client.publish('words', 'text');
  });
  assert.equal(await loaded(), false);
  await page.evaluate(async () => {
    await client.publish('blobs', Uint8Array.of(0, 255));
    await client.publish('blobs', Uint8Array.of(1));
  });
  const seen = await page.waitForFunction(() => globalThis.seen.filter(Array.isArray).length === 2 && globalThis.seen).then((handle) => handle.jsonValue());
  assert.deepEqual(seen.filter(Array.isArray), [[0, 255], [1]]);
  assert.equal(seen.filter((one) => one === 'in [object ArrayBuffer]').length, 2);
  assert.equal(await loaded(), true);
});

test('acknowledged flow: no more than the window, and over a cut and a kill nothing is repeated or lost', async (t) => {
  const { server, network, client } = await served(t);
  const [publisher, worker] = [client(), client()];
  const jobs = worker.subscribe('jobs', { since: 'start', window: 5 });
  const [seen, undone] = [[], []];
  let most = 0;
  const all = new Promise((resolve) => jobs.on('message', async (message) => {
    seen.push(message.data);
    most = Math.max(most, undone.push(message));
    // Of two received messages, the newer one is acknowledged first; sometimes
    // the connection is lost in between.
    if (undone.length < 2) return;
    const [older, newer] = undone.splice(0);
    jobs.done(newer);
    if (message.data % 20 === 9) network.cut();
    if (message.data === 31) await server.kill().then(() => server.start());
    jobs.done(older);
    if (message.data === 59) resolve();
  }));
  jobs.on('gap', ({ reason }) => assert.fail(reason));
  await Promise.all(Array.from({ length: 60 }, (_, number) => publisher.publish('jobs', number)));
  await all;
  assert.deepEqual(seen, Array.from({ length: 60 }, (_, number) => number));
  assert.ok(most <= 5, `${most}`);
  const { messages } = await publisher.history('jobs', { limit: 1 });
  assert.equal(jobs.position, messages[0].position);
});

/** The next event of one of these types. */
async function next(events, ...types) {
  for (;;) {
    const { value } = await events.next();
    if (types.includes(value.type)) return value;
  }
}

test('a filter, several on one channel, echo, and several in one request, against the real server', async (t) => {
  const { client } = await served(t);
  const [one, other] = [client(), client()];
  const sensors = one.subscribe({ filter: 'sensors/+' })[Symbol.asyncIterator]();
  const quiet = one.subscribe('sensors/a', { echo: false })[Symbol.asyncIterator]();
  const again = one.subscribe('sensors/a', { since: 'start' })[Symbol.asyncIterator]();
  for (const events of [sensors, quiet, again]) await events.next();
  const [{ position }] = await Promise.all([one.publish('sensors/a', 'own'), one.publish('sensors/b', 'b')]);
  const some = [await next(sensors, 'message'), await next(sensors, 'message')];
  assert.deepEqual(some.map(({ channel }) => channel).sort(), ['sensors/a', 'sensors/b']);
  assert.ok(some.every(({ at }) => at));
  assert.equal((await next(again, 'message')).data, 'own');
  assert.equal((await next(quiet, 'own', 'message')).position, position);
  const [mine] = one.subscribe(['mine', 'yours'], { echo: false });
  const whatIsMine = mine[Symbol.asyncIterator]();
  await next(whatIsMine, 'subscribed');
  await one.publish('mine', 1);
  assert.equal((await next(whatIsMine, 'own', 'message')).type, 'own');
  const rooms = other.subscribe(['sensors/a', 'sensors/b', 'new'], { since: 'start' });
  assert.equal(typeof (await read(rooms[1], 1)).data[0], 'string');
  await assert.rejects(one.call('orders.cancel', 1), { code: 'forbidden' });
});

test('history is read backward page by page, over a restart of the server, to the first message', async (t) => {
  const { server, client } = await served(t);
  const one = client();
  for (const number of [0, 1, 2, 3]) await one.publish('chat', number);
  await server.stop();
  await server.start();
  for (const number of [4, 5, 6, 7, 8]) await one.publish('chat', number);
  const read = [];
  let [before, more] = [(await one.publish('chat', 9)).position, true];
  while (more) {
    const page = await one.history('chat', { before, limit: 3 });
    assert.equal(page.gap, undefined);
    read.unshift(...page.messages.map(({ data }) => data));
    before = page.messages[0].position;
    ({ more } = page);
  }
  assert.deepEqual(read, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
});

/** Flags for a server with these settings. */
function configured(t, text) {
  const directory = mkdtempSync(join(tmpdir(), 'offhook-settings-'));
  t.after(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'offhook.toml'), text);
  return ['--config', join(directory, 'offhook.toml')];
}

test('a channel’s state is read once, subscribed to, and replaced by later messages', async (t) => {
  const { client } = await served(t, configured(t, '[[channels]]\npattern = "prices"\n[channels.state]\ncount = 100\n'));
  const [one, other] = [client(), client()];
  const set = (key, data) => one.publish('prices', data, { tags: { key } });
  for (const [key, price] of [['BTC', 1], ['ETH', 2], ['BTC', 3], ['XRP', 4], ['XRP', null]]) await set(key, price);
  const values = [['ETH', 2], ['BTC', 3]];
  const { messages, head, more } = await other.readState('prices');
  assert.deepEqual(messages.map(({ tags, data }) => [tags.key, data]), values);
  assert.equal(more, undefined);
  const events = other.subscribe('prices', { since: 'state' })[Symbol.asyncIterator]();
  for (const [key, price] of values) {
    const { data, tags, state } = await next(events, 'message', 'gap');
    assert.deepEqual([tags.key, data, state], [key, price, true]);
  }
  const { reason, to } = await next(events, 'message', 'gap');
  assert.deepEqual([reason, to], ['state', head]);
  await set('ETH', 5);
  const { data, state } = await next(events, 'message', 'gap');
  assert.deepEqual([data, state], [5, undefined]);
  await assert.rejects(other.readState('other'), { code: 'unknown_channel' });
});

test('a member’s new info reaches subscribers, and stays over a cut', async (t) => {
  const { client, network } = await served(t);
  const [watcher, member] = [client(), client({ info: { name: 'Ann' } })];
  const events = watcher.subscribe('chat', { presence: true })[Symbol.asyncIterator]();
  await next(events, 'subscribed');
  member.subscribe('chat');
  const joined = async () => {
    for (;;) {
      const { session, info } = await next(events, 'join');
      if (session === member.session) return info;
    }
  };
  assert.deepEqual(await joined(), { name: 'Ann' });
  await member.setInfo({ name: 'Ann', away: true });
  assert.deepEqual(await joined(), { name: 'Ann', away: true });
  const back = new Promise((resolve) => member.on('state', ({ name, resumed }) => name === 'open' && resolve(resumed)));
  network.cut();
  assert.equal(await back, true);
  const { members } = await member.presence('chat');
  assert.deepEqual(members.find(({ session }) => session === member.session).info, { name: 'Ann', away: true });
});

test('a message of the backend to a session, over the HTTP API, reaches only its client', async (t) => {
  const { stdout } = await promisify(execFile)(process.env.OFFHOOK, ['token', '--api-key']);
  const [, key] = stdout.match(/^key +(\S+)$/m);
  const [, entry] = stdout.match(/"\* (sha256:\S+)"/);
  const { server, client } = await served(t, ['--api-keys', `sessions ${entry}`]);
  const [one, other] = [client(), client()];
  const told = (whom) => new Promise((resolve) => whom.on('told', resolve));
  const opened = (whom) => new Promise((resolve) => whom.on('state', ({ name }) => name === 'open' && resolve()));
  const [toOne, toOther] = [told(one), told(other)];
  await Promise.all([opened(one), opened(other)]);
  const send = async (session, data) => {
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
    const answer = await fetch(`http://127.0.0.1:${server.port}/api/v1/send`, { method: 'POST', headers, body: JSON.stringify({ session, data }) });
    assert.deepEqual(await answer.json(), { sessions: 1 });
  };
  await send(one.session, { text: 'your order has shipped' });
  await send(other.session, 'yours has not');
  assert.deepEqual(await Promise.all([toOne, toOther]), [{ text: 'your order has shipped' }, 'yours has not']);
});

/** A backend as docs/webhooks.md describes it, which answers calls only if they are signed. */
async function backendFor(t, secret, answers) {
  const calls = [];
  const backend = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature } = request.headers;
    const signed = createHmac('sha256', secret).update(`${id}.${timestamp}.`).update(body).digest('base64');
    if (signature !== `v1,${signed}`) return response.writeHead(401).end();
    const call = JSON.parse(body);
    calls.push(call);
    return response.writeHead(200).end(JSON.stringify(answers[call.method](call)));
  }).listen(0, '127.0.0.1');
  t.after(() => backend.close());
  await once(backend, 'listening');
  return { calls, url: `http://127.0.0.1:${backend.address().port}/offhook` };
}

test('a call gets the backend’s answer, its error unchanged, and brings its key', async (t) => {
  const secret = 'a secret of at least thirty-two bytes';
  const full = { code: 'room_full', message: 'The room is full.', data: { max: 8 } };
  const { calls, url } = await backendFor(t, secret, { add: ({ data }) => ({ data: data[0] + data[1] }), bytes: () => ({ base64: 'AP8=' }), enter: () => ({ error: full }) });
  const { client } = await served(t, ['--backend-url', url, '--backend-secrets', secret, '--backend-calls', 'everyone']);
  const one = client();
  assert.equal(await one.call('add', [2, 3]), 5);
  assert.deepEqual([...await one.call('bytes')], [0, 255]);
  await assert.rejects(one.call('enter', { room: 7 }, { key: 'enter-7' }), ({ code, message, retry, backend }) => {
    assert.deepEqual({ code, message, retry, backend }, { code: 'rejected', message: 'The room is full.', retry: 'never', backend: full });
    return true;
  });
  assert.deepEqual(calls.map(({ type, method, data, key }) => ({ type, method, data, key })), [
    { type: 'call', method: 'add', data: [2, 3], key: undefined },
    { type: 'call', method: 'bytes', data: null, key: undefined },
    { type: 'call', method: 'enter', data: { room: 7 }, key: 'enter-7' },
  ]);
});

test('a burst above the server’s rate is slowed down, and delivered completely', async (t) => {
  const { client } = await served(t);
  const one = client();
  const reading = read(one.subscribe('chat', { since: 'start' }), 260);
  const answers = await Promise.all(Array.from({ length: 260 }, (_, number) => one.publish('chat', number, { unordered: true })));
  assert.equal(new Set(answers.map(({ position }) => position)).size, 260);
  assert.deepEqual((await reading).data.sort((a, b) => a - b), Array.from({ length: 260 }, (_, number) => number));
});

test('in a page: the same client, its store, and a connection that is cut', async (t) => {
  const { open, network } = await stage(t, { network: true });
  const { page } = await open();
  const begin = () => page.evaluate(async () => {
    const { connect, persist } = await import('../client/index.js');
    globalThis.client = connect('../ws', { store: persist(sessionStorage, { unsent: true }), name: 'test' });
    globalThis.seen = [];
    client.subscribe('numbers', { since: 'start' }).on('message', ({ data }) => seen.push(data));
  });
  const publish = (...numbers) => page.evaluate((numbers) => Promise.all(numbers.map((number) => client.publish('numbers', number))), numbers);
  const seen = (count) => page.waitForFunction((count) => globalThis.seen.length >= count && globalThis.seen, count).then((handle) => handle.jsonValue());
  await begin();
  await publish(1, 2);
  network.cut();
  await publish(3);
  assert.deepEqual(await seen(3), [1, 2, 3]);
  await page.reload();
  await begin();
  await publish(4);
  assert.deepEqual(await seen(1), [4]);
});

test('the raw socket also reconnects, in Node and against a server that is killed', async (t) => {
  const { server, network } = await served(t);
  const socket = new ReconnectingWebSocket(`ws://127.0.0.1:${network.port}/ws`, 'offhook.v1.json', { WebSocket, backoff: { first: 20, cap: 100 } });
  t.after(() => socket.close());
  const next = (type) => new Promise((resolve) => socket.addEventListener(type, resolve, { once: true }));
  for (const death of ['cut', 'kill']) {
    await next('open');
    assert.equal(socket.protocol, 'offhook.v1.json');
    const answer = next('message');
    socket.send('{"type":"connect","id":1}');
    assert.equal(JSON.parse((await answer).data).type, 'welcome');
    const closed = next('close');
    if (death === 'kill') await server.kill();
    else network.cut();
    assert.equal((await closed).code, 1006);
  }
  const opened = next('open');
  await server.start();
  await opened;
});
