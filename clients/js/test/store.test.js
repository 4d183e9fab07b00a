// What `persist` stores over a reload: positions and the session.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { at, liveSubscription, lose, message, newClient, openClient, welcome } from './conversation.js';
import { connect, persist } from '../src/index.js';
import { settled, SimulatedStore, World } from './simulated.js';

test('a reload continues with the session and after the last handled message', async () => {
  const store = new SimulatedStore();
  const { client, world } = await openClient({ store: persist(store) });
  await liveSubscription(client, world);
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  await world.socket.says(message(8));
  await world.happens('leaving');
  const next = await newClient({ store: persist(store) });
  const subscription = next.client.subscribe('chat', { since: { last: 50 } });
  assert.equal(subscription.position, at(8));
  const { resume, positions } = await welcome(next.world);
  assert.deepEqual([resume, positions], ['v1.second', { chat: at(8) }]);
  assert.deepEqual(next.world.socket.take(), []);
});

test('a copy of the page gets the positions, not the session', async () => {
  const store = new SimulatedStore();
  const { client, world } = await openClient({ store: persist(store) });
  await liveSubscription(client, world);
  await world.socket.says(message(8));
  await world.pass(1_000);
  const copy = await newClient({ store: persist(store) });
  copy.client.subscribe('chat');
  assert.equal((await welcome(copy.world)).resume, undefined);
  assert.equal(copy.world.socket.takeOne('subscribe').since, at(8));
});

test('a page restored from the back-forward cache keeps its session to itself', async () => {
  const store = new SimulatedStore();
  const { world } = await openClient({ store: persist(store) });
  await world.happens('leaving');
  assert.equal([...store.entries.keys()].some((key) => key.endsWith(':session')), true);
  await world.happens('shown');
  assert.equal([...store.entries.keys()].some((key) => key.endsWith(':session')), false);
});

test('a store that throws causes a warning and nothing else', async () => {
  const store = { getItem: () => null, setItem: () => { throw new Error('full'); }, removeItem: () => {} };
  const { client, world } = await openClient({ store: persist(store) });
  const warnings = [];
  client.on('warning', (warning) => warnings.push(warning.message));
  const { events } = await liveSubscription(client, world);
  await world.socket.says(message(8));
  await world.pass(1_000);
  assert.deepEqual([warnings, events.map(({ data }) => data)], [['full'], ['m8']]);
  await world.socket.says(message(9));
  await world.pass(1_000);
  assert.deepEqual(warnings, ['full'], 'it is said once');
  const { setItem } = store;
  store.setItem = () => {};
  await world.socket.says(message(10));
  await world.pass(1_000);
  store.setItem = setItem;
  await world.socket.says(message(11));
  await world.pass(1_000);
  assert.deepEqual(warnings, ['full', 'full'], 'and again if it was writable in between');
});

test('the store’s keys start with `offhook ` and the address, or a given name', async () => {
  const keys = async (url, options) => {
    const store = new SimulatedStore();
    const world = new World();
    const client = connect(url, { store: persist(store), environment: world.environment, ...options });
    await settled();
    await welcome(world);
    await liveSubscription(client, world);
    client.close();
    return [...store.entries.keys()];
  };
  assert.deepEqual(await keys('ws://a/ws'), ['offhook:ws://a/ws:positions']);
  assert.deepEqual(await keys(() => 'ws://a/ws'), ['offhook::positions']);
  assert.deepEqual(await keys('ws://a/ws', { name: 'mine' }), ['mine:positions']);
});

test('a forgotten channel starts at its `since` again', async () => {
  const store = new SimulatedStore();
  const { client, world } = await openClient({ store: persist(store) });
  const { subscription } = await liveSubscription(client, world);
  subscription.unsubscribe();
  world.socket.take();
  client.forget('chat');
  client.forget('chat');
  client.subscribe('chat', { since: 'start' });
  assert.equal(world.socket.takeOne('subscribe').since, 'start');
});

test('positions of the 256 most recently used channels are stored', async () => {
  const store = new SimulatedStore();
  const { client, world } = await openClient({ store: persist(store) });
  const names = Array.from({ length: 257 }, (_, number) => `c${number}`);
  for (const [index, channel] of [...names.slice(0, 256), 'c0', 'c256'].entries()) {
    const { subscription } = await liveSubscription(client, world, { channel, offset: index });
    subscription.unsubscribe();
    world.socket.take();
  }
  await world.pass(1_000);
  const kept = Object.keys(JSON.parse([...store.entries.values()][0]));
  assert.deepEqual([kept.length, kept.includes('c0'), kept.includes('c1'), kept.at(-1)], [256, true, false, 'c256']);
});

test('changes within 200 ms are written together, later ones in another write', async () => {
  let writes = 0;
  const store = { getItem: () => null, setItem: () => { writes += 1; }, removeItem: () => {} };
  const { client, world } = await openClient({ store: persist(store) });
  const { subscription } = await liveSubscription(client, world);
  for (const offset of [8, 9, 10]) await world.socket.says(message(offset));
  await world.pass(200);
  assert.equal(writes, 1);
  await world.socket.says(message(11));
  await world.pass(199);
  assert.equal(writes, 1);
  await world.pass(1);
  assert.deepEqual([writes, subscription.position], [2, at(11)]);
  const timers = world.timers;
  for (const offset of [12, 13]) await world.socket.says(message(offset));
  assert.equal(world.timers, timers + 1);
  await world.pass(200);
  await world.happens('hidden');
  assert.equal(writes, 3, 'nothing changed');
});

test('a page that leaves without a resume token stores no session', async () => {
  const store = new SimulatedStore();
  const { world } = await newClient({ store: persist(store) });
  await welcome(world, { resume: '' });
  await world.happens('leaving');
  assert.equal(store.entries.size, 0);
});

test('a position is written once for each message, and for nothing else', async () => {
  const handled = [];
  const store = () => ({ position: () => undefined, setPosition: (name, position) => handled.push(position), takeSession: () => undefined, unsent: () => [], moreUnsent() {}, lessUnsent() {}, flush() {} });
  const { client, world } = await openClient({ store });
  await liveSubscription(client, world);
  await world.socket.says({ type: 'join', channel: 'chat', session: 's2' });
  await world.socket.says({ type: 'catching_up', channel: 'chat', position: at(3) });
  await world.socket.says({ type: 'own', channel: 'chat', position: at(8) });
  await world.socket.says({ type: 'live', channel: 'chat', position: at(8) });
  assert.deepEqual(handled, [at(7), at(8)]);
});

test('without `unsent` publications are not stored, and a position is written alone', async () => {
  const store = new SimulatedStore();
  const written = [];
  for (const what of ['setItem', 'removeItem']) {
    const does = store[what].bind(store);
    store[what] = (key, value) => {
      written.push(key.split(':').at(-1));
      does(key, value);
    };
  }
  const { client, world } = await openClient({ store: persist(store) });
  written.splice(0);
  const answer = client.publish('chat', 'hi');
  await settled();
  await world.socket.says({ type: 'published', id: world.socket.takeOne('publish').id, position: at(8) });
  await answer;
  await world.pass(1_000);
  assert.deepEqual(written, []);
  await liveSubscription(client, world);
  await world.pass(1_000);
  assert.deepEqual(written, ['positions']);
});

test('of several subscriptions on a channel, the first has its position in the store', async () => {
  const store = new SimulatedStore();
  const { client, world } = await openClient({ store: persist(store), name: 'test' });
  await liveSubscription(client, world);
  const second = client.subscribe('chat', { since: 'start' });
  second.on('message', () => {});
  const { id, subscription } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'subscribed', id, channel: 'chat', subscription, position: at(9), live: true });
  await world.socket.says({ ...message(10), subscription });
  assert.equal(second.position, at(10));
  await world.happens('hidden');
  assert.equal(store.getItem('test:positions'), JSON.stringify({ chat: at(7) }));
  const third = client.subscribe('chat');
  assert.equal(third.position, undefined);
});

test('a store with something else in it is ignored, and what is in order is used', async () => {
  for (const [what, value] of [['session', '7'], ['session', '{"resume":"v1.x"}'], ['session', '{"resume":"v1.x","channels":3}'], ['unsent', '[null,3,{},{"message":null},{"message":{"data":1}}]'], ['unsent', '{}'], ['positions', '7'], ['positions', '{']]) {
    const store = new SimulatedStore();
    store.setItem(`test:${what}`, value);
    const { client, world } = await newClient({ store: persist(store, { unsent: true }), name: 'test' });
    client.subscribe('chat');
    assert.equal((await welcome(world)).resume, undefined, value);
    assert.deepEqual(world.socket.take().map(({ type, since }) => [type, since]), [['subscribe', 'now']], value);
  }
});

test('what an earlier page had not sent is kept, whatever the limits of this page are', async () => {
  const store = new SimulatedStore();
  const first = await newClient({ store: persist(store, { unsent: true }) });
  for (const text of ['a', 'b', 'c']) first.client.publish('chat', text).catch(() => {});
  await settled();
  const { client } = await newClient({ store: persist(store, { unsent: true }), outbox: { count: 1, size: 10 } });
  assert.deepEqual(client.unsent.map(({ data }) => data), ['a', 'b', 'c']);
  await assert.rejects(client.publish('chat', 'd'), { code: 'queue_full' });
});

test('if the system’s time was set back since, a stored publication is given up 50 minutes from now', async () => {
  const store = new SimulatedStore();
  const first = await openClient({ store: persist(store, { unsent: true }) });
  first.client.publish('chat', 'a').catch(() => {});
  await settled();
  await first.world.happens('hidden');
  const world = new World();
  world.now = first.world.now - 3_600_000;
  const { client } = await newClient({ store: persist(store, { unsent: true }) }, world);
  const refused = [];
  client.on('refused', ({ error }) => refused.push(error.code));
  for (const [minutes, expected] of [[0, []], [49, []], [2, ['timed_out']]]) {
    world.now += minutes * 60_000;
    if (minutes > 0) await lose(world);
    await welcome(world);
    assert.deepEqual(refused, expected);
  }
});
