// What happens after 1009, message too big: what was too large fails, and everything else goes on.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { loadCbor } from '../src/payload.js';
import { at, liveSubscription, lose, newClient, openClient, record, welcome } from './conversation.js';
import { settled } from './simulated.js';

const LARGE = 'x'.repeat(1_000);
const TOO_LARGE = { code: 'too_large', retry: 'never', message: /^\d+ bytes: larger than the server accepts$/ };

const dataOf = (messages) => messages.map(({ data }) => data);
const published = ({ id }) => ({ type: 'published', id, position: at(1) });

test('the largest publication in flight is rejected, in any order, and the others are sent again', async () => {
  for (const large of [0, 1, 2]) {
    const { client, world } = await openClient();
    const texts = ['a', 'b', 'c'].map((text, n) => (n === large ? LARGE : text));
    const promises = texts.map((text, n) => client.publish(`channel ${n}`, text));
    await settled();
    await lose(world, 1009);
    await assert.rejects(promises[large], TOO_LARGE);
    await welcome(world);
    const again = world.socket.take();
    assert.deepEqual(dataOf(again), texts.filter((text) => text !== LARGE));
    for (const message of again) await world.socket.says(published(message));
    await Promise.all(promises.filter((_, n) => n !== large));
  }
});

test('the largest is the one with the most bytes on the wire, not with the most characters', async () => {
  const { client, world } = await openClient();
  const inCharacters = client.publish('a', 'x'.repeat(150));
  const inBytes = client.publish('b', '語'.repeat(100));
  await settled();
  await lose(world, 1009);
  await assert.rejects(inBytes, TOO_LARGE);
  await welcome(world);
  await world.socket.says(published(world.socket.takeOne('publish')));
  await inCharacters;
});

test('binary messages count by their bytes, too', async () => {
  await loadCbor();
  const { client, world } = await newClient();
  world.socket.protocol = 'offhook.v1.cbor';
  await welcome(world);
  const binary = client.publish('a', new Uint8Array(100));
  const text = client.publish('b', 'x'.repeat(200));
  await settled();
  await lose(world, 1009);
  await assert.rejects(text, TOO_LARGE);
  client.close();
  await assert.rejects(binary, { code: 'closed' });
});

test('a publication that is sent only once is found, too', async () => {
  const { client, world } = await openClient();
  const small = client.publish('a', 'small');
  const large = client.publish('b', LARGE, { queue: false });
  await settled();
  await lose(world, 1009);
  await assert.rejects(large, TOO_LARGE);
  await welcome(world);
  await world.socket.says(published(world.socket.takeOne('publish')));
  await small;
});

test('a call that is too large fails, and the client and its publications go on', async () => {
  const { client, world } = await openClient();
  const small = client.publish('a', 'small');
  const call = client.call('store', LARGE);
  await settled();
  await lose(world, 1009);
  await assert.rejects(call, TOO_LARGE);
  await welcome(world);
  await world.socket.says(published(world.socket.takeOne('publish')));
  await small;
});

test('an info that is too large fails, and is in no later connect', async () => {
  const { client, world } = await openClient({ info: { name: 'Ann' } });
  const changed = client.setInfo({ name: LARGE });
  await settled();
  await lose(world, 1009);
  await assert.rejects(changed, TOO_LARGE);
  assert.deepEqual((await welcome(world)).info, { name: 'Ann' });
  assert.deepEqual(world.socket.take(), []);
});

test('an info that the server refuses is in no later connect', async () => {
  const { client, world } = await openClient({ info: { name: 'Ann' } });
  const changed = client.setInfo({ name: 'x'.repeat(300) });
  await settled();
  const { id } = world.socket.takeOne('presence_update');
  await world.socket.says({ type: 'error', id, code: 'bad_request', message: 'info is too long', retry: 'never' });
  await assert.rejects(changed, { code: 'bad_request' });
  await lose(world);
  assert.deepEqual((await welcome(world)).info, { name: 'Ann' });
});

test('a connect that is too large closes the client with the reason', async () => {
  const { client, world } = await newClient({ info: { name: LARGE } });
  await world.socket.opens();
  await world.socket.ends(1009);
  assert.equal(client.state.name, 'closed');
  assert.throws(() => { throw client.state.error; }, TOO_LARGE);
  await world.pass(60_000);
  assert.deepEqual([world.sockets.length, world.timers], [1, 0]);
});

test('a subscription whose request is too large ends with the reason, and the others go on', async () => {
  const { client, world } = await openClient();
  await liveSubscription(client, world);
  const events = record(client.subscribe({ filter: `${LARGE}/#` }));
  await lose(world, 1009);
  assert.deepEqual(events.map(({ type, error }) => [type, error.code]), [['ended', 'too_large']]);
  await welcome(world);
  assert.deepEqual(world.socket.take().map(({ channel, filter }) => [channel, filter]), [['chat', undefined]]);
});

test('if the largest was answered, nothing is rejected, and the client comes back', async () => {
  const { client, world } = await openClient();
  const large = client.publish('a', LARGE);
  const small = client.publish('b', 'small');
  await settled();
  const [first] = world.socket.take();
  await world.socket.says(published(first));
  await large;
  await lose(world, 1009);
  await welcome(world);
  await world.socket.says(published(world.socket.takeOne('publish')));
  await small;
});

test('what was large on an earlier connection does not count', async () => {
  const { client, world } = await openClient();
  const first = client.publish('a', LARGE);
  await settled();
  await world.socket.says(published(world.socket.takeOne('publish')));
  await first;
  await lose(world);
  await welcome(world, { session: 's2' });
  const second = client.publish('a', 'y'.repeat(300));
  await settled();
  await lose(world, 1009);
  await assert.rejects(second, TOO_LARGE);
});
