// Whether an open connection is alive: silence, sleep, and events of the
// network and the page.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { newClient, openClient, welcome } from './conversation.js';
import { settled } from './simulated.js';

test('reconnect() checks an open connection, and ends a wait', async () => {
  const { client, world } = await openClient();
  client.reconnect();
  world.socket.takeOne('ping');
  await world.pass(4_000);
  assert.ok(world.sockets[0].closedWith);
  client.reconnect();
  await settled();
  assert.equal(world.sockets.length, 2);
  client.reconnect();
  await settled();
  assert.equal(world.sockets.length, 2, 'an attempt is not made anew');
});

test('a dead connection is detected when nothing is received', async () => {
  const { world } = await openClient();
  await world.pass(25_000);
  const { id } = world.socket.takeOne('ping');
  await world.socket.says({ type: 'pong', id });
  await world.pass(25_000);
  world.socket.takeOne('ping');
  await world.pass(9_999);
  assert.equal(world.sockets[0].closedWith, undefined);
  await world.pass(1);
  assert.ok(world.sockets[0].closedWith);
});

test('a connection that receives something is not checked', async () => {
  const { world } = await openClient();
  for (let turn = 0; turn < 10; turn += 1) {
    await world.pass(20_000);
    await world.socket.says({ type: 'token', resume: 'v1.x' });
  }
  assert.deepEqual(world.socket.take(), []);
});

test('a server that accepts and then sends nothing is given up', async () => {
  const { world } = await newClient();
  await world.socket.opens();
  await world.pass(10_000);
  assert.ok(world.sockets[0].closedWith);
});

test('after sleep the connection is checked immediately, and given up early', async () => {
  const { world } = await openClient();
  await world.sleep(3_600_000);
  world.socket.takeOne('ping');
  await world.pass(4_000);
  assert.ok(world.sockets[0].closedWith);
});

test('sleep during a check does not make the connection dead', async () => {
  const { world } = await openClient();
  await world.pass(25_000);
  world.socket.takeOne('ping');
  await world.sleep(3_600_000);
  const { id } = world.socket.takeOne('ping');
  await world.socket.says({ type: 'pong', id });
  await world.pass(10_000);
  assert.equal(world.sockets[0].closedWith, undefined);
});

test('the wait ends when the network comes back or the page gets the focus', async () => {
  for (const what of ['online', 'shown']) {
    const { world, states } = await openClient();
    await world.happens('offline');
    world.socket.take();
    await world.socket.ends();
    assert.equal(states.at(-1).name, 'offline');
    await world.happens(what);
    assert.equal(world.sockets.length, 2);
  }
});

test('an attempt from before the network came back is replaced', async () => {
  const { world, states } = await newClient();
  await world.happens('online');
  assert.equal(world.sockets.length, 2);
  assert.ok(world.sockets[0].closedWith);
  await welcome(world);
  assert.equal(states.at(-1).name, 'open');
  await world.pass(10_000);
  assert.equal(world.sockets.length, 2);
});

test('without a network it still tries: the browser may be wrong', async () => {
  const { world, states } = await openClient();
  await world.happens('offline');
  await world.socket.ends();
  assert.equal(states.at(-1).name, 'offline');
  await world.pass(states.at(-1).retryAt - world.now);
  assert.equal(world.sockets.length, 2);
});

test('events of a socket that was given up are ignored', async () => {
  const { client, world, states } = await openClient();
  const frames = [];
  await world.happens('offline');
  await world.pass(4_000);
  const [old] = world.sockets;
  assert.deepEqual(old.closedWith, { code: 4000, reason: 'no answer to a ping' });
  client.on('frame', ({ text }) => frames.push(text));
  const before = states.length;
  await old.says({ type: 'token', resume: 'v1.late' });
  old.onerror({});
  old.onopen?.({});
  await old.ends(1000);
  assert.deepEqual([states.length, frames], [before, []]);
});

test('losing the network checks an open connection, and shows a wait as offline', async () => {
  const { client, world } = await openClient();
  await world.happens('offline');
  await world.socket.says({ type: 'pong', id: world.socket.takeOne('ping').id });
  world.isOnline = true;
  await world.socket.ends();
  assert.equal(client.state.name, 'waiting');
  const { retryAt } = client.state;
  await world.happens('offline');
  assert.deepEqual([client.state.name, client.state.retryAt], ['offline', retryAt]);
  await world.pass(retryAt - world.now);
  await world.happens('offline');
  assert.equal(client.state.name, 'connecting');
});

test('a machine that slept while the connection was idle checks it, and gives up early', async () => {
  const { world } = await openClient();
  await world.pass(10_000);
  await world.sleep(20_000);
  world.socket.takeOne('ping');
  await world.pass(3_999);
  assert.equal(world.sockets[0].closedWith, undefined);
  await world.pass(1);
  assert.ok(world.sockets[0].closedWith);
});

test('repeated checks leave one timer', async () => {
  const { client, world } = await openClient();
  client.reconnect();
  const { timers } = world;
  for (let turn = 0; turn < 5; turn += 1) {
    client.reconnect();
    await world.socket.says({ type: 'pong', id: world.socket.take().at(-1).id });
  }
  assert.equal(world.timers, timers);
});

test('in a hidden page, whose timers fire once a minute, a dead connection is noticed, and one that answers is kept', async () => {
  const { client, world } = await openClient();
  for (let minute = 0; minute < 5; minute += 1) {
    await world.sleep(60_000);
    await world.socket.says({ type: 'pong', id: world.socket.takeOne('ping').id });
  }
  assert.equal(world.sockets[0].closedWith, undefined);
  await world.sleep(60_000);
  world.socket.takeOne('ping');
  await world.sleep(60_000);
  assert.ok(world.sockets[0].closedWith);
  assert.equal(client.state.name, 'waiting');
});

test('a new connection may be slept through once, too', async () => {
  const { world } = await openClient();
  for (let minute = 0; minute < 2; minute += 1) await world.sleep(60_000);
  await world.pass(500);
  await world.socket.opens();
  world.socket.takeOne('connect');
  await world.sleep(60_000);
  assert.equal(world.socket.closedWith, undefined);
  await world.pass(4_000);
  assert.ok(world.sockets[1].closedWith);
});
