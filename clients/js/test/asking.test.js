// Requests to the server other than subscriptions: state, presence, calls, and
// messages that it sends unasked.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { at, lose, newClient, openClient, record, welcome } from './conversation.js';
import { settled } from './simulated.js';

test('a channel’s state is read once', async () => {
  const { client, world } = await openClient();
  const answer = client.readState('prices', { limit: 2 });
  await settled();
  const { id, ...asked } = world.socket.takeOne('state');
  assert.deepEqual(asked, { type: 'state', channel: 'prices', limit: 2 });
  await world.socket.says({ type: 'state', id, channel: 'prices', head: at(9), messages: [{ position: at(2), base64: 'AQ==', time: 1 }], more: true });
  assert.deepEqual(await answer, { head: at(9), more: true, messages: [{ position: at(2), data: Uint8Array.of(1), time: 1 }] });
});

test('a call returns the result, as JSON or bytes', async () => {
  const { client, world } = await openClient();
  const json = client.call('orders.cancel', { order: 7 }, { deadline: 5_000 });
  const bytes = client.call('thumbnail', Uint8Array.of(1));
  await settled();
  const [first, second] = world.socket.take();
  assert.deepEqual(first, { type: 'call', id: first.id, method: 'orders.cancel', data: { order: 7 }, deadline_ms: 5_000 });
  assert.deepEqual([second.base64, second.deadline_ms], ['AQ==', undefined]);
  await world.socket.says({ type: 'called', id: second.id, base64: 'Ag==' });
  await world.socket.says({ type: 'called', id: first.id, data: { cancelled: true } });
  assert.deepEqual([await json, await bytes], [{ cancelled: true }, Uint8Array.of(2)]);
});

test('a call is rejected with the backend’s code, or at its deadline', async () => {
  const { client, world } = await openClient();
  const refused = client.call('orders.cancel');
  await settled();
  const { id, data } = world.socket.takeOne('call');
  assert.equal(data, null);
  await world.socket.says({ type: 'error', id, code: 'forbidden', message: 'no', retry: 'never' });
  await assert.rejects(refused, { code: 'forbidden' });
  for (const [options, ms] of [[undefined, 10_000], [{ deadline: 3_000 }, 3_000]]) {
    const late = client.call('orders.cancel', 1, options);
    const rejected = assert.rejects(late, { code: 'timed_out', retry: 'later', message: 'no answer to call in time' });
    await settled();
    await world.pass(ms - 1);
    assert.ok(await Promise.race([late.catch(() => false), Promise.resolve(true)]), 'not before');
    await world.pass(1);
    await rejected;
  }
});

test('a call that timed out at the server may have run, and is not repeated', async () => {
  const { client, world } = await openClient();
  const late = client.call('orders.cancel');
  await settled();
  const { id } = world.socket.takeOne('call');
  await world.socket.says({ type: 'error', id, code: 'timed_out', message: 'the backend did not answer', retry: 'later' });
  await assert.rejects(late, { code: 'timed_out', retry: 'later' });
  await world.pass(10_000);
  assert.deepEqual(world.socket.take(), []);
});

test('a call is not repeated on another connection', async () => {
  const { client, world } = await openClient();
  const lost = client.call('orders.cancel');
  await settled();
  world.socket.takeOne('call');
  const rejected = assert.rejects(lost, { code: 'offline', retry: 'later' });
  await lose(world);
  await rejected;
  await welcome(world);
  assert.deepEqual(world.socket.take(), []);
});

test('a call made without a connection waits for one until its deadline', async () => {
  const { client, world } = await openClient();
  await world.socket.ends();
  const answer = client.call('orders.cancel');
  await world.pass(1_000);
  await welcome(world);
  const { id } = world.socket.takeOne('call');
  await world.socket.says({ type: 'called', id, data: 1 });
  assert.equal(await answer, 1);
});

test('presence info can be changed, and the next connection uses the new info', async () => {
  const { client, world } = await openClient({ info: { name: 'Ann' } });
  const changed = client.setInfo({ name: 'Ann', away: true });
  await settled();
  const { id, info } = world.socket.takeOne('presence_update');
  assert.deepEqual(info, { name: 'Ann', away: true });
  await world.socket.says({ type: 'presence_updated', id });
  assert.equal(await changed, undefined);
  await lose(world);
  assert.deepEqual((await welcome(world)).info, { name: 'Ann', away: true });
});

test('a member’s new info is delivered as a join of a present member', async () => {
  const { client, world } = await openClient();
  const room = client.subscribe('chat', { presence: true });
  const events = record(room);
  const { id } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'subscribed', id, channel: 'chat', position: at(7), live: true });
  await world.socket.says({ type: 'join', channel: 'chat', session: 's2', info: { away: true } });
  assert.deepEqual(events.at(-1), { type: 'join', channel: 'chat', session: 's2', info: { away: true } });
});

test('a backend’s message to this session is an event of the client', async () => {
  const { client, world } = await openClient();
  const told = [];
  client.on('told', (data) => told.push(data));
  await world.socket.says({ type: 'told', data: { text: 'your order has shipped' } });
  await world.socket.says({ type: 'told', base64: 'AQ==' });
  assert.deepEqual(told, [{ text: 'your order has shipped' }, Uint8Array.of(1)]);
});

test('at most 256 requests are unanswered', async () => {
  const { client } = await openClient();
  for (let count = 0; count < 256; count += 1) client.presence('chat').catch(() => {});
  await assert.rejects(client.presence('chat'), { code: 'queue_full', retry: 'later' });
});

test('closing rejects unanswered requests', async () => {
  const { client } = await openClient();
  const open = client.presence('chat');
  await settled();
  client.close();
  await assert.rejects(open, { code: 'closed' });
  await assert.rejects(client.presence('chat'), { code: 'closed' });
});

test('nothing is shown as sent while there is no connection', async () => {
  const frames = [];
  const { client, world } = await newClient();
  client.on('frame', ({ text }) => frames.push(JSON.parse(text).type));
  const asked = client.presence('chat');
  await settled();
  assert.deepEqual([client.transport, frames], ['websocket', []]);
  await welcome(world);
  assert.deepEqual(frames.splice(0), ['connect', 'welcome', 'presence']);
  await world.socket.ends();
  client.history('chat').catch(() => {});
  await settled();
  assert.deepEqual(frames, []);
  client.close();
  await assert.rejects(asked, { code: 'closed' });
});
