// Subscriptions and the session over several connections.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { at, liveSubscription, lose, message, newClient, openClient, record, welcome } from './conversation.js';
import { connect } from '../src/index.js';

const data = (events) => events.filter(({ type }) => type === 'message').map((event) => event.data);

test('the first message is `connect`, with the subprotocol', async () => {
  const { client, world, states } = await newClient({ token: 'jwt', info: { name: 'Ann' } });
  assert.deepEqual(world.socket.protocols, ['offhook.v1.cbor', 'offhook.v1.json']);
  const { id, ...connect } = await welcome(world, { user: 'ann' });
  assert.deepEqual(connect, { type: 'connect', token: 'jwt', info: { name: 'Ann' }, lineage: true });
  assert.deepEqual([client.session, client.user], ['s1', 'ann']);
  assert.deepEqual(states.map(({ name }) => name), ['connecting', 'open']);
});

test('a token from a function is requested for each connection', async () => {
  let tokens = 0;
  const { world } = await newClient({ token: async () => `jwt-${(tokens += 1)}` });
  assert.equal((await welcome(world)).token, 'jwt-1');
  await lose(world);
  assert.equal((await welcome(world)).token, 'jwt-2');
});

test('a lost connection continues after the last received message, without a resume token', async () => {
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

test('subscriptions in a resume token are awaited, not requested', async () => {
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

test('a restored subscription that is never announced is requested', async () => {
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

test('a resume token that is refused is dropped on the same connection', async () => {
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

test('restored subscriptions that are no longer wanted are unsubscribed', async () => {
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

test('a subscription without a message so far starts again at its `since`', async () => {
  const { client, world } = await openClient();
  client.subscribe('chat', { since: { last: 50 }, presence: true });
  await lose(world);
  await welcome(world);
  const { since, presence } = world.socket.takeOne('subscribe');
  assert.deepEqual([since, presence], [{ last: 50 }, true]);
});

test('a gap is reported with its reason, and the next connection continues after it', async () => {
  const { client, world } = await openClient();
  const { events } = await liveSubscription(client, world);
  const gap = { type: 'gap', channel: 'chat', from: at(7), to: at(20), reason: 'evicted_by_size' };
  await world.socket.says(gap);
  assert.deepEqual(events, [gap]);
  await lose(world);
  await welcome(world);
  assert.equal(world.socket.takeOne('subscribe').since, at(20));
});

test('a message that is delivered twice is reported once', async () => {
  const { client, world } = await openClient();
  const { events } = await liveSubscription(client, world);
  for (const offset of [8, 8, 7, 9]) await world.socket.says(message(offset));
  assert.deepEqual(data(events), ['m8', 'm9']);
});

test('missing messages that the server did not announce are reported', async () => {
  const { client, world } = await openClient();
  const { events } = await liveSubscription(client, world);
  await world.socket.says(message(10));
  assert.deepEqual(events.map(({ type, reason }) => reason ?? type), ['unannounced', 'message']);
  await world.socket.says({ ...message(1), position: '18.1' });
  assert.equal(events.at(-2).reason, 'unannounced');
});

test('messages of a subscription that has ended are ignored', async () => {
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

test('a subscription ended by the server has the reason; one ended temporarily is requested later', async () => {
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

test('an error ends the subscription that it answers, and no other', async () => {
  const { client, world } = await openClient();
  const [first, second] = [client.subscribe('a'), client.subscribe('b')];
  const [, { id }] = world.socket.take();
  await world.socket.says({ type: 'error', id, code: 'forbidden', message: 'no', retry: 'never' });
  assert.deepEqual([first.state, second.state], ['waiting', 'ended']);
  await world.socket.says({ type: 'error', id: 999, code: 'forbidden', message: 'no', retry: 'never' });
  assert.equal(first.state, 'waiting');
});

test('a session without a resume token continues with positions', async () => {
  const { client, world } = await newClient();
  await welcome(world, { resume: '' });
  await liveSubscription(client, world);
  await lose(world);
  const { resume, positions } = await welcome(world);
  assert.deepEqual([resume, positions], [undefined, undefined]);
  assert.equal(world.socket.takeOne('subscribe').since, at(7));
});

test('a newer session does not expect what an older token restored', async () => {
  const { client, world } = await openClient();
  await liveSubscription(client, world);
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  await lose(world);
  await world.socket.opens();
  const first = world.socket.takeOne('connect');
  await world.socket.says({ type: 'error', id: first.id, code: 'bad_token', message: '', retry: 'never' });
  const second = world.socket.takeOne('connect');
  await world.socket.says({ type: 'welcome', id: second.id, session: 's2', resume: 'v1.third' });
  world.socket.takeOne('subscribe');
  await lose(world);
  assert.equal((await welcome(world)).resume, 'v1.third');
  world.socket.takeOne('subscribe');
});

test('what a token restored is expected again if the connection is lost before a newer token', async () => {
  const { client, world } = await openClient();
  await liveSubscription(client, world);
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  for (let turn = 0; turn < 2; turn += 1) {
    await lose(world);
    await welcome(world, { resume: 'v1.second' });
    assert.deepEqual(world.socket.take(), []);
  }
  await world.socket.says({ type: 'subscribed', channel: 'chat', position: at(7), live: true });
  assert.deepEqual(world.socket.take(), []);
});

test('a subscription that the server already has is awaited, and requested if it is not restored', async () => {
  const { client, world } = await openClient();
  const room = client.subscribe('chat');
  const { id } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'error', id, code: 'already_subscribed', message: '', retry: 'never' });
  assert.equal(room.state, 'waiting');
  assert.deepEqual(world.socket.take(), []);
  await world.socket.says({ type: 'restored' });
  world.socket.takeOne('subscribe');
});

test('catching up moves no position: without a message it starts again at its `since`', async () => {
  const { client, world } = await openClient();
  client.subscribe('chat', { since: 'start' });
  const { id } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'subscribed', id, channel: 'chat', position: at(40), live: false });
  await world.socket.says({ type: 'catching_up', channel: 'chat', position: at(20) });
  await lose(world);
  await welcome(world);
  assert.equal(world.socket.takeOne('subscribe').since, 'start');
});

test('in a loop a message counts as handled when the next one is requested', async () => {
  const { client, world } = await openClient();
  const room = client.subscribe('chat');
  const events = room[Symbol.asyncIterator]();
  const { id } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'subscribed', id, channel: 'chat', position: at(7), live: true });
  for (const offset of [8, 9]) await world.socket.says(message(offset));
  assert.equal(room.position, undefined);
  for (const position of [undefined, at(7), at(8)]) {
    await events.next();
    assert.equal(room.position, position);
  }
});

test('a subscription is also restored while it catches up', async () => {
  const { client, world } = await openClient();
  const { subscription } = await liveSubscription(client, world);
  await world.socket.says({ type: 'catching_up', channel: 'chat', position: at(7) });
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  await lose(world);
  await welcome(world);
  assert.deepEqual([world.socket.take(), subscription.state], [[], 'waiting']);
});

test('a restored subscription without a position is left, and requested from its `since`', async () => {
  const { client, world } = await openClient();
  const subscription = client.subscribe('chat', { since: 'start' });
  const { id } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'subscribed', channel: 'chat', position: at(7), live: true });
  const [left, asked] = world.socket.take();
  assert.deepEqual([left.type, asked.type, asked.since], ['unsubscribe', 'subscribe', 'start']);
  await world.socket.says({ type: 'subscribed', id, channel: 'chat', position: at(7), live: true });
  assert.equal(subscription.state, 'waiting', 'an old answer');
  await world.socket.says({ type: 'subscribed', id: asked.id, channel: 'chat', position: at(7), live: true });
  assert.equal(subscription.state, 'live');
});

test('a paused subscription that the token restores is left, not requested', async () => {
  const { client, world } = await openClient();
  const subscription = client.subscribe('chat');
  const { id } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'subscribed', id, channel: 'chat', position: at(7), live: true });
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  for (let offset = 8; offset < 1_100; offset += 1) world.socket.onmessage({ data: JSON.stringify(message(offset)) });
  assert.equal(subscription.state, 'paused');
  await lose(world);
  await welcome(world);
  await world.socket.says({ type: 'subscribed', channel: 'chat', position: at(7), live: true });
  assert.deepEqual(world.socket.take().map(({ type }) => type), ['unsubscribe']);
  assert.equal(subscription.state, 'paused');
});

test('an unknown subscription is left, and messages about it are ignored', async () => {
  const { world } = await openClient();
  for (const type of ['message', 'live', 'gap', 'unsubscribed']) await world.socket.says({ type, channel: 'chat', position: at(1), code: 'busy', message: '', retry: 'later' });
  assert.deepEqual(world.socket.take(), []);
  await world.socket.says({ type: 'subscribed', channel: 'chat', position: at(7), live: true });
  assert.deepEqual(world.socket.take().map(({ type, channel }) => [type, channel]), [['unsubscribe', 'chat']]);
});

test('the answer to an `unsubscribe` does not end a newer subscription', async () => {
  const { client, world } = await openClient();
  client.subscribe('chat').unsubscribe();
  const again = client.subscribe('chat');
  const [, { id }] = world.socket.take();
  await world.socket.says({ type: 'unsubscribed', id, channel: 'chat' });
  assert.equal(again.state, 'waiting');
});

test('a channel whose subscription ended can be subscribed to anew, without a number', async () => {
  const { client, world } = await openClient();
  const { subscription } = await liveSubscription(client, world);
  await world.socket.says({ type: 'unsubscribed', channel: 'chat', code: 'forbidden', message: 'no', retry: 'never' });
  assert.equal(subscription.state, 'ended');
  client.subscribe('chat');
  assert.equal(world.socket.takeOne('subscribe').subscription, undefined);
});

test('unsubscribing twice unsubscribes once, and does not end the next subscription', async () => {
  const { client, world } = await openClient();
  const { subscription, events } = await liveSubscription(client, world);
  subscription.unsubscribe();
  const next = client.subscribe('chat');
  subscription.unsubscribe();
  assert.deepEqual([events.map(({ type }) => type), next.state], [['ended'], 'waiting']);
  const [left, { id, ...asked }] = world.socket.take();
  assert.deepEqual([left.type, asked.type], ['unsubscribe', 'subscribe']);
  await world.socket.says({ type: 'subscribed', id, channel: 'chat', position: at(7), live: true });
  assert.equal(next.state, 'live');
});

test('a subscription refused until the next connection waits for it', async () => {
  const { client, world } = await openClient();
  client.subscribe('chat');
  const { id } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'error', id, code: 'draining', message: '', retry: 'reconnect' });
  await world.pass(20_000);
  assert.deepEqual(world.socket.take(), []);
  await lose(world);
  await welcome(world);
  world.socket.takeOne('subscribe');
});

test('a subscription refused temporarily is requested once, after a second if no time was given', async () => {
  const { client, world } = await openClient();
  client.subscribe('chat');
  const { id } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'error', id, code: 'busy', message: '', retry: 'later' });
  await world.pass(999);
  assert.deepEqual(world.socket.take(), []);
  await world.pass(1);
  world.socket.takeOne('subscribe');
  const lost = await openClient();
  lost.client.subscribe('chat');
  const asked = lost.world.socket.takeOne('subscribe');
  await lost.world.socket.says({ type: 'error', id: asked.id, code: 'busy', message: '', retry: 'later', retry_after_ms: 2_000 });
  await lost.world.socket.ends();
  await lost.world.happens('shown');
  await welcome(lost.world);
  lost.world.socket.takeOne('subscribe');
  await lost.world.pass(5_000);
  assert.deepEqual(lost.world.socket.take(), []);
});

test('unsubscribing while catching up tells the server; without a connection it sends nothing', async () => {
  const { client, world } = await openClient();
  const { subscription } = await liveSubscription(client, world);
  await world.socket.says({ type: 'catching_up', channel: 'chat', position: at(7) });
  subscription.unsubscribe();
  world.socket.takeOne('unsubscribe');
  const other = client.subscribe('other');
  world.socket.take();
  await world.socket.ends();
  other.unsubscribe();
  await world.happens('shown');
  await welcome(world);
  assert.deepEqual(world.socket.take(), []);
});

test('a subscription made without a connection is requested once there is one', async () => {
  const { client, world } = await openClient();
  await world.socket.ends();
  client.subscribe('chat');
  await world.happens('shown');
  await welcome(world);
  world.socket.takeOne('subscribe');
});

test('a subscription that was catching up becomes live, and reports it', async () => {
  const { client, world } = await openClient();
  const subscription = client.subscribe('chat', { since: 'start' });
  const events = record(subscription);
  const { id } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'subscribed', id, channel: 'chat', position: at(7), live: false });
  assert.deepEqual([subscription.state, subscription.position], ['catching_up', undefined]);
  await world.socket.says({ type: 'live', channel: 'chat', position: at(7) });
  assert.deepEqual([events.map(({ type }) => type), subscription.state, subscription.position], [['subscribed', 'live'], 'live', at(7)]);
  await lose(world);
  await welcome(world);
  assert.equal(world.socket.takeOne('subscribe').since, at(7));
});

test('`live` does not move a known position', async () => {
  const { client, world } = await openClient();
  await liveSubscription(client, world);
  await world.socket.says({ type: 'live', channel: 'chat', position: at(9) });
  await lose(world);
  await welcome(world);
  assert.equal(world.socket.takeOne('subscribe').since, at(7));
});

test('a removed listener of a subscription is not called', async () => {
  const { client, world } = await openClient();
  const { subscription } = await liveSubscription(client, world);
  const seen = [];
  const listener = ({ data }) => seen.push(data);
  subscription.on('message', listener);
  await world.socket.says(message(8));
  subscription.off('message', listener);
  await world.socket.says(message(9));
  assert.deepEqual(seen, ['m8']);
});

test('a page that was frozen before it could say connect comes back, although the server closed with 1008', async () => {
  const { client, world } = await newClient();
  await world.socket.opens();
  await world.socket.ends(1008, 'no connect came in time');
  assert.equal(client.state.name, 'waiting');
  await world.pass(500);
  await welcome(world);
  assert.equal(client.state.name, 'open');
});

test('a server whose reasons are longer than a close frame carries is left all the same', async () => {
  const { client, world } = await newClient();
  await world.socket.opens();
  const [socket] = world.sockets;
  const close = socket.close.bind(socket);
  // As browsers do.
  socket.close = (code, reason) => {
    if (new TextEncoder().encode(reason).length > 123) throw new DOMException('the reason is too long', 'SyntaxError');
    close(code, reason);
  };
  await socket.says({ type: 'error', id: socket.takeOne('connect').id, code: '語'.repeat(200), message: 'later', retry: 'later' });
  assert.deepEqual([client.state.name, socket.closedWith.code], ['waiting', 4000]);
});
