import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ReconnectingWebSocket } from '../src/index.js';
import { settled, World } from './simulated.js';

async function newSocket(options = {}, url = 'ws://raw.test/') {
  const world = new World();
  const socket = new ReconnectingWebSocket(url, ['raw'], { environment: world.environment, ...options });
  const events = [];
  for (const type of ['open', 'message', 'error', 'close', 'waiting']) {
    socket.addEventListener(type, (event) => events.push(event));
  }
  await settled();
  return { world, socket, events, types: () => events.map(({ type }) => type) };
}

test('it opens, sends, receives and tells as a WebSocket does', async () => {
  const { world, socket, events } = await newSocket();
  assert.ok(socket instanceof EventTarget);
  assert.deepEqual([socket.readyState, socket.CONNECTING, ReconnectingWebSocket.CONNECTING], [0, 0, 0]);
  assert.deepEqual(world.socket.protocols, ['raw']);
  const heard = [];
  socket.onmessage = ({ data }) => heard.push(data);
  socket.onopen = () => heard.push(socket.readyState);
  await world.socket.opens();
  socket.send('hi');
  await world.socket.says('hello');
  assert.deepEqual([heard, world.socket.sent, socket.url], [[1, 'hello'], ['hi'], 'ws://raw.test/']);
  socket.onmessage = null;
  await world.socket.says('again');
  assert.equal(heard.length, 2);
  assert.equal(events.at(-1).data, 'again');
});

test('a loss is told, then the wait, then the return; what was sent meanwhile goes out first', async () => {
  const { world, socket, events, types } = await newSocket();
  await world.socket.opens();
  await world.socket.ends(1006);
  assert.deepEqual(types(), ['open', 'close', 'waiting']);
  assert.deepEqual([socket.readyState, events[1].code, events[2].retryAt], [0, 1006, world.now + 1_000]);
  socket.send('a');
  socket.send(Uint8Array.of(1, 2));
  assert.equal(socket.bufferedAmount, 3);
  await world.pass(1_000);
  socket.onopen = () => socket.send('b');
  await world.socket.opens();
  assert.deepEqual(world.socket.sent, ['a', Uint8Array.of(1, 2), 'b']);
  assert.equal(socket.bufferedAmount, 0);
});

test('what waits for a connection has a bound', async () => {
  const { socket } = await newSocket({ maxQueuedBytes: 3 });
  socket.send('é');
  assert.throws(() => socket.send('é'), { name: 'QuotaExceededError' });
});

test('closing it ends it', async () => {
  const { world, socket, types } = await newSocket();
  await world.socket.opens();
  socket.close(3000, 'bye');
  assert.deepEqual([socket.readyState, world.socket.closedWith], [2, { code: 3000, reason: 'bye' }]);
  await world.socket.ends(3000);
  assert.equal(socket.readyState, 3);
  assert.deepEqual(types(), ['open', 'close']);
  await world.pass(600_000);
  assert.equal(world.sockets.length, 1);
  socket.send('into the void');
});

test('closing it while it is away ends it with 1006', async () => {
  const { world, socket, events } = await newSocket();
  await world.socket.opens();
  await world.socket.ends();
  socket.close();
  await settled();
  assert.deepEqual([socket.readyState, events.at(-1).type, events.at(-1).code], [3, 'close', 1006]);
  await world.pass(600_000);
  assert.equal(world.sockets.length, 1);
});

test('a close code that says not to come back is obeyed', async () => {
  const { world, socket, types } = await newSocket();
  await world.socket.opens();
  await world.socket.ends(1008);
  assert.deepEqual([socket.readyState, types()], [3, ['open', 'close']]);
  await world.pass(600_000);
  assert.equal(world.sockets.length, 1);
});

test('the application may not close with a code that is not its own', async () => {
  const { socket } = await newSocket();
  assert.throws(() => socket.close(1001), { name: 'InvalidAccessError' });
  assert.equal(socket.readyState, 0);
});

test('an address may be a function', async () => {
  let count = 0;
  const { world, socket } = await newSocket({}, async () => `ws://raw.test/${(count += 1)}`);
  await world.socket.ends();
  await world.pass(2_000);
  assert.deepEqual([world.sockets.map(({ url }) => url), socket.url], [['ws://raw.test/1', 'ws://raw.test/2'], 'ws://raw.test/2']);
});

test('with a heartbeat a dead connection is noticed', async () => {
  const { world } = await newSocket({ heartbeat: { message: 'ping', every: 5_000, within: 1_000 } });
  await world.socket.opens();
  await world.socket.says('pong');
  await world.pass(5_500);
  assert.deepEqual(world.sockets[0].sent, ['ping', 'ping']);
  assert.equal(world.sockets[0].closedWith, undefined);
  await world.pass(1_000);
  assert.ok(world.sockets[0].closedWith);
});

test('the kind of binary messages is kept over connections', async () => {
  const { world, socket } = await newSocket();
  assert.equal(socket.binaryType, 'blob');
  socket.binaryType = 'arraybuffer';
  await world.socket.ends();
  await world.pass(2_000);
  assert.equal(world.socket.binaryType, 'arraybuffer');
});
