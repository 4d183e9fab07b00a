// Timers: none is left behind, neither by a closed client nor by a connection that was lost.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connect, persist } from '../src/index.js';
import { at, liveSubscription, lose, message, openClient, welcome } from './conversation.js';
import { settled, SimulatedStore, World } from './simulated.js';

const busy = ({ id }, after = 30_000) => ({ type: 'error', id, code: 'busy', message: 'later', retry: 'later', retry_after_ms: after });

test('a closed client does not wait to subscribe or to ask again', async () => {
  const { client, world } = await openClient();
  client.subscribe('chat');
  client.presence('chat').catch(() => {});
  await settled();
  for (const asked of world.socket.take()) await world.socket.says(busy(asked));
  client.close();
  assert.equal(world.timers, 0);
});

test('a subscription that nobody wants any more does not wait to be requested again', async () => {
  const { client, world } = await openClient();
  const { timers } = world;
  const subscription = client.subscribe('chat');
  await world.socket.says(busy(world.socket.takeOne('subscribe')));
  assert.equal(world.timers, timers + 1);
  subscription.unsubscribe();
  assert.equal(world.timers, timers);
  await world.pass(30_000);
  assert.ok(world.socket.take().every(({ type }) => type === 'ping'));
});

test('what waited to be sent again goes over the next connection once', async () => {
  const { client, world } = await openClient();
  client.subscribe('chat');
  client.presence('chat').catch(() => {});
  await settled();
  for (const asked of world.socket.take()) await world.socket.says(busy(asked, 5_000));
  await lose(world);
  await welcome(world);
  assert.deepEqual(world.socket.take().map(({ type }) => type), ['subscribe', 'presence']);
  await world.pass(10_000);
  assert.deepEqual(world.socket.take(), []);
});

test('an answered question has no timer', async () => {
  const { client, world } = await openClient();
  const { timers } = world;
  const answer = client.presence('chat');
  await settled();
  await world.socket.says(busy(world.socket.takeOne('presence'), 1_000));
  await world.pass(1_000);
  const { id } = world.socket.takeOne('presence');
  await world.socket.says({ type: 'presence', id, channel: 'chat', members: [], total: 0 });
  await answer;
  assert.equal(world.timers, timers);
});

test('a closed client has written its positions, and leaves no timer for that', async () => {
  const store = new SimulatedStore();
  const { client, world } = await openClient({ store: persist(store), name: 'test' });
  await liveSubscription(client, world);
  await world.socket.says(message(8));
  client.close();
  assert.deepEqual([world.timers, store.getItem('test:positions')], [0, JSON.stringify({ chat: at(8) })]);
});

test('a request that is refused again waits for its own time only', async () => {
  const { client, world } = await openClient();
  client.subscribe('chat');
  client.presence('chat').catch(() => {});
  await settled();
  for (const asked of world.socket.take()) await world.socket.says(busy(asked, 5_000));
  await lose(world);
  await welcome(world);
  for (const asked of world.socket.take()) await world.socket.says(busy(asked, 10_000));
  await world.pass(9_000);
  assert.deepEqual(world.socket.take(), []);
  await world.pass(1_000);
  assert.deepEqual(world.socket.take().map(({ type }) => type).sort(), ['presence', 'subscribe']);
});

test('an address that is found after the client was closed is not opened', async () => {
  const world = new World();
  let found;
  const client = connect(() => new Promise((resolve) => { found = resolve; }), { environment: world.environment });
  await settled();
  client.close();
  found('ws://a/');
  await settled();
  assert.deepEqual([world.sockets.length, world.timers], [0, 0]);
});
