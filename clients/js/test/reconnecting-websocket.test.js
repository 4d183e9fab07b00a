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
  assert.deepEqual([socket.readyState, events[1].code, events[2].retryAt], [0, 1006, world.now + 500]);
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

test('what a WebSocket has, it has: constants, handlers, protocol, extensions, and an address', async () => {
  const { world, socket } = await newSocket();
  const { CONNECTING, OPEN, CLOSING, CLOSED } = ReconnectingWebSocket;
  assert.deepEqual([CONNECTING, OPEN, CLOSING, CLOSED], [0, 1, 2, 3]);
  assert.deepEqual([socket.CONNECTING, socket.OPEN, socket.CLOSING, socket.CLOSED], [0, 1, 2, 3]);
  Object.assign(world.socket, { protocol: 'raw', extensions: 'permessage-deflate', bufferedAmount: 5 });
  assert.deepEqual([socket.protocol, socket.extensions, socket.bufferedAmount], ['raw', 'permessage-deflate', 5]);
  await world.socket.ends();
  assert.deepEqual([socket.protocol, socket.extensions, socket.bufferedAmount, socket.url], ['', '', 0, 'ws://raw.test/']);
  const handler = () => {};
  socket.onerror = handler;
  assert.equal(socket.onerror, handler);
  socket.onerror = 'nothing to call';
  assert.equal(socket.onerror, null);
});

test('an address that is a function is known once it was asked', async () => {
  const { socket } = await newSocket({}, () => 'ws://asked.test/');
  const unasked = new ReconnectingWebSocket(() => 'ws://asked.test/', [], { environment: new World().environment });
  assert.deepEqual([unasked.url, socket.url], ['', 'ws://asked.test/']);
  unasked.close();
});

test('a failure is an `error`, and a loss before it was open is no `close`', async () => {
  const { world, types } = await newSocket();
  world.socket.onerror({});
  await world.socket.ends();
  assert.deepEqual(types(), ['error', 'waiting']);
  world.isOnline = false;
  await world.pass(500);
  await world.socket.ends();
  assert.deepEqual(types(), ['error', 'waiting', 'waiting']);
});

test('a close says whether it was clean', async () => {
  const { world, events } = await newSocket();
  await world.socket.opens();
  await world.socket.ends(1001);
  assert.deepEqual([events[1].wasClean, events[1].code], [true, 1001]);
  await world.pass(2_000);
  await world.socket.opens();
  await world.socket.ends(1006);
  const { wasClean } = events.findLast(({ type }) => type === 'close');
  assert.equal(wasClean, false);
});

test('closing it before it is open ends it with 1006 that was not clean', async () => {
  const { world, socket, events } = await newSocket();
  socket.close();
  await settled();
  assert.deepEqual([socket.readyState, events.map(({ type, code, wasClean }) => [type, code, wasClean])], [3, [['close', 1006, false]]]);
  assert.deepEqual(world.socket.closedWith, { code: 1000, reason: '' });
  socket.send('into the void');
  socket.close(3000);
  await settled();
  assert.equal(events.length, 1);
});

test('closing an open one waits for the other side, and nothing is sent meanwhile', async () => {
  const { world, socket } = await newSocket({ heartbeat: { message: 'ping', every: 1_000, within: 500 } });
  await world.socket.opens();
  await world.socket.says('pong');
  socket.close(4999);
  socket.close(3000);
  socket.send('too late');
  assert.deepEqual([socket.readyState, world.socket.closedWith.code, world.socket.sent, socket.bufferedAmount], [2, 4999, ['ping'], 0]);
  await world.socket.ends(1006);
  await world.pass(600_000);
  assert.deepEqual([socket.readyState, world.sockets.length], [3, 1]);
});

test('an address that no WebSocket can be opened for ends it, and says why', async () => {
  const world = new World();
  world.environment.open = () => { throw new SyntaxError('no such address'); };
  const socket = new ReconnectingWebSocket('ws://raw.test/', [], { environment: world.environment });
  const closed = new Promise((resolve) => socket.addEventListener('close', resolve));
  const { code, reason, wasClean } = await closed;
  assert.deepEqual([socket.readyState, code, reason, wasClean], [3, 1006, 'no such address', false]);
});

test('a connection that is given up as dead is lost with 1006, uncleanly', async () => {
  const { world, events } = await newSocket({ heartbeat: { message: 'ping', within: 500 } });
  await world.socket.opens();
  await world.pass(500);
  const { code, reason, wasClean } = events.find(({ type }) => type === 'close');
  assert.deepEqual([code, reason, wasClean], [1006, 'no answer to a ping', false]);
});

test('before there is a socket it looks like one that is not open', () => {
  const socket = new ReconnectingWebSocket('ws://raw.test/', [], { environment: new World().environment });
  const { readyState, binaryType, bufferedAmount, protocol, extensions, url } = socket;
  assert.deepEqual([readyState, binaryType, bufferedAmount, protocol, extensions, url], [0, 'blob', 0, '', '', 'ws://raw.test/']);
  assert.deepEqual(['onopen', 'onmessage', 'onerror', 'onclose'].map((name) => Object.keys(socket).includes(name)), [true, true, true, true]);
});

test('an address that is looked up is the one of the socket', async () => {
  const found = ['ws://one.test/', 'ws://two.test/'];
  const { world, socket } = await newSocket({}, async () => found.shift());
  assert.equal(socket.url, 'ws://one.test/');
  await world.socket.ends();
  await world.pass(1_000);
  assert.deepEqual([world.socket.url, socket.url], ['ws://two.test/', 'ws://two.test/']);
});

test('5000 and 2999 are not the application’s', async () => {
  const { socket } = await newSocket();
  for (const code of [999, 1001, 2999, 5000]) assert.throws(() => socket.close(code), { name: 'InvalidAccessError' });
});

test('exactly as much as may wait does', async () => {
  const { socket } = await newSocket({ maxQueuedBytes: 4 });
  socket.send('éé');
  assert.equal(socket.bufferedAmount, 4);
  assert.throws(() => socket.send('a'), { name: 'QuotaExceededError' });
});

test('a Blob counts with its size', async () => {
  const { socket } = await newSocket({ maxQueuedBytes: 4 });
  socket.send(new Blob(['abc']));
  assert.equal(socket.bufferedAmount, 3);
});

test('reconnect() ends a wait, and asks an open one with a heartbeat whether it lives', async () => {
  const { world, socket } = await newSocket({ heartbeat: { message: 'ping' } });
  await world.socket.ends();
  socket.reconnect();
  await settled();
  assert.equal(world.sockets.length, 2);
  await world.socket.opens();
  await world.socket.says('pong');
  socket.reconnect();
  assert.deepEqual(world.socket.sent, ['ping', 'ping']);
});

test('the kind of binary messages is set on an open socket, and is the socket’s own until then', async () => {
  const { world, socket } = await newSocket();
  world.socket.binaryType = 'nodebuffer';
  assert.equal(socket.binaryType, 'nodebuffer');
  socket.binaryType = 'arraybuffer';
  assert.deepEqual([world.socket.binaryType, socket.binaryType], ['arraybuffer', 'arraybuffer']);
  await world.socket.ends();
  socket.binaryType = 'blob';
  await world.pass(1_000);
  assert.equal(world.socket.binaryType, 'blob');
});

test('without a kind of binary messages the socket keeps its own', async () => {
  const { world } = await newSocket();
  assert.equal('binaryType' in world.socket, false);
});
