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

test('it opens, sends, receives and fires events like a WebSocket', async () => {
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

test('after a loss: close, then waiting, then open; messages sent in between are delivered first', async () => {
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

test('the queue for messages without a connection is limited', async () => {
  const { socket } = await newSocket({ maxQueuedBytes: 3 });
  socket.send('é');
  assert.throws(() => socket.send('é'), { name: 'QuotaExceededError' });
});

test('close() closes it', async () => {
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

test('close() while disconnected closes it with 1006', async () => {
  const { world, socket, events } = await newSocket();
  await world.socket.opens();
  await world.socket.ends();
  socket.close();
  await settled();
  assert.deepEqual([socket.readyState, events.at(-1).type, events.at(-1).code], [3, 'close', 1006]);
  await world.pass(600_000);
  assert.equal(world.sockets.length, 1);
});

test('a close code that rules out reconnecting is respected', async () => {
  const { world, socket, types } = await newSocket();
  await world.socket.opens();
  await world.socket.ends(1008);
  assert.deepEqual([socket.readyState, types()], [3, ['open', 'close']]);
  await world.pass(600_000);
  assert.equal(world.sockets.length, 1);
});

test('the application cannot close with a reserved code', async () => {
  const { socket } = await newSocket();
  assert.throws(() => socket.close(1001), { name: 'InvalidAccessError' });
  assert.equal(socket.readyState, 0);
});

test('the address can be a function', async () => {
  let count = 0;
  const { world, socket } = await newSocket({}, async () => `ws://raw.test/${(count += 1)}`);
  await world.socket.ends();
  await world.pass(2_000);
  assert.deepEqual([world.sockets.map(({ url }) => url), socket.url], [['ws://raw.test/1', 'ws://raw.test/2'], 'ws://raw.test/2']);
});

test('with a heartbeat, a dead connection is detected', async () => {
  const { world } = await newSocket({ heartbeat: { message: 'ping', every: 5_000, within: 1_000 } });
  await world.socket.opens();
  await world.socket.says('pong');
  await world.pass(5_500);
  assert.deepEqual(world.sockets[0].sent, ['ping', 'ping']);
  assert.equal(world.sockets[0].closedWith, undefined);
  await world.pass(1_000);
  assert.ok(world.sockets[0].closedWith);
});

test('binaryType is kept over reconnects', async () => {
  const { world, socket } = await newSocket();
  assert.equal(socket.binaryType, 'blob');
  socket.binaryType = 'arraybuffer';
  await world.socket.ends();
  await world.pass(2_000);
  assert.equal(world.socket.binaryType, 'arraybuffer');
});

test('it has all members of WebSocket: constants, handlers, protocol, extensions, and an address', async () => {
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

test('url is known once the function for the address has been called', async () => {
  const { socket } = await newSocket({}, () => 'ws://asked.test/');
  const unasked = new ReconnectingWebSocket(() => 'ws://asked.test/', [], { environment: new World().environment });
  assert.deepEqual([unasked.url, socket.url], ['', 'ws://asked.test/']);
  unasked.close();
});

test('a failed attempt is an `error`, and a loss before opening is not a `close`', async () => {
  const { world, types } = await newSocket();
  world.socket.onerror({});
  await world.socket.ends();
  assert.deepEqual(types(), ['error', 'waiting']);
  world.isOnline = false;
  await world.pass(500);
  await world.socket.ends();
  assert.deepEqual(types(), ['error', 'waiting', 'waiting']);
});

test('a close event says whether it was clean', async () => {
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

test('close() before it opens: 1006, not clean', async () => {
  const { world, socket, events } = await newSocket();
  socket.close();
  await settled();
  assert.deepEqual([socket.readyState, events.map(({ type, code, wasClean }) => [type, code, wasClean])], [3, [['close', 1006, false]]]);
  assert.deepEqual(world.socket.closedWith, { code: 1000, reason: undefined });
  socket.send('into the void');
  socket.close(3000);
  await settled();
  assert.equal(events.length, 1);
});

test('close() on an open one waits for the peer, and nothing is sent meanwhile', async () => {
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

test('an address that no WebSocket accepts closes it, and the error says why', async () => {
  const world = new World();
  world.environment.open = () => { throw new SyntaxError('no such address'); };
  const socket = new ReconnectingWebSocket('ws://raw.test/', [], { environment: world.environment });
  const closed = new Promise((resolve) => socket.addEventListener('close', resolve));
  const { code, reason, wasClean } = await closed;
  assert.deepEqual([socket.readyState, code, reason, wasClean], [3, 1006, 'no such address', false]);
});

test('a connection detected as dead is lost with 1006, not clean', async () => {
  const { world, events } = await newSocket({ heartbeat: { message: 'ping', within: 500 } });
  await world.socket.opens();
  await world.pass(500);
  const { code, reason, wasClean } = events.find(({ type }) => type === 'close');
  assert.deepEqual([code, reason, wasClean], [1006, 'no answer to a ping', false]);
});

test('without a socket its members are those of a closed WebSocket', () => {
  const socket = new ReconnectingWebSocket('ws://raw.test/', [], { environment: new World().environment });
  const { readyState, binaryType, bufferedAmount, protocol, extensions, url } = socket;
  assert.deepEqual([readyState, binaryType, bufferedAmount, protocol, extensions, url], [0, 'blob', 0, '', '', 'ws://raw.test/']);
  assert.deepEqual(['onopen', 'onmessage', 'onerror', 'onclose'].map((name) => Object.keys(socket).includes(name)), [true, true, true, true]);
});

test('a computed address is the one of the socket', async () => {
  const found = ['ws://one.test/', 'ws://two.test/'];
  const { world, socket } = await newSocket({}, async () => found.shift());
  assert.equal(socket.url, 'ws://one.test/');
  await world.socket.ends();
  await world.pass(1_000);
  assert.deepEqual([world.socket.url, socket.url], ['ws://two.test/', 'ws://two.test/']);
});

test('5000 and 2999 are not available to the application', async () => {
  const { socket } = await newSocket();
  for (const code of [999, 1001, 2999, 5000]) assert.throws(() => socket.close(code), { name: 'InvalidAccessError' });
});

test('the queue accepts exactly as much as its limit', async () => {
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

test('reconnect() ends a wait, and checks an open connection that has a heartbeat', async () => {
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

test('binaryType is set on an open socket; until then it is the socket’s own', async () => {
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

test('without binaryType the socket’s own is kept', async () => {
  const { world } = await newSocket();
  assert.equal('binaryType' in world.socket, false);
});

test('a clean close is reported with its code and reason', async () => {
  const { world, socket, events } = await newSocket();
  await world.socket.opens();
  socket.close(3000, 'bye');
  await world.socket.ends(3000, 'bye');
  await settled();
  const { code, reason, wasClean } = events.at(-1);
  assert.deepEqual([socket.readyState, code, reason, wasClean], [3, 3000, 'bye', true]);
});

test('errors of a socket that was given up are ignored', async () => {
  const { world, types } = await newSocket({ heartbeat: { message: 'ping', within: 500 } });
  await world.socket.opens();
  await world.pass(500);
  world.sockets[0].onerror({});
  assert.equal(types().includes('error'), false);
});
