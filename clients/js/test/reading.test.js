import assert from 'node:assert/strict';
import { test } from 'node:test';

import { at, liveSubscription, lose, message, newClient, openClient, welcome } from './conversation.js';
import { settled, SimulatedStore } from './simulated.js';

async function iterated(options) {
  const all = await openClient(options);
  const subscription = all.client.subscribe('chat');
  const { id } = all.world.socket.takeOne('subscribe');
  await all.world.socket.says({ type: 'subscribed', id, channel: 'chat', position: at(7), live: true });
  return { ...all, subscription };
}

test('a loop gets all events in order, those too that came before it began', async () => {
  const { subscription, world } = await iterated();
  await world.socket.says(message(8));
  const seen = [];
  const loop = (async () => {
    for await (const event of subscription) seen.push(event.type);
  })();
  await world.socket.says({ type: 'join', channel: 'chat', session: 's2' });
  subscription.unsubscribe();
  await loop;
  assert.deepEqual(seen, ['subscribed', 'message', 'join']);
});

test('leaving a loop unsubscribes', async () => {
  const { subscription, world } = await iterated();
  for await (const event of subscription) if (event.type === 'subscribed') break;
  assert.equal(world.socket.takeOne('unsubscribe').channel, 'chat');
  assert.equal(subscription.state, 'ended');
});

test('a loop over what the server ended throws why', async () => {
  const { subscription, world } = await iterated();
  await world.socket.says({ type: 'unsubscribed', channel: 'chat', code: 'forbidden', message: 'no more', retry: 'never' });
  const seen = [];
  await assert.rejects(async () => {
    for await (const event of subscription) seen.push(event.type);
  }, { code: 'forbidden', message: 'no more' });
  assert.deepEqual(seen, ['subscribed']);
});

test('a message counts as handled when its reader asks for the next', async () => {
  const { subscription, world } = await iterated({ store: new SimulatedStore() });
  const events = subscription[Symbol.asyncIterator]();
  await events.next();
  await world.socket.says(message(8));
  await world.socket.says(message(9));
  assert.equal((await events.next()).value.data, 'm8');
  assert.equal(subscription.position, at(7));
  assert.equal((await events.next()).value.data, 'm9');
  assert.equal(subscription.position, at(8));
});

test('a reader who is slow pauses the subscription and reads on from the history', async () => {
  const { subscription, world } = await iterated();
  for (let offset = 8; offset < 8 + 1_500; offset += 1) world.socket.onmessage({ data: JSON.stringify(message(offset)) });
  assert.equal(subscription.state, 'paused');
  assert.deepEqual(world.socket.take().map(({ type }) => type), ['unsubscribe']);
  const events = subscription[Symbol.asyncIterator]();
  let last;
  for (let count = 0; count < 1_000; count += 1) last = (await events.next()).value;
  const { id, since } = world.socket.takeOne('subscribe');
  assert.equal(since, last.position);
  await world.socket.says({ type: 'subscribed', id, channel: 'chat', position: at(1_507), live: false });
  assert.equal((await events.next()).value.type, 'subscribed');
  await world.socket.says(message(1_007));
  assert.equal((await events.next()).value.data, 'm1007');
});

test('a subscription without a reader pauses too, and a new connection does not wake it', async () => {
  const { subscription, world } = await iterated();
  for (let offset = 8; offset < 8 + 1_500; offset += 1) world.socket.onmessage({ data: JSON.stringify(message(offset)) });
  world.socket.take();
  await lose(world);
  await welcome(world);
  assert.deepEqual([world.socket.take(), subscription.state], [[], 'paused']);
});

test('callbacks and a loop do not share', async () => {
  const { client, subscription } = await iterated();
  subscription[Symbol.asyncIterator]();
  assert.throws(() => subscription[Symbol.asyncIterator](), TypeError);
  const other = client.subscribe('other');
  other.on('message', () => {});
  assert.throws(() => other[Symbol.asyncIterator](), TypeError);
});

test('a listener that throws takes nothing from the others', async (t) => {
  const reported = [];
  globalThis.reportError = (error) => reported.push(error.message);
  t.after(() => delete globalThis.reportError);
  const { client, world } = await openClient();
  const { subscription, events } = await liveSubscription(client, world);
  subscription.on('message', () => { throw new Error('mine'); });
  const seen = [];
  const stop = subscription.on('message', ({ data }) => seen.push(data));
  await world.socket.says(message(8));
  stop();
  await world.socket.says(message(9));
  assert.deepEqual([seen, reported, events.length], [['m8'], ['mine', 'mine'], 2]);
});

test('joins, leaves, members that come unasked and catching up reach the reader as they are', async () => {
  const { client, world } = await openClient();
  const { subscription, events } = await liveSubscription(client, world, { options: { presence: true } });
  const said = [
    { type: 'join', channel: 'chat', session: 's2', info: { name: 'Bob' } },
    { type: 'leave', channel: 'chat', session: 's2' },
    { type: 'members', channel: 'chat', members: [], total: 0 },
    { type: 'catching_up', channel: 'chat', position: at(7) },
  ];
  for (const event of said) await world.socket.says(event);
  assert.deepEqual([events, subscription.state], [said, 'catching_up']);
});

test('the same channel twice is a mistake that is told', async () => {
  const { client } = await openClient();
  client.subscribe('chat');
  assert.throws(() => client.subscribe('chat'), { code: 'already_subscribed' });
});

test('history is read backwards from a position, within its epoch', async () => {
  const { client, world } = await openClient();
  const answer = client.history('chat', { before: at(60), limit: 50 });
  await settled();
  const { id, since, limit } = world.socket.takeOne('history');
  assert.deepEqual([since, limit], [at(9), 50]);
  const messages = [{ position: at(58), data: 'a', time: 1 }, { position: at(59), base64: 'AQI=', time: 1 }, { position: at(60), data: 'c', time: 1 }];
  await world.socket.says({ type: 'history', id, channel: 'chat', head: at(70), messages, gap: 'evicted_by_size' });
  const { head, gap, messages: given } = await answer;
  assert.deepEqual([head, gap, given.map(({ data }) => data)], [at(70), 'evicted_by_size', ['a', Uint8Array.of(1, 2)]]);
});

test('what is asked is asked again on the next connection, until it is too late', async () => {
  const { client, world } = await openClient();
  const answer = client.presence('chat');
  await settled();
  world.socket.takeOne('presence');
  await lose(world);
  await welcome(world);
  const { id } = world.socket.takeOne('presence');
  await world.socket.says({ type: 'members', id, channel: 'chat', members: [{ session: 's1' }], total: 1 });
  assert.deepEqual(await answer, { members: [{ session: 's1' }], total: 1 });
  const late = client.receipts('chat', at(7));
  const rejected = assert.rejects(late, { code: 'timed_out' });
  await world.pass(20_000);
  await rejected;
});

test('a question that is refused for now is asked later, one refused for good is not', async () => {
  const { client, world } = await openClient();
  const answer = client.receipts('chat', at(7));
  await settled();
  const first = world.socket.takeOne('receipts');
  await world.socket.says({ type: 'error', id: first.id, code: 'busy', message: '', retry: 'later', retry_after_ms: 50 });
  await world.pass(50);
  const { id } = world.socket.takeOne('receipts');
  await world.socket.says({ type: 'error', id, code: 'forbidden', message: 'no', retry: 'never' });
  await assert.rejects(answer, { code: 'forbidden' });
});

test('who has a message, and what a consumer has done', async () => {
  const { client, world } = await openClient();
  const receipts = client.receipts('chat', at(7));
  await settled();
  const { id, position } = world.socket.takeOne('receipts');
  assert.equal(position, at(7));
  await world.socket.says({ type: 'received', id, channel: 'chat', position, received: 1, subscribers: 2, sessions: ['s2'] });
  assert.deepEqual(await receipts, { received: 1, subscribers: 2, sessions: ['s2'] });
  const cursor = client.ack('chat', 'billing', at(7));
  await settled();
  const ack = world.socket.takeOne('ack');
  assert.deepEqual([ack.consumer, ack.position], ['billing', at(7)]);
  await world.socket.says({ type: 'acked', id: ack.id, channel: 'chat', position: at(9) });
  assert.equal(await cursor, at(9));
});

test('every frame can be watched', async () => {
  const { client, world } = await newClient();
  const frames = [];
  client.on('frame', ({ direction, text }) => frames.push([direction, JSON.parse(text).type]));
  await welcome(world);
  assert.deepEqual(frames, [['out', 'connect'], ['in', 'welcome']]);
});

test('the way there and back is measured', async () => {
  const { client, world } = await newClient();
  await world.socket.opens();
  const { id } = world.socket.takeOne('connect');
  await world.pass(40);
  await world.socket.says({ type: 'welcome', id, session: 's1', resume: 'v1' });
  assert.equal(client.latency, 40);
});
