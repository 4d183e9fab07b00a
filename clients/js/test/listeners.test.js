// Listeners that use the client while it calls them: they close it, publish, ask, or reconnect.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connect, ReconnectingWebSocket } from '../src/index.js';
import { loadCbor } from '../src/payload.js';
import { at, lose, newClient, openClient, URL, welcome } from './conversation.js';
import { settled, World } from './simulated.js';

const published = ({ id }) => ({ type: 'published', id, position: at(1) });

/** A client with a publication in flight whose refusal, at the loss of the connection, calls the listener. */
async function refusing(listener) {
  await loadCbor();
  const { client, world } = await openClient();
  client.publish('chat', 'once', { queue: false }).catch(() => {});
  await settled();
  world.socket.take();
  client.on('refused', listener(client));
  return { client, world };
}

test('a listener of a refusal may reconnect: nothing is sent to the lost socket, and the next one gets its connect', async () => {
  const { client, world } = await refusing((client) => () => client.reconnect());
  await lose(world);
  assert.equal((await welcome(world)).type, 'connect');
  await world.pass(10_000);
  assert.deepEqual([client.state.name, world.sockets.length], ['open', 2]);
});

test('a listener of a refusal may ask, subscribe and publish: all of it goes over the next connection', async () => {
  const asked = [];
  const { world } = await refusing((client) => () => {
    asked.push(client.history('chat'), client.publish('chat', Uint8Array.of(1), { key: 'k' }));
    client.subscribe('news');
  });
  await lose(world);
  await welcome(world);
  const sent = world.socket.take();
  assert.deepEqual(sent.map(({ type }) => type), ['subscribe', 'history', 'publish']);
  await world.socket.says({ type: 'history', id: sent[1].id, channel: 'chat', head: at(1), messages: [] });
  await world.socket.says(published(sent[2]));
  await Promise.all(asked);
});

test('a listener of a refusal may close the client', async () => {
  const { client, world } = await refusing((client) => () => client.close());
  const subscription = client.subscribe('chat');
  await world.socket.ends();
  await world.pass(60_000);
  assert.deepEqual([client.state.name, world.sockets.length, world.timers, world.watchers], ['closed', 1, 0, 0]);
  assert.equal(subscription.state, 'ended');
  subscription.unsubscribe();
});

test('a listener may close the client when an attempt begins', async () => {
  const { client, world } = await openClient();
  const ends = [];
  world.environment.fallBack = (end) => ends.push(end);
  client.on('state', ({ name }) => name === 'connecting' && client.close());
  await world.socket.ends();
  await world.pass(1_000);
  assert.deepEqual([client.state.name, world.timers, world.watchers], ['closed', 0, 0]);
  await world.pass(60_000);
  assert.deepEqual([world.sockets.length, ends], [1, []]);
});

test('a token function may close the client', async () => {
  const world = new World();
  const client = connect(URL, { environment: world.environment, token: () => client.close() });
  await settled();
  assert.deepEqual([client.state.name, world.timers, world.watchers, world.sockets.length], ['closed', 0, 0, 0]);
});

test('a listener of frames may close the client while it sends', async () => {
  const { client, world } = await openClient();
  client.on('frame', ({ direction }) => direction === 'out' && client.close());
  await assert.rejects(client.publish('chat', 'a'), { code: 'closed' });
  assert.deepEqual([client.state.name, world.timers], ['closed', 0]);
});

test('a listener of frames may publish while a publication is sent: each is sent once', async () => {
  const { client, world } = await openClient();
  let more = 2;
  const promises = [];
  client.on('frame', ({ direction, text }) => {
    if (direction === 'out' && text.includes('publish') && (more -= 1) >= 0) promises.push(client.publish('chat', `more ${more}`));
  });
  promises.push(client.publish('chat', 'first'));
  for (const expected of ['first', 'more 1', 'more 0']) {
    await settled();
    const message = world.socket.takeOne('publish');
    assert.equal(message.data, expected);
    await world.socket.says(published(message));
  }
  assert.equal((await Promise.all(promises)).length, 3);
});

test('a raw socket that a listener closes at a loss does not say that it waits', async () => {
  const world = new World();
  const socket = new ReconnectingWebSocket('ws://a/', [], { environment: world.environment });
  await settled();
  await world.socket.opens();
  const events = [];
  for (const type of ['close', 'waiting']) socket.addEventListener(type, () => events.push(type));
  socket.addEventListener('close', () => socket.close(), { once: true });
  await world.socket.ends();
  await world.pass(60_000);
  assert.deepEqual([events, socket.readyState, world.sockets.length, world.timers], [['close', 'close'], 3, 1, 0]);
});

test('a raw socket whose close is refused stays open', async () => {
  const world = new World();
  const socket = new ReconnectingWebSocket('ws://a/', [], { environment: world.environment });
  await settled();
  await world.socket.opens();
  world.socket.close = () => { throw new DOMException('the reason is too long', 'SyntaxError'); };
  assert.throws(() => socket.close(1000, 'x'.repeat(200)), { name: 'SyntaxError' });
  assert.equal(socket.readyState, 1);
  await world.socket.ends();
  assert.equal(socket.readyState, 0, 'it comes back');
});

test('data that the caller changes after publishing is sent as it was', async () => {
  const { client, world } = await newClient();
  const cursor = { x: 1 };
  const tags = { a: '1' };
  client.publish('chat', cursor, { tags });
  cursor.x = 2;
  tags.a = '2';
  client.publish('chat', cursor, { tags });
  cursor.x = 3;
  await welcome(world);
  for (const x of [1, 2]) {
    const message = world.socket.takeOne('publish');
    assert.deepEqual([message.data, message.tags], [{ x }, { a: String(x) }]);
    await world.socket.says(published(message));
  }
});
