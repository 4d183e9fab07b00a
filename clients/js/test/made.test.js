// Subscriptions that the server's side makes for a session, announced with `"by": "server"`.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { at, lose, message, openClient, record, welcome } from './conversation.js';

const made = (offset, more) => ({ type: 'subscribed', channel: 'news', position: at(offset), live: true, by: 'server', ...more });
const data = (events) => events.filter(({ type }) => type === 'message').map((event) => event.data);

/** A client that records what the server has subscribed it to. */
async function listening() {
  const { client, world } = await openClient();
  const subscriptions = [];
  const events = [];
  client.on('subscribed', (subscription) => {
    subscriptions.push(subscription);
    for (const type of ['subscribed', 'message', 'ended']) subscription.on(type, (event) => events.push(event));
  });
  return { client, world, subscriptions, events };
}

test('a subscription that the server makes is given to the page and kept', async () => {
  const { world, subscriptions, events } = await listening();
  await world.socket.says(made(7));
  await world.socket.says(message(8, 'm8', 'news'));
  assert.deepEqual(world.socket.take(), [], 'it is not given back');
  const [{ channel, state }] = subscriptions;
  assert.deepEqual([channel, state, events[0].type, data(events)], ['news', 'live', 'subscribed', ['m8']]);
  subscriptions[0].unsubscribe();
  assert.equal(world.socket.takeOne('unsubscribe').channel, 'news');
});

test('a subscription that the server made is restored with the session', async () => {
  const { world, subscriptions, events } = await listening();
  await world.socket.says(made(7));
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  await lose(world);
  await welcome(world);
  await world.socket.says({ type: 'subscribed', channel: 'news', position: at(8), live: false });
  await world.socket.says(message(8, 'm8', 'news'));
  assert.deepEqual(world.socket.take(), []);
  assert.deepEqual([subscriptions.length, data(events)], [1, ['m8']]);
});

test('a subscription that the server makes and nobody reads is kept, and holds no messages', async () => {
  const { world } = await openClient();
  await world.socket.says(made(0));
  for (let offset = 1; offset <= 1_100; offset += 1) await world.socket.says(message(offset, 'm', 'news'));
  assert.deepEqual(world.socket.take(), [], 'it is neither paused nor given back');
});

test('a loop reads a subscription that the server makes', async () => {
  const { client, world } = await openClient();
  const heard = [];
  client.on('subscribed', async (subscription) => {
    for await (const event of subscription) heard.push(event.type);
  });
  await world.socket.says(made(7));
  await world.socket.says(message(8, 'm8', 'news'));
  assert.deepEqual(heard, ['subscribed', 'message']);
});

test('a page that subscribes while the server does has one subscription, which begins where it wanted', async () => {
  for (const [since, isTaken] of [['now', true], ['start', false]]) {
    const { client, world } = await openClient();
    const events = record(client.subscribe('news', { since }));
    const { id } = world.socket.takeOne('subscribe');
    await world.socket.says(made(7));
    await world.socket.says({ type: 'error', id, code: 'already_subscribed', message: '', retry: 'never' });
    const sent = world.socket.take().map(({ type }) => type);
    assert.deepEqual(sent, isTaken ? [] : ['unsubscribe', 'subscribe'], since);
    assert.equal(events.some(({ type }) => type === 'subscribed'), isTaken, since);
  }
});

test('a leftover of the resume token, which has no mark, is given back', async () => {
  const { world } = await openClient();
  await world.socket.says(made(7, { by: undefined }));
  assert.equal(world.socket.takeOne('unsubscribe').channel, 'news');
});

test('a page that does not want what the server has made gives it back', async () => {
  const { client, world } = await openClient();
  client.on('subscribed', (subscription) => subscription.unsubscribe());
  await world.socket.says(made(7));
  assert.deepEqual(world.socket.take().map(({ type, channel }) => [type, channel]), [['unsubscribe', 'news']]);
});
