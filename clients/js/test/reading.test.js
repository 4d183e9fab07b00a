import assert from 'node:assert/strict';
import { test } from 'node:test';

import { persist } from '../src/index.js';
import { at, liveSubscription, lose, message, newClient, openClient, welcome } from './conversation.js';
import { settled, SimulatedStore } from './simulated.js';

async function iterated(options) {
  const all = await openClient(options);
  const subscription = all.client.subscribe('chat');
  const { id } = all.world.socket.takeOne('subscribe');
  await all.world.socket.says({ type: 'subscribed', id, channel: 'chat', position: at(7), live: true });
  return { ...all, subscription };
}

test('a loop gets all events in order, also those from before it began', async () => {
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

test('a loop throws the reason when the server ends the subscription', async () => {
  const { subscription, world } = await iterated();
  await world.socket.says({ type: 'unsubscribed', channel: 'chat', code: 'forbidden', message: 'no more', retry: 'never' });
  const seen = [];
  await assert.rejects(async () => {
    for await (const event of subscription) seen.push(event.type);
  }, { code: 'forbidden', message: 'no more' });
  assert.deepEqual(seen, ['subscribed']);
});

test('a message counts as handled when its reader requests the next', async () => {
  const { subscription, world } = await iterated({ store: persist(new SimulatedStore()) });
  const events = subscription[Symbol.asyncIterator]();
  await events.next();
  await world.socket.says(message(8));
  await world.socket.says(message(9));
  assert.equal((await events.next()).value.data, 'm8');
  assert.equal(subscription.position, at(7));
  assert.equal((await events.next()).value.data, 'm9');
  assert.equal(subscription.position, at(8));
});

test('a slow reader pauses the subscription, and continues from history', async () => {
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

test('a slow reader that catches up without a connection continues once there is one', async () => {
  const { subscription, world } = await iterated();
  for (let offset = 8; offset < 8 + 1_500; offset += 1) world.socket.onmessage({ data: JSON.stringify(message(offset)) });
  world.socket.take();
  await world.socket.ends();
  const events = subscription[Symbol.asyncIterator]();
  for (let count = 0; count < 1_000; count += 1) await events.next();
  assert.equal(subscription.state, 'waiting');
  await world.pass(1_000);
  await welcome(world);
  assert.equal(world.socket.takeOne('subscribe').since, at(1_006));
});

test('a subscription without a reader also pauses, and a new connection does not resume it', async () => {
  const { subscription, world } = await iterated();
  for (let offset = 8; offset < 8 + 1_500; offset += 1) world.socket.onmessage({ data: JSON.stringify(message(offset)) });
  world.socket.take();
  await lose(world);
  await welcome(world);
  assert.deepEqual([world.socket.take(), subscription.state], [[], 'paused']);
});

test('callbacks and a loop cannot be combined', async () => {
  const { client, subscription } = await iterated();
  subscription[Symbol.asyncIterator]();
  assert.throws(() => subscription[Symbol.asyncIterator](), TypeError);
  const other = client.subscribe('other');
  other.on('message', () => {});
  assert.throws(() => other[Symbol.asyncIterator](), TypeError);
});

test('a listener that throws does not affect the others', async (t) => {
  const reported = [];
  t.mock.method(globalThis, "queueMicrotask", (task) => { try { task(); } catch (error) { reported.push(error.message); } });
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

test('joins, leaves, members received later and catching up reach the reader unchanged', async () => {
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

test('a page of history has its head, and decoded bytes', async () => {
  const { client, world } = await openClient();
  const answer = client.history('chat', { since: at(9), limit: 50 });
  await settled();
  const { id, ...asked } = world.socket.takeOne('history');
  assert.deepEqual(asked, { type: 'history', channel: 'chat', since: at(9), limit: 50 });
  const messages = [{ position: at(10), base64: 'AQI=', time: 1 }];
  await world.socket.says({ type: 'history', id, channel: 'chat', head: at(70), messages, gap: 'evicted_by_size' });
  assert.deepEqual(await answer, { head: at(70), gap: 'evicted_by_size', messages: [{ position: at(10), data: Uint8Array.of(1, 2), time: 1 }] });
});

test('history is read backward from a position, and the answer says whether there is more', async () => {
  const { client, world } = await openClient();
  const answer = client.history('chat', { before: at(60), limit: 2 });
  await settled();
  const { id, ...asked } = world.socket.takeOne('history');
  assert.deepEqual(asked, { type: 'history', channel: 'chat', before: at(60), limit: 2 });
  const messages = [58, 59].map((offset) => ({ position: at(offset), data: offset, time: 1 }));
  await world.socket.says({ type: 'history', id, channel: 'chat', head: at(70), messages, more: true });
  assert.deepEqual(await answer, { head: at(70), messages, more: true });
});

test('an unanswered request is sent again on the next connection until its timeout', async () => {
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

test('a request that is refused temporarily is repeated, one refused permanently is not', async () => {
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

test('receipts of a message, and the position of a consumer', async () => {
  const { client, world } = await openClient();
  const receipts = client.receipts('chat', at(7));
  await settled();
  const { id, position } = world.socket.takeOne('receipts');
  assert.equal(position, at(7));
  await world.socket.says({ type: 'received', id, channel: 'chat', position, received: 1, subscribers: 2, sessions: ['s2'] });
  assert.deepEqual(await receipts, { position, received: 1, subscribers: 2, sessions: ['s2'] });
  const cursor = client.ack('chat', 'billing', at(7));
  await settled();
  const ack = world.socket.takeOne('ack');
  assert.deepEqual([ack.channel, ack.consumer, ack.position], ['chat', 'billing', at(7)]);
  await world.socket.says({ type: 'acked', id: ack.id, channel: 'chat', position: at(9) });
  assert.equal(await cursor, at(9));
});

test('every frame can be observed', async () => {
  const { client, world } = await newClient();
  const frames = [];
  client.on('frame', ({ direction, text }) => frames.push([direction, JSON.parse(text).type]));
  await welcome(world);
  assert.deepEqual(frames, [['out', 'connect'], ['in', 'welcome']]);
});

test('the round-trip time is measured', async () => {
  const { client, world } = await newClient();
  await world.socket.opens();
  const { id } = world.socket.takeOne('connect');
  await world.pass(40);
  await world.socket.says({ type: 'welcome', id, session: 's1', resume: 'v1' });
  assert.equal(client.latency, 40);
});

test('a waiting loop gets the next event, and one event per call', async () => {
  const { subscription, world } = await iterated();
  const events = subscription[Symbol.asyncIterator]();
  await events.next();
  const [first, second] = [events.next(), events.next()];
  await world.socket.says(message(8));
  await world.socket.says(message(9));
  assert.deepEqual([await first, await second].map(({ value, done }) => [value.data, done]), [['m8', false], ['m9', false]]);
  events.next();
  assert.equal(subscription.position, at(9), 'asking for the next says that those before were handled');
});

test('an iterator is iterable, and is done once it was left', async () => {
  const { subscription } = await iterated();
  const events = subscription[Symbol.asyncIterator]();
  assert.equal(events[Symbol.asyncIterator](), events);
  assert.deepEqual(await events.return(), { done: true });
  assert.equal((await events.next()).value.type, 'subscribed');
  assert.deepEqual(await events.next(), { done: true });
});

test('the error that ended a loop is thrown once', async () => {
  const { subscription, world } = await iterated();
  const events = subscription[Symbol.asyncIterator]();
  await events.next();
  const waiting = assert.rejects(events.next(), { code: 'forbidden' });
  await world.socket.says({ type: 'unsubscribed', channel: 'chat', code: 'forbidden', message: 'no more', retry: 'never' });
  await waiting;
  assert.deepEqual(await events.next(), { done: true });
});

test('listeners added to a loop’s subscription also get the events', async () => {
  const { subscription, world } = await iterated();
  const events = subscription[Symbol.asyncIterator]();
  const seen = [];
  subscription.on('message', ({ data }) => seen.push(data));
  await world.socket.says(message(8));
  await events.next();
  assert.deepEqual([seen, (await events.next()).value.data], [['m8'], 'm8']);
});

test('a subscription paused for a slow loop stays paused while it is half read', async () => {
  const { subscription, world } = await iterated();
  for (let offset = 8; offset < 8 + 1_500; offset += 1) world.socket.onmessage({ data: JSON.stringify(message(offset)) });
  world.socket.take();
  const events = subscription[Symbol.asyncIterator]();
  for (let count = 0; count < 999; count += 1) await events.next();
  assert.deepEqual([subscription.state, world.socket.take()], ['paused', []]);
  await events.next();
  world.socket.takeOne('subscribe');
});

test('history has a default limit, and requests have a default timeout', async () => {
  const { client, world } = await openClient();
  client.history('chat').catch(() => {});
  await settled();
  assert.equal(world.socket.takeOne('history').limit, 100);
});

test('an answer to a request of an earlier connection is ignored', async () => {
  const { client, world } = await openClient();
  const answer = client.presence('chat');
  await settled();
  const old = world.socket.takeOne('presence');
  await lose(world);
  await welcome(world);
  const { id } = world.socket.takeOne('presence');
  await world.socket.says({ type: 'members', id: old.id, channel: 'chat', members: [], total: 0 });
  await world.socket.says({ type: 'members', id, channel: 'chat', members: [], total: 7 });
  assert.equal((await answer).total, 7);
});

test('a request kept for the next connection is not sent again on this one', async () => {
  const { client, world } = await openClient();
  const answer = client.presence('chat');
  await settled();
  const { id } = world.socket.takeOne('presence');
  await world.socket.says({ type: 'error', id, code: 'draining', message: '', retry: 'reconnect' });
  await world.pass(5_000);
  assert.deepEqual(world.socket.take(), []);
  await lose(world);
  await welcome(world);
  await world.socket.says({ type: 'members', id: world.socket.takeOne('presence').id, channel: 'chat', members: [], total: 0 });
  await answer;
});

test('a request refused temporarily without a time is repeated after a second, and an answered one leaves no timer', async () => {
  const { client, world } = await openClient();
  const before = world.timers;
  const answer = client.presence('chat');
  await settled();
  const { id } = world.socket.takeOne('presence');
  await world.socket.says({ type: 'error', id, code: 'busy', message: '', retry: 'later' });
  await world.pass(999);
  assert.deepEqual(world.socket.take(), []);
  await world.pass(1);
  await world.socket.says({ type: 'members', id: world.socket.takeOne('presence').id, channel: 'chat', members: [], total: 0 });
  await answer;
  assert.equal(world.timers, before);
});

test('each ping measures the round-trip time, and only its own pong counts', async () => {
  const { client, world } = await openClient();
  const seen = [];
  client.on('latency', (latency) => seen.push(latency));
  client.reconnect();
  const { id } = world.socket.takeOne('ping');
  await world.pass(30);
  client.on('warning', (warning) => assert.fail(warning.message));
  await world.socket.says({ type: 'pong', id: id + 1 });
  await world.socket.says({ type: 'pong', id });
  await world.pass(30);
  await world.socket.says({ type: 'pong', id });
  assert.deepEqual([seen, client.latency], [[30], 30]);
});

test('messages about subscriptions and requests that do not exist are ignored without a warning', async () => {
  const { client, world } = await openClient();
  client.on('warning', (warning) => assert.fail(warning.message));
  const foreign = { channel: 'foreign', position: at(7) };
  for (const message of [
    { type: 'message', ...foreign, data: 1 }, { type: 'subscribed', id: 99, ...foreign, live: true }, { type: 'unsubscribed', ...foreign, code: 'x', message: '', retry: 'never' },
    { type: 'unsubscribed', id: 98, ...foreign }, { type: 'welcome', id: 97 }, { type: 'published', id: 96, ...foreign }, { type: 'pong', id: 95 }, { type: 'of a newer server' },
  ]) await world.socket.says(message);
  assert.deepEqual([client.state.name, world.socket.take()], ['open', []]);
});
