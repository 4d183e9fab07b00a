import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connect, persist } from '../src/index.js';
import { at, lose, newClient, openClient, welcome } from './conversation.js';
import { settled, SimulatedStore, World } from './simulated.js';

const published = ({ id }, offset = 1, more = {}) => ({ type: 'published', id, position: at(offset), ...more });
const later = ({ id }, ms) => ({ type: 'error', id, code: 'rate_limited', message: '', retry: 'later', retry_after_ms: ms });
const publish = (client, ...texts) => texts.map((text) => client.publish('chat', text));
/** To a channel each: there they do not wait for each other. */
const publishApart = (client, ...texts) => texts.map((text) => client.publish(`to ${text}`, text));

/** The server takes what comes, one after the other, until there is nothing more; gives the data. */
async function takeAll(world) {
  const taken = [];
  for (let sent = world.socket.take(); sent.length > 0; sent = world.socket.take()) {
    taken.push(...sent);
    for (const message of sent) await world.socket.says(published(message, taken.length));
  }
  return taken;
}
const texts = (messages) => messages.map(({ data }) => data);

test('the promise of a publication resolves with its position', async () => {
  const { client, world } = await openClient();
  const answer = client.publish('chat', { text: 'hi' }, { key: 'a1', tags: { lang: 'en' } });
  await settled();
  const sent = world.socket.takeOne('publish');
  assert.deepEqual(sent, { type: 'publish', id: sent.id, channel: 'chat', data: { text: 'hi' }, key: 'a1', tags: { lang: 'en' } });
  await world.socket.says(published(sent, 8, { duplicate: true }));
  assert.deepEqual(await answer, { position: at(8), duplicate: true });
});

test('publications without a connection are sent once there is one, in order', async () => {
  const { client, world } = await newClient();
  const answers = publish(client, 'a', 'b', null);
  await settled();
  assert.deepEqual(client.unsent.map(({ data, tried }) => [data, tried]), [['a', false], ['b', false], [null, false]]);
  await world.socket.opens();
  const { id } = world.socket.takeOne('connect');
  await world.socket.says({ type: 'welcome', id, session: 's1', resume: 'v1' });
  assert.deepEqual(texts(await takeAll(world)), ['a', 'b', null]);
  assert.deepEqual((await Promise.all(answers)).map(({ position }) => position), [at(1), at(2), at(3)]);
  assert.deepEqual(client.unsent, []);
});

test('nothing is published before the welcome, on any connection', async () => {
  const { client, world } = await openClient();
  await lose(world);
  await world.socket.opens();
  const { id } = world.socket.takeOne('connect');
  client.publish('chat', 'hi').catch(() => {});
  await world.pass(1_000);
  assert.deepEqual(world.socket.take(), []);
  await world.socket.says({ type: 'welcome', id, session: 's1', resume: 'v1' });
  world.socket.takeOne('publish');
});

test('unanswered publications are sent again over the next connection, with the same keys', async () => {
  const { client, world } = await openClient();
  publishApart(client, 'a', 'b', 'c');
  await settled();
  const first = world.socket.take();
  await world.socket.says(published(first[0]));
  await lose(world);
  await welcome(world);
  const second = world.socket.take();
  assert.deepEqual(second.map(({ key }) => key), [first[1].key, first[2].key]);
  assert.notEqual(second[0].id, first[1].id);
});

test('a channel has one publication in flight, so that a temporary refusal keeps the order', async () => {
  const { client, world } = await openClient();
  publish(client, 'a', 'b');
  await settled();
  const first = world.socket.takeOne('publish');
  await world.socket.says(later(first, 300));
  publish(client, 'c');
  await world.pass(299);
  assert.deepEqual(world.socket.take(), []);
  await world.pass(1);
  const second = await takeAll(world);
  assert.deepEqual(texts(second), ['a', 'b', 'c']);
  assert.equal(second[0].key, first.key);
});

test('other channels and unordered publications do not wait', async () => {
  const { client, world } = await openClient();
  publish(client, 'a', 'b');
  publishApart(client, 'c');
  client.publish('chat', 'd', { unordered: true });
  client.publish('chat', 'e', { queue: false });
  await settled();
  assert.deepEqual(texts(world.socket.take()), ['a', 'c', 'd', 'e']);
});

test('a server that drains gets no further publications on this connection', async () => {
  const { client, world } = await openClient();
  publish(client, 'a');
  await settled();
  const { id } = world.socket.takeOne('publish');
  await world.socket.says({ type: 'error', id, code: 'draining', message: '', retry: 'reconnect' });
  publish(client, 'b');
  await world.pass(5_000);
  assert.deepEqual(world.socket.take(), []);
  await lose(world);
  await welcome(world);
  assert.deepEqual(texts(await takeAll(world)), ['a', 'b']);
});

test('a permanent refusal rejects, and the next ones continue', async () => {
  const { client, world } = await openClient();
  const [a, b] = publish(client, 'a', 'b');
  await settled();
  const first = world.socket.takeOne('publish');
  const refusals = [];
  client.on('refused', ({ key, error }) => refusals.push([key, error.code]));
  await world.socket.says({ type: 'error', id: first.id, code: 'forbidden', message: 'no', retry: 'never' });
  await world.socket.says(published(world.socket.takeOne('publish')));
  await assert.rejects(a, { name: 'OffhookError', code: 'forbidden', message: 'no', retry: 'never' });
  assert.equal((await b).position, at(1));
  assert.deepEqual(refusals, [[first.key, 'forbidden']]);
});

test('only so many are in flight, and the next is sent after an answer', async () => {
  const { client, world } = await openClient({ outbox: { inFlight: 2 } });
  publishApart(client, 'a', 'b', 'c');
  await settled();
  const sent = world.socket.take();
  assert.deepEqual(texts(sent), ['a', 'b']);
  await world.socket.says(published(sent[0]));
  assert.deepEqual(texts(world.socket.take()), ['c']);
});

test('nothing is written to a full socket', async () => {
  const { client, world } = await openClient();
  world.socket.bufferedAmount = 1 << 20;
  publish(client, 'a');
  await world.pass(1_000);
  assert.deepEqual(world.socket.take(), []);
  await assert.rejects(client.publish('chat', 'typing', { queue: false }), { code: 'offline' });
  world.socket.bufferedAmount = 0;
  await world.pass(50);
  assert.deepEqual(texts(world.socket.take()), ['a']);
});

test('the queue is limited in number and in size', async () => {
  const { client } = await newClient({ outbox: { count: 2, size: 200 } });
  const long = client.publish('chat', 'x'.repeat(200));
  await assert.rejects(long, { code: 'queue_full', retry: 'later' });
  publish(client, 'a', 'b');
  await assert.rejects(client.publish('chat', 'c'), { code: 'queue_full' });
  assert.equal(client.unsent.length, 2);
});

test('the size of the queue adds up, and answers free it', async () => {
  const { client, world } = await newClient({ outbox: { size: 200 } });
  const [first, second] = publish(client, 'x'.repeat(60), 'x'.repeat(60));
  await assert.rejects(second, { code: 'queue_full' });
  assert.equal(client.unsent.length, 1, 'the second does not fit beside the first');
  await welcome(world);
  await world.socket.says(published(world.socket.takeOne('publish')));
  await first;
  publish(client, 'y'.repeat(60));
  await settled();
  assert.equal(client.unsent[0].data[0], 'y');
});

test('while the socket is full one timer checks it, for any number of channels', async () => {
  const { client, world } = await openClient();
  const before = world.timers;
  world.socket.bufferedAmount = 1 << 20;
  publishApart(client, 'a', 'b', 'c', 'd');
  await world.pass(300);
  assert.equal(world.timers, before + 1);
  world.socket.bufferedAmount = 0;
  await world.pass(50);
  assert.deepEqual([texts(world.socket.take()), world.timers], [['a', 'b', 'c', 'd'], before]);
});

test('a publication refused temporarily without a time is sent again after a second', async () => {
  const { client, world } = await openClient();
  publish(client, 'a');
  await settled();
  const { id } = world.socket.takeOne('publish');
  await world.socket.says({ type: 'error', id, code: 'busy', message: '', retry: 'later' });
  await world.pass(999);
  assert.deepEqual(world.socket.take(), []);
  await world.pass(1);
  world.socket.takeOne('publish');
});

test('the longer of two waits counts', async () => {
  const { client, world } = await openClient();
  publishApart(client, 'a', 'b');
  await settled();
  const [a, b] = world.socket.take();
  await world.socket.says(later(a, 500));
  await world.socket.says(later(b, 100));
  await assert.rejects(client.publish('chat', 'typing', { queue: false }), { code: 'offline' });
  await world.pass(499);
  assert.deepEqual(world.socket.take(), []);
  await world.pass(1);
  assert.deepEqual(texts(world.socket.take()), ['a', 'b']);
});

test('closing keeps unsent publications in the store, for the next page', async () => {
  const store = new SimulatedStore();
  const first = await newClient({ store: persist(store, { unsent: true }) });
  const [lost] = publish(first.client, 'a');
  await settled();
  first.client.close();
  await assert.rejects(lost, { code: 'closed' });
  assert.deepEqual(first.client.unsent, []);
  await first.world.pass(1_000);
  const next = await newClient({ store: persist(store, { unsent: true }) });
  assert.deepEqual(texts(next.client.unsent), ['a']);
});

test('without `unsent` a store keeps no publications', async () => {
  const store = new SimulatedStore();
  const { client } = await newClient({ store: persist(store) });
  publish(client, 'a');
  await settled();
  assert.deepEqual([...store.entries.keys()], []);
});

test('with `queue: false` it is sent once, whatever is sent after it', async () => {
  const { client, world } = await openClient();
  client.publish('chat', 'typing', { queue: false });
  publish(client, 'a', 'b');
  await settled();
  assert.deepEqual(texts(world.socket.take()), ['typing', 'a']);
});

test('with `queue: false` it is refused while the most allowed are in flight', async () => {
  const { client, world } = await openClient({ outbox: { inFlight: 1 } });
  publish(client, 'a');
  await settled();
  await assert.rejects(client.publish('chat', 'typing', { queue: false }), { code: 'offline', retry: 'later' });
  assert.deepEqual(texts(world.socket.take()), ['a']);
});

test('with `queue: false` it is sent now and once, without a key, or not at all', async () => {
  const { client, world } = await newClient();
  const typing = () => client.publish('chat', 'typing', { queue: false });
  await assert.rejects(typing(), { code: 'offline' });
  await welcome(world);
  const answered = typing();
  await settled();
  const sent = world.socket.takeOne('publish');
  assert.equal('key' in sent, false);
  await world.socket.says(published(sent));
  assert.equal((await answered).position, at(1));
  const refused = typing();
  await settled();
  await world.socket.says(later(world.socket.takeOne('publish'), 100));
  await assert.rejects(refused, { code: 'rate_limited' });
  await world.pass(100);
  const lost = assert.rejects(typing(), { code: 'offline' });
  await lose(world);
  await lost;
  await welcome(world);
  assert.deepEqual([world.socket.take(), client.unsent], [[], []]);
});

test('a publication whose key may have expired is given up; one that was never sent is not', async () => {
  const { client, world } = await openClient();
  const [sent] = publish(client, 'a');
  await settled();
  await world.socket.ends();
  world.isOnline = false;
  const [waiting] = publish(client, 'b');
  await world.sleep(51 * 60_000);
  await world.happens('online');
  await welcome(world);
  await assert.rejects(sent, { code: 'timed_out' });
  const { data, id } = world.socket.takeOne('publish');
  assert.equal(data, 'b');
  await world.socket.says(published({ id }));
  await waiting;
});

test('unsent publications survive the page, and their answers are events', async () => {
  const store = new SimulatedStore();
  const { client } = await newClient({ store: persist(store, { unsent: true }) });
  publish(client, 'a');
  await settled();
  const next = await newClient({ store: persist(store, { unsent: true }) });
  const told = [];
  next.client.on('published', ({ key, data, position }) => told.push([key, data, position]));
  assert.deepEqual(texts(next.client.unsent), ['a']);
  await welcome(next.world);
  const sent = next.world.socket.takeOne('publish');
  await next.world.socket.says(published(sent));
  assert.deepEqual(told, [[sent.key, 'a', at(1)]]);
  await next.world.pass(200);
  const third = await newClient({ store: persist(store, { unsent: true }) });
  assert.deepEqual(third.client.unsent, []);
});

test('bytes are sent in base64 and received as bytes', async () => {
  const { client, world } = await openClient();
  const bytes = Uint8Array.from({ length: 20_000 }, (_, index) => index % 256);
  const given = [bytes, bytes.buffer, new DataView(bytes.buffer, 1, 2)];
  for (const data of given) client.publish('chat', data, { unordered: true });
  await settled();
  const sent = world.socket.take();
  assert.deepEqual(sent.map(({ base64 }) => Buffer.from(base64, 'base64').length), [20_000, 20_000, 2]);
  assert.deepEqual(client.unsent[2].data, Uint8Array.of(1, 2));
});

test('what JSON cannot represent is refused before it is sent', async () => {
  const { client, world } = await openClient();
  for (const data of [undefined, () => {}, Symbol('s')]) await assert.rejects(client.publish('chat', data), TypeError);
  assert.deepEqual(world.socket.take(), []);
});

test('a wait that the server named ends with the connection', async () => {
  const { client, world } = await openClient();
  publish(client, 'a');
  await settled();
  await world.socket.says(later(world.socket.takeOne('publish'), 60_000));
  await lose(world);
  await welcome(world);
  assert.deepEqual(texts(world.socket.take()), ['a']);
});

test('giving up counts from the first attempt, however often it is sent again', async () => {
  const { client, world } = await openClient();
  const [sent] = publish(client, 'a');
  const given = assert.rejects(sent, { code: 'timed_out' });
  await settled();
  await world.sleep(30 * 60_000);
  await lose(world);
  await welcome(world);
  world.socket.takeOne('publish');
  await world.sleep(21 * 60_000);
  await lose(world);
  await welcome(world);
  await given;
});

test('a publication in flight for exactly the limit is not given up yet', async () => {
  const { client, world } = await openClient({ outbox: { giveUpAfter: 5_000 }, heartbeat: { every: 60_000 } });
  publish(client, 'a');
  await settled();
  world.socket.takeOne('publish');
  await world.pass(5_000);
  await world.socket.ends();
  await world.happens('shown');
  await welcome(world);
  assert.deepEqual(texts(world.socket.take()), ['a']);
});

test('answers to an earlier connection are ignored', async () => {
  const { client, world } = await openClient();
  publish(client, 'a');
  await settled();
  const { id } = world.socket.takeOne('publish');
  await lose(world);
  await welcome(world);
  await world.socket.says(published({ id }));
  assert.equal(client.unsent.length, 1);
});

test('with `queue: false` it is not part of `unsent`, and does not survive the page', async () => {
  const store = new SimulatedStore();
  const { client } = await openClient({ store: persist(store, { unsent: true }) });
  client.publish('chat', 'typing', { queue: false });
  await settled();
  assert.deepEqual([client.unsent, [...store.entries.keys()].filter((key) => key.endsWith('unsent'))], [[], []]);
});

test('the queue accepts exactly its limit', async () => {
  const size = JSON.stringify({ channel: 'chat', data: 'a', key: 'k' }).length;
  const { client } = await newClient({ outbox: { size } });
  client.publish('chat', 'a', { key: 'k' });
  await settled();
  assert.equal(client.unsent.length, 1);
});

test('the socket is full at 256 KiB', async () => {
  const { client, world } = await openClient();
  world.socket.bufferedAmount = 256 * 1024;
  publish(client, 'a');
  await settled();
  assert.deepEqual(world.socket.take(), []);
  world.socket.bufferedAmount -= 1;
  await world.pass(50);
  world.socket.takeOne('publish');
});

test('nothing waits for a socket once the connection is lost', async () => {
  const { client, world } = await openClient();
  world.socket.bufferedAmount = 1 << 20;
  publish(client, 'a');
  await settled();
  await world.socket.ends();
  assert.equal(world.timers, 1, 'the wait for the next attempt');
});

test('a store that cannot be read causes a warning, and everything else works', async () => {
  const store = { getItem: () => '{', setItem: () => {}, removeItem: () => {} };
  const warnings = [];
  const world = new World();
  const client = connect('ws://a/', { store: persist(store, { unsent: true }), environment: world.environment });
  client.on('warning', (warning) => warnings.push(warning.name));
  assert.deepEqual(client.unsent, []);
  await settled();
  await welcome(world);
  assert.deepEqual([client.state.name, warnings], ['open', ['SyntaxError', 'SyntaxError', 'SyntaxError']]);
});

test('publications of one task are written to the store once, later ones in another write', async () => {
  let writes = 0;
  const store = { getItem: () => null, setItem: () => { writes += 1; }, removeItem: () => {} };
  const { client } = await newClient({ store: persist(store, { unsent: true }) });
  publish(client, 'a', 'b', 'c');
  await settled();
  assert.equal(writes, 1);
  publish(client, 'd');
  await settled();
  assert.equal(writes, 2);
});
