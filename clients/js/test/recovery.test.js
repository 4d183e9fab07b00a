import assert from 'node:assert/strict';
import { test } from 'node:test';

import { at, liveSubscription, lose, message, newClient, openClient, record, welcome } from './conversation.js';
import { SimulatedStore } from './simulated.js';

const data = (events) => events.filter(({ type }) => type === 'message').map((event) => event.data);

test('the first message says who it is, with the subprotocol', async () => {
  const { client, world, states } = await newClient({ token: 'jwt', info: { name: 'Ann' } });
  assert.deepEqual(world.socket.protocols, ['offhook.v1.json']);
  const { id, ...connect } = await welcome(world, { user: 'ann' });
  assert.deepEqual(connect, { type: 'connect', token: 'jwt', info: { name: 'Ann' } });
  assert.deepEqual([client.session, client.user], ['s1', 'ann']);
  assert.deepEqual(states.map(({ name }) => name), ['connecting', 'open']);
});

test('a token that is asked for is fresh for each connection', async () => {
  let tokens = 0;
  const { world } = await newClient({ token: async () => `jwt-${(tokens += 1)}` });
  assert.equal((await welcome(world)).token, 'jwt-1');
  await lose(world);
  assert.equal((await welcome(world)).token, 'jwt-2');
});

test('a lost connection goes on after the last message that came, without a token for its subscriptions', async () => {
  const { client, world } = await openClient();
  const { events } = await liveSubscription(client, world);
  await world.socket.says(message(8));
  await lose(world);
  const { resume } = await welcome(world);
  assert.equal(resume, 'v1.first');
  const subscribe = world.socket.takeOne('subscribe');
  assert.equal(subscribe.since, at(8));
  await world.socket.says({ type: 'subscribed', id: subscribe.id, channel: 'chat', position: at(9), live: false });
  await world.socket.says(message(9));
  await world.socket.says({ type: 'live', channel: 'chat', position: at(9) });
  assert.deepEqual(data(events), ['m8', 'm9']);
});

test('what a token restores is waited for and not asked for', async () => {
  const { client, world } = await openClient();
  const { subscription, events } = await liveSubscription(client, world);
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  await world.socket.says(message(8));
  await lose(world);
  const { resume, positions } = await welcome(world);
  assert.deepEqual([resume, positions], ['v1.second', { chat: at(8) }]);
  assert.deepEqual(world.socket.take(), []);
  await world.socket.says({ type: 'subscribed', channel: 'chat', position: at(8), live: true });
  assert.equal(subscription.state, 'live');
  assert.equal(events.at(-1).resumed, true);
});

test('a restored subscription that is never announced is asked for', async () => {
  const { client, world } = await openClient();
  await liveSubscription(client, world);
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  await lose(world);
  await welcome(world);
  await world.pass(10_000);
  const { id } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'error', id, code: 'already_subscribed', message: '', retry: 'never' });
  await world.socket.says({ type: 'subscribed', channel: 'chat', position: at(7), live: true });
  assert.deepEqual(world.socket.take(), []);
});

test('a token that can not be used is dropped on the same connection', async () => {
  const { client, world } = await openClient();
  await liveSubscription(client, world);
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  await lose(world);
  await world.socket.opens();
  const first = world.socket.takeOne('connect');
  await world.socket.says({ type: 'error', id: first.id, code: 'bad_token', message: '', retry: 'never' });
  const second = world.socket.takeOne('connect');
  assert.equal(second.resume, undefined);
  await world.socket.says({ type: 'welcome', id: second.id, session: 's2', resume: 'v1.third' });
  assert.equal(world.socket.takeOne('subscribe').since, at(7));
  assert.equal(client.session, 's2');
});

test('what the token restores and nobody wants any more is unsubscribed', async () => {
  const { client, world } = await openClient();
  const { subscription } = await liveSubscription(client, world);
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  const lost = lose(world);
  subscription.unsubscribe();
  await lost;
  await welcome(world);
  await world.socket.says({ type: 'subscribed', channel: 'chat', position: at(7), live: true });
  assert.equal(world.socket.takeOne('unsubscribe').channel, 'chat');
});

test('a subscription that had no message yet begins again where it wanted to', async () => {
  const { client, world } = await openClient();
  client.subscribe('chat', { since: { last: 50 }, presence: true });
  await lose(world);
  await welcome(world);
  const { since, presence } = world.socket.takeOne('subscribe');
  assert.deepEqual([since, presence], [{ last: 50 }, true]);
});

test('a gap is told with its reason, and the next connection goes on after it', async () => {
  const { client, world } = await openClient();
  const { events } = await liveSubscription(client, world);
  const gap = { type: 'gap', channel: 'chat', from: at(7), to: at(20), reason: 'evicted_by_size' };
  await world.socket.says(gap);
  assert.deepEqual(events, [gap]);
  await lose(world);
  await welcome(world);
  assert.equal(world.socket.takeOne('subscribe').since, at(20));
});

test('a message that comes again is given once', async () => {
  const { client, world } = await openClient();
  const { events } = await liveSubscription(client, world);
  for (const offset of [8, 8, 7, 9]) await world.socket.says(message(offset));
  assert.deepEqual(data(events), ['m8', 'm9']);
});

test('a hole that the server did not announce is told', async () => {
  const { client, world } = await openClient();
  const { events } = await liveSubscription(client, world);
  await world.socket.says(message(10));
  assert.deepEqual(events.map(({ type, reason }) => reason ?? type), ['unannounced', 'message']);
  await world.socket.says({ ...message(1), position: '18.1' });
  assert.equal(events.at(-2).reason, 'unannounced');
});

test('a reload goes on with the session and after the last message that was handled', async () => {
  const store = new SimulatedStore();
  const { client, world } = await openClient({ store });
  await liveSubscription(client, world);
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  await world.socket.says(message(8));
  await world.happens('leaving');
  const next = await newClient({ store });
  const subscription = next.client.subscribe('chat', { since: { last: 50 } });
  assert.equal(subscription.position, at(8));
  const { resume, positions } = await welcome(next.world);
  assert.deepEqual([resume, positions], ['v1.second', { chat: at(8) }]);
  assert.deepEqual(next.world.socket.take(), []);
});

test('a copy of the page gets the positions, not the session', async () => {
  const store = new SimulatedStore();
  const { client, world } = await openClient({ store });
  await liveSubscription(client, world);
  await world.socket.says(message(8));
  await world.pass(1_000);
  const copy = await newClient({ store });
  copy.client.subscribe('chat');
  assert.equal((await welcome(copy.world)).resume, undefined);
  assert.equal(copy.world.socket.takeOne('subscribe').since, at(8));
});

test('a page that comes back from the back-forward cache keeps its session to itself', async () => {
  const store = new SimulatedStore();
  const { world } = await openClient({ store });
  await world.happens('leaving');
  assert.equal([...store.entries.keys()].some((key) => key.endsWith(':session')), true);
  await world.happens('shown');
  assert.equal([...store.entries.keys()].some((key) => key.endsWith(':session')), false);
});

test('a store that refuses is complained of and changes nothing else', async () => {
  const store = { getItem: () => null, setItem: () => { throw new Error('full'); }, removeItem: () => {} };
  const { client, world } = await openClient({ store });
  const warnings = [];
  client.on('warning', (warning) => warnings.push(warning.message));
  const { events } = await liveSubscription(client, world);
  await world.socket.says(message(8));
  await world.pass(1_000);
  assert.deepEqual([warnings, data(events)], [['full'], ['m8']]);
});

test('messages of a subscription that ended before belong to nobody', async () => {
  const { client, world } = await openClient();
  const { subscription } = await liveSubscription(client, world);
  subscription.unsubscribe();
  const again = record(client.subscribe('chat'));
  const [, { id }] = world.socket.take();
  await world.socket.says(message(8));
  await world.socket.says({ type: 'unsubscribed', id: id - 1, channel: 'chat' });
  await world.socket.says({ type: 'subscribed', id, channel: 'chat', position: at(8), live: true });
  assert.deepEqual(data(again), []);
});

test('a subscription that the server ends says why, and one for later is asked for later', async () => {
  const { client, world } = await openClient();
  const { events } = await liveSubscription(client, world);
  const refusal = { type: 'unsubscribed', channel: 'chat', code: 'storage_failed', message: 'disk', retry: 'later', retry_after_ms: 700 };
  await world.socket.says(refusal);
  await world.pass(700);
  const { id, since } = world.socket.takeOne('subscribe');
  assert.equal(since, at(7));
  await world.socket.says({ type: 'error', id, code: 'forbidden', message: 'no', retry: 'never' });
  assert.equal(events.at(-1).error.code, 'forbidden');
});
