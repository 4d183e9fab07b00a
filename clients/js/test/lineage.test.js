import assert from 'node:assert/strict';
import { test } from 'node:test';

import { at, liveSubscription, lose, message, openClient, welcome } from './conversation.js';

const brief = (events) => events.map(({ type, data, reason, position }) => [type, reason ?? data ?? position]);

test('a message of a new epoch follows the one that it names as its predecessor', async () => {
  const { client, world } = await openClient();
  const { subscription, events } = await liveSubscription(client, world);
  await world.socket.says({ ...message(8), position: '18.8', previous: at(7) });
  await world.socket.says({ ...message(9), position: '18.9' });
  assert.deepEqual(brief(events), [['message', 'm8'], ['message', 'm9']]);
  assert.equal(subscription.position, '18.9');
});

test('positions of an epoch may have holes if the message names its predecessor', async () => {
  const { client, world } = await openClient();
  const { events } = await liveSubscription(client, world);
  await world.socket.says({ ...message(12), previous: at(7) });
  await world.socket.says(message(13));
  assert.deepEqual(brief(events), [['message', 'm12'], ['message', 'm13']]);
});

test('a message with another predecessor than the last one is reported as a gap', async () => {
  const { client, world } = await openClient();
  const { events } = await liveSubscription(client, world);
  await world.socket.says({ ...message(9), position: '18.9', previous: '18.8' });
  assert.deepEqual(brief(events), [['gap', 'unannounced'], ['message', 'm9']]);
  const other = await openClient();
  const lower = (await liveSubscription(other.client, other.world)).events;
  await other.world.socket.says({ ...message(3), position: '18.3', previous: '18.2' });
  assert.deepEqual(brief(lower), [['gap', 'unannounced'], ['message', 'm3']]);
  await world.socket.says({ ...message(11), position: '18.11', previous: '18.10' });
  assert.deepEqual(brief(events.slice(2)), [['gap', 'unannounced'], ['message', 'm11']]);
  await world.socket.says({ ...message(12), position: '18.12', previous: '18.9' });
  assert.deepEqual(brief(events.slice(4)), [['gap', 'unannounced'], ['message', 'm12']]);
});

test('after a restart without loss, a subscription continues without a gap', async () => {
  const { client, world } = await openClient();
  const { events } = await liveSubscription(client, world);
  await lose(world, 1012);
  await welcome(world);
  const { id, since } = world.socket.takeOne('subscribe');
  assert.equal(since, at(7));
  await world.socket.says({ type: 'subscribed', id, channel: 'chat', position: at(7), live: true });
  await world.socket.says({ ...message(8), position: '18.8', previous: at(7) });
  assert.deepEqual(brief(events), [['subscribed', at(7)], ['message', 'm8']]);
});

test('a restored copy of the server diverged: the gap says up to where both agree, and the stream continues there', async () => {
  const { client, world } = await openClient();
  const { subscription, events } = await liveSubscription(client, world, { offset: 90 });
  await lose(world);
  await welcome(world);
  const { id } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'subscribed', id, channel: 'chat', position: '18.61', live: false });
  const gap = { type: 'gap', channel: 'chat', from: at(90), to: at(60), reason: 'diverged', agreed: at(60) };
  await world.socket.says(gap);
  assert.equal(subscription.position, at(60));
  await world.socket.says({ ...message(61), position: '18.61', previous: at(60) });
  assert.deepEqual(events[1], gap);
  assert.deepEqual(brief(events.slice(2)), [['message', 'm61']]);
});

test('a server without lineage announces a new epoch with a gap, and its messages follow', async () => {
  const { client, world } = await openClient();
  const { events } = await liveSubscription(client, world);
  await world.socket.says({ type: 'gap', channel: 'chat', from: at(7), to: '18.7', reason: 'epoch_changed' });
  await world.socket.says({ ...message(8), position: '18.8' });
  assert.deepEqual(brief(events), [['gap', 'epoch_changed'], ['message', 'm8']]);
});
