// Several subscriptions on one channel, filters, several channels in one request, state, and echo.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { persist } from '../src/index.js';
import { at, lose, message, newClient, openClient, record, welcome } from './conversation.js';
import { SimulatedStore } from './simulated.js';

const subscribed = ({ id, channel, filter, subscription }, offset = 7, live = true) =>
  ({ type: 'subscribed', id, channel, filter, subscription, position: at(offset), live });
const data = (events) => events.filter(({ type }) => type === 'message').map((event) => event.data);

test('a second subscription on a channel has a number, and each gets its own messages', async () => {
  const { client, world } = await openClient();
  const seen = [client.subscribe('chat'), client.subscribe('chat', { since: 'start' })].map(record);
  const [first, second] = world.socket.take();
  assert.deepEqual([first.subscription, typeof second.subscription, second.channel], [undefined, 'number', 'chat']);
  await world.socket.says(subscribed(first));
  await world.socket.says(subscribed(second, 7, false));
  await world.socket.says({ ...message(7), subscription: second.subscription });
  await world.socket.says(message(8));
  assert.deepEqual(seen.map(data), [['m8'], ['m7']]);
});

test('each subscription ends independently', async () => {
  const { client, world } = await openClient();
  const [first, second] = [client.subscribe('chat'), client.subscribe('chat')];
  const [, asked] = world.socket.take();
  second.unsubscribe();
  assert.deepEqual(world.socket.take().map(({ type, channel, subscription }) => [type, channel, subscription]), [['unsubscribe', undefined, asked.subscription]]);
  assert.deepEqual([first.state, second.state], ['waiting', 'ended']);
});

test('a server without numbers refuses the second subscription, and the first continues', async () => {
  const { client, world } = await openClient();
  const [first, second] = [client.subscribe('chat'), client.subscribe('chat')];
  const events = record(second);
  const [{ id: one }, { id: two }] = world.socket.take();
  await world.socket.says({ type: 'subscribed', id: one, channel: 'chat', position: at(7), live: true });
  await world.socket.says({ type: 'error', id: two, code: 'already_subscribed', message: 'twice', retry: 'never' });
  assert.deepEqual([first.state, second.state, events[0].error.code], ['live', 'ended', 'already_subscribed']);
});

test('a filter gets the messages of all its channels, and continues after the last of them', async () => {
  const { client, world } = await openClient();
  const sensors = client.subscribe({ filter: 'sensors/+' });
  const events = record(sensors);
  const asked = world.socket.takeOne('subscribe');
  assert.deepEqual([asked.filter, asked.channel, typeof asked.subscription, sensors.filter, sensors.channel], ['sensors/+', undefined, 'number', 'sensors/+', undefined]);
  await world.socket.says(subscribed(asked, 100));
  const { subscription } = asked;
  await world.socket.says({ ...message(4, 'warm', 'sensors/a'), subscription, at: at(101) });
  await world.socket.says({ ...message(1, 'cold', 'sensors/b'), subscription, at: at(102) });
  await world.socket.says({ type: 'gap', channel: 'sensors/a', subscription, from: at(4), to: at(9), reason: 'evicted_by_size' });
  assert.deepEqual([data(events), sensors.position, events.at(-1).type], [['warm', 'cold'], at(102), 'gap']);
  await lose(world);
  await welcome(world);
  const again = world.socket.takeOne('subscribe');
  assert.deepEqual([again.since, again.subscription, again.filter], [at(102), subscription, 'sensors/+']);
});

test('a gap of a whole filter moves its position, one of a channel does not', async () => {
  const { client, world } = await openClient();
  const sensors = client.subscribe({ filter: 'sensors/+' }, { since: 'start' });
  const events = record(sensors);
  const asked = world.socket.takeOne('subscribe');
  await world.socket.says(subscribed(asked, 100, false));
  const { subscription } = asked;
  await world.socket.says({ ...message(4, 'warm', 'sensors/a'), subscription, at: at(90) });
  await world.socket.says({ type: 'gap', filter: 'sensors/+', channel: 'sensors/a', subscription, from: at(4), to: at(9), reason: 'damaged' });
  assert.equal(sensors.position, at(90));
  await world.socket.says({ type: 'gap', filter: 'sensors/+', subscription, from: at(90), to: '18.60', reason: 'diverged', agreed: '18.60' });
  assert.deepEqual([sensors.position, events.filter(({ type }) => type === 'gap').length], ['18.60', 2]);
  await lose(world);
  await welcome(world);
  assert.equal(world.socket.takeOne('subscribe').since, '18.60');
});

test('after a restart of the server a filter continues at its position of the new epoch', async () => {
  const { client, world } = await openClient();
  const sensors = client.subscribe({ filter: 'sensors/+' });
  const events = record(sensors);
  const asked = world.socket.takeOne('subscribe');
  await world.socket.says(subscribed(asked, 100));
  const { subscription } = asked;
  await world.socket.says({ type: 'gap', filter: 'sensors/+', subscription, from: at(100), to: '18.100', reason: 'restarted' });
  const gap = events.find(({ type }) => type === 'gap');
  assert.deepEqual([sensors.position, gap.reason, gap.channel], ['18.100', 'restarted', undefined]);
});

test('restored subscriptions with numbers are awaited, with positions by number', async () => {
  const { client, world } = await openClient();
  const sensors = client.subscribe({ filter: 'sensors/#' });
  const asked = world.socket.takeOne('subscribe');
  await world.socket.says(subscribed(asked, 100));
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  await lose(world);
  const connect = await welcome(world);
  assert.deepEqual(connect.subscription_positions, { [asked.subscription]: at(100) });
  assert.deepEqual(world.socket.take(), []);
  await world.socket.says({ ...subscribed(asked, 100), id: undefined });
  assert.equal(sensors.state, 'live');
});

test('once everything restored was announced, the rest is requested immediately', async () => {
  const { client, world } = await openClient();
  client.subscribe('chat');
  await world.socket.says(subscribed(world.socket.takeOne('subscribe')));
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  await lose(world);
  await welcome(world);
  await world.socket.says({ type: 'restored' });
  assert.equal(world.socket.takeOne('subscribe').since, at(7));
});

test('the position of a filter survives a reload, and can be forgotten', async () => {
  const store = new SimulatedStore();
  const first = await openClient({ store: persist(store) });
  record(first.client.subscribe({ filter: 'a/#' }));
  await first.world.socket.says(subscribed(first.world.socket.takeOne('subscribe'), 100));
  await first.world.happens('hidden');
  const next = await newClient({ store: persist(store) });
  assert.equal(next.client.subscribe({ filter: 'a/#' }).position, at(100));
  assert.equal(next.client.subscribe('a/#').position, undefined, 'a channel of this name is another');
  next.client.forget({ filter: 'a/#' });
  await next.world.happens('hidden');
  const last = await newClient({ store: persist(store) });
  assert.equal(last.client.subscribe({ filter: 'a/#' }).position, undefined);
});

test('several channels are requested with one message, and answered individually', async () => {
  const { client, world } = await openClient();
  const rooms = client.subscribe(['a', 'b', 'c'], { since: { last: 5 }, presence: true });
  const { id, ...asked } = world.socket.takeOne('subscribe');
  assert.deepEqual(asked, { type: 'subscribe', channels: ['a', 'b', 'c'], since: { last: 5 }, positions: {}, presence: true });
  await world.socket.says({ type: 'subscribed', id: id + 2, channel: 'c', position: at(1), live: true });
  await world.socket.says({ type: 'error', id: id + 1, code: 'forbidden', message: 'no', retry: 'never' });
  assert.deepEqual(rooms.map(({ state }) => state), ['waiting', 'ended', 'live']);
  client.presence('a');
  assert.equal(world.socket.takeOne('presence').id, id + 3);
});

test('on a new connection, equal subscriptions are requested together, each from its position', async () => {
  const { client, world } = await openClient();
  const rooms = ['a', 'b', 'c'].map((channel) => client.subscribe(channel));
  client.subscribe('d', { presence: true });
  client.subscribe('d');
  const asked = world.socket.take();
  for (const one of asked.slice(0, 2)) await world.socket.says(subscribed(one));
  await lose(world);
  await welcome(world);
  const [together, alone, second, ...none] = world.socket.take();
  assert.deepEqual([together.channels, together.since, together.positions], [['a', 'b', 'c'], 'now', { a: at(7), b: at(7) }]);
  assert.deepEqual([alone.channel, alone.presence, alone.channels], ['d', true, undefined]);
  assert.deepEqual([second.channel, second.subscription, none], ['d', asked[4].subscription, []]);
  await world.socket.says(subscribed({ id: together.id + 1, channel: 'b' }));
  assert.deepEqual(rooms.map(({ state }) => state), ['waiting', 'live', 'waiting']);
});

test('at most 256 channels are requested with one message', async () => {
  const { client, world } = await openClient();
  client.subscribe(Array.from({ length: 300 }, (_, number) => `c${number}`));
  assert.deepEqual(world.socket.take().map(({ channels }) => channels.length), [256, 44]);
});

test('state is delivered first, and again after a reconnect, until the stream continues', async () => {
  const { client, world } = await openClient();
  const prices = client.subscribe('prices', { since: 'state' });
  const events = record(prices);
  const asked = world.socket.takeOne('subscribe');
  assert.equal(asked.since, 'state');
  await world.socket.says(subscribed(asked, 9, false));
  for (const offset of [2, 7]) await world.socket.says({ ...message(offset, offset, 'prices'), state: true });
  assert.deepEqual([data(events), prices.position], [[2, 7], undefined]);
  await lose(world);
  await welcome(world);
  const again = world.socket.takeOne('subscribe');
  assert.equal(again.since, 'state');
  await world.socket.says(subscribed(again, 9, false));
  await world.socket.says({ ...message(2, 2, 'prices'), state: true });
  await world.socket.says({ type: 'gap', channel: 'prices', from: at(0), to: at(9), reason: 'state' });
  await world.socket.says(message(10, 10, 'prices'));
  assert.deepEqual([data(events), prices.position], [[2, 7, 2, 10], at(10)]);
});

test('without echo, own messages are `own`, and count for continuity', async () => {
  const { client, world } = await openClient();
  const room = client.subscribe('chat', { echo: false });
  const events = record(room);
  const own = [];
  room.on('own', ({ position }) => own.push(position));
  const asked = world.socket.takeOne('subscribe');
  assert.equal(asked.echo, false);
  await world.socket.says(subscribed(asked));
  await world.socket.says({ type: 'own', channel: 'chat', position: at(8) });
  assert.equal(room.position, at(8));
  await world.socket.says(message(9));
  assert.deepEqual([own, data(events), events.some(({ type }) => type === 'gap'), room.position], [[at(8)], ['m9'], false, at(9)]);
});

test('with echo, the request does not mention it', async () => {
  const { client, world } = await openClient();
  client.subscribe('chat', { echo: true, presence: false });
  assert.deepEqual(Object.keys(world.socket.takeOne('subscribe')), ['type', 'id', 'channel', 'since']);
});
