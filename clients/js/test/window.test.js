// Acknowledged flow: a subscription with a `window`, whose reader acknowledges
// messages.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { persist } from '../src/index.js';
import { at, lose, message, newClient, openClient, record, welcome } from './conversation.js';
import { settled, SimulatedStore } from './simulated.js';

const offsets = (events) => events.filter(({ type }) => type === 'message').map(({ position }) => Number(position.split('.')[1]));

/** A subscription with a window that is live at 7, and its events. */
async function windowed({ options = {}, since, target = 'jobs', position = 7, live = true } = {}) {
  const { client, world } = await openClient(options);
  const jobs = client.subscribe(target, { window: 3, since });
  const events = record(jobs);
  const asked = world.socket.takeOne('subscribe');
  const { id, subscription, channel, filter } = asked;
  await world.socket.says({ type: 'subscribed', id, subscription, channel, filter, position: at(position), live });
  const comes = (offset, more) => world.socket.says({ ...message(offset, undefined, 'jobs'), subscription, ...more });
  return { client, world, jobs, events, asked, comes };
}

/** What was said to be done since the last time, without the numbers of the messages; the server answers it. */
async function done(world) {
  const said = world.socket.take();
  for (const { id, type, subscription } of said) await world.socket.says({ type, id, subscription, channel: 'jobs' });
  return said.map(({ id, type, subscription, ...rest }) => (type === 'done' ? rest : type));
}

test('a subscription with a window has a number, and says how many messages may be unacknowledged', async () => {
  const { asked } = await windowed();
  assert.deepEqual([asked.channel, asked.window, typeof asked.subscription], ['jobs', 3, 'number']);
});

test('each message is acknowledged alone, or all up to one', async () => {
  const { world, jobs, events, comes } = await windowed();
  for (const offset of [8, 9, 10]) await comes(offset);
  const [, , , third] = events;
  jobs.done(third);
  jobs.done(events[2], { cumulative: true });
  assert.deepEqual(await done(world), [{ position: at(10) }, { position: at(9), cumulative: true }]);
});

test('its position is the one up to which the reader has finished everything', async () => {
  const { jobs, events, comes } = await windowed();
  assert.equal(jobs.position, at(7));
  for (const offset of [8, 9, 10]) await comes(offset);
  const [, first, second, third] = events;
  jobs.done(second);
  assert.equal(jobs.position, at(7));
  jobs.done(first);
  assert.equal(jobs.position, at(9));
  jobs.done(third);
  assert.equal(jobs.position, at(10));
});

test('in a loop its position is where it started, as long as nothing is done', async () => {
  const { client, world } = await openClient();
  const jobs = client.subscribe('jobs', { window: 3 });
  const events = jobs[Symbol.asyncIterator]();
  const { id, subscription } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'subscribed', id, subscription, channel: 'jobs', position: at(7), live: true });
  for (const offset of [8, 9]) await world.socket.says({ ...message(offset, undefined, 'jobs'), subscription });
  await events.next();
  const first = (await events.next()).value;
  assert.equal(jobs.position, at(7));
  jobs.done(first);
  await events.next();
  assert.equal(jobs.position, at(8));
});

test('without a resume token it continues after the finished messages, and repeats nothing', async () => {
  const { world, jobs, events, comes } = await windowed();
  for (const offset of [8, 9, 10]) await comes(offset);
  jobs.done(events[2]);
  await done(world);
  await lose(world);
  await welcome(world);
  const again = world.socket.takeOne('subscribe');
  assert.deepEqual([again.since, again.window], [at(7), 3]);
  await world.socket.says({ type: 'subscribed', id: again.id, subscription: again.subscription, channel: 'jobs', position: at(11), live: false });
  for (const offset of [8, 9, 10, 11]) await comes(offset);
  assert.deepEqual(offsets(events), [8, 9, 10, 11]);
  assert.deepEqual(await done(world), [{ position: at(9) }], 'the server had not heard of it on this connection');
  jobs.done(events[1]);
  assert.deepEqual(await done(world), [{ position: at(8) }]);
  assert.equal(events.some(({ type }) => type === 'gap'), false);
});

test('a restored subscription may have holes where the reader was done, and they are not gaps', async () => {
  const { world, jobs, events, asked, comes } = await windowed();
  for (const offset of [8, 9, 10]) await comes(offset);
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  jobs.done(events[2]);
  await lose(world);
  await welcome(world);
  await world.socket.says({ type: 'subscribed', subscription: asked.subscription, channel: 'jobs', position: at(12), live: false });
  await comes(8, { redelivered: 1 });
  await comes(10, { redelivered: 1 });
  // It was in flight when the connection was lost.
  await comes(11, { redelivered: 1 });
  await comes(12);
  assert.deepEqual(offsets(events), [8, 9, 10, 11, 12]);
  assert.deepEqual(events.at(-2).redelivered, 1);
  assert.equal(events.some(({ type }) => type === 'gap'), false);
});

test('done() without a connection is sent when the message is delivered again', async () => {
  const { world, jobs, events, comes } = await windowed();
  await comes(8);
  await world.socket.ends();
  jobs.done(events[1]);
  assert.equal(jobs.position, at(8));
  await world.pass(1_000);
  await welcome(world);
  const again = world.socket.takeOne('subscribe');
  assert.equal(again.since, at(8));
});

test('the newest message, if done, is acknowledged again when it is delivered again', async () => {
  const { world, jobs, events, asked, comes } = await windowed();
  await comes(8);
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  jobs.done(events[1]);
  await lose(world);
  await welcome(world);
  await world.socket.says({ type: 'subscribed', subscription: asked.subscription, channel: 'jobs', position: at(8), live: false });
  await comes(8, { redelivered: 1 });
  assert.deepEqual(offsets(events), [8]);
  assert.deepEqual(await done(world), [{ position: at(8) }]);
});

test('an acknowledgement refused temporarily is repeated, also while many requests are unanswered', async () => {
  const { client, world, jobs, events, comes } = await windowed();
  await comes(8);
  for (let count = 0; count < 256; count += 1) client.presence('jobs').catch(() => {});
  await settled();
  world.socket.take();
  jobs.done(events[1]);
  const { id } = world.socket.takeOne('done');
  await world.socket.says({ type: 'error', id, code: 'rate_limited', message: '', retry: 'later', retry_after_ms: 50 });
  await world.pass(50);
  world.socket.takeOne('done');
  await lose(world);
  const said = await welcome(world).then(() => world.socket.take());
  assert.equal(said.some(({ type }) => type === 'done'), false, 'not on another connection');
});

test('own messages need no acknowledgement', async () => {
  const { client, world } = await openClient();
  const jobs = client.subscribe('jobs', { window: 3, echo: false });
  record(jobs);
  const { id, subscription } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'subscribed', id, subscription, channel: 'jobs', position: at(7), live: true });
  await world.socket.says({ type: 'own', subscription, channel: 'jobs', position: at(8), previous: at(7) });
  assert.equal(jobs.position, at(8));
});

test('a filter acknowledges its position over all channels', async () => {
  const { world, jobs, events, asked } = await windowed({ target: { filter: 'jobs/+' }, position: 100 });
  const { subscription } = asked;
  await world.socket.says({ ...message(4, 'a', 'jobs/a'), subscription, at: at(101) });
  await world.socket.says({ ...message(1, 'b', 'jobs/b'), subscription, at: at(102) });
  jobs.done(events[1]);
  assert.deepEqual(await done(world), [{ position: at(101) }]);
  assert.equal(jobs.position, at(101));
});

test('if it started at the beginning, it continues before the first unfinished message', async () => {
  const { world, events, jobs, comes } = await windowed({ since: 'start', live: false });
  await comes(3);
  await comes(4);
  jobs.done(events[2]);
  await lose(world);
  await welcome(world);
  assert.equal(world.socket.takeOne('subscribe').since, at(2));
});

test('a gap is announced, and earlier messages stay with the reader', async () => {
  const { world, jobs, events, asked, comes } = await windowed();
  for (const offset of [8, 9]) await comes(offset);
  await lose(world);
  await welcome(world);
  const { id } = world.socket.takeOne('subscribe');
  const says = (fields) => world.socket.says({ subscription: asked.subscription, channel: 'jobs', ...fields });
  await says({ type: 'subscribed', id, position: at(20), live: false });
  await says({ type: 'gap', from: at(7), to: at(8), reason: 'evicted_by_size' });
  await comes(9);
  assert.deepEqual(await done(world), [], 'the reader is still busy with it');
  await says({ type: 'gap', from: at(9), to: at(15), reason: 'evicted_by_size' });
  await comes(16);
  assert.deepEqual(offsets(events), [8, 9, 16]);
  assert.equal(jobs.position, at(7));
  jobs.done(events.at(-1), { cumulative: true });
  assert.equal(jobs.position, at(16));
});

test('messages that are no longer part of the stream need not be done', async () => {
  const { world, jobs, events, asked, comes } = await windowed();
  for (const offset of [8, 9]) await comes(offset);
  await lose(world);
  await welcome(world);
  const { id } = world.socket.takeOne('subscribe');
  const says = (fields) => world.socket.says({ subscription: asked.subscription, channel: 'jobs', ...fields });
  await says({ type: 'subscribed', id, position: '18.8', live: false });
  await says({ type: 'gap', from: at(9), to: at(8), reason: 'diverged', agreed: at(8) });
  await world.socket.says({ ...message(9, 'other', 'jobs'), position: '18.9', previous: at(8), subscription: asked.subscription });
  assert.deepEqual(offsets(events), [8, 9, 9]);
  jobs.done(events[1]);
  assert.equal(jobs.position, at(8));
  jobs.done(events.at(-1));
  assert.equal(jobs.position, '18.9');
});

test('a gap counts for the position once everything before it is done', async () => {
  const { world, jobs, events, asked, comes } = await windowed();
  const gap = (from, to) => world.socket.says({ type: 'gap', subscription: asked.subscription, channel: 'jobs', from: at(from), to: at(to), reason: 'damaged' });
  await gap(7, 9);
  assert.equal(jobs.position, at(9));
  await comes(10);
  await gap(10, 12);
  assert.equal(jobs.position, at(9));
  await comes(13);
  jobs.done(events.at(-1), { cumulative: true });
  assert.equal(jobs.position, at(13));
});

test('a gap before the first message is the start', async () => {
  const { world, jobs, asked, comes, events } = await windowed({ since: 'start', live: false });
  await world.socket.says({ type: 'gap', subscription: asked.subscription, channel: 'jobs', from: at(0), to: at(5), reason: 'evicted_by_size' });
  assert.equal(jobs.position, at(5));
  await comes(6);
  assert.deepEqual(offsets(events), [6]);
});

test('the position of done messages survives a reload, and the next page gets the rest again', async () => {
  const store = new SimulatedStore();
  const { world, jobs, events, comes } = await windowed({ options: { store: persist(store) } });
  for (const offset of [8, 9]) await comes(offset);
  jobs.done(events[1]);
  await world.happens('hidden');
  const next = await newClient({ store: persist(store) });
  next.client.subscribe('jobs', { window: 3 });
  const plain = next.client.subscribe('jobs');
  await welcome(next.world);
  const [first, second] = next.world.socket.take();
  assert.deepEqual([first.since, second.since, second.subscription], [at(8), 'now', undefined]);
  assert.equal(plain.position, undefined, 'of several subscriptions one has its position in the store');
});

test('done() without a window is an error that says to subscribe with one', async () => {
  const { client } = await openClient();
  const room = client.subscribe('chat');
  assert.throws(() => room.done({ position: at(8) }), { name: 'TypeError', message: 'done: subscribe with a window' });
});

test('done() after unsubscribing sends nothing', async () => {
  const { world, jobs, events, comes } = await windowed();
  await comes(8);
  jobs.unsubscribe();
  world.socket.take();
  jobs.done(events[1]);
  assert.deepEqual(world.socket.take(), []);
});
