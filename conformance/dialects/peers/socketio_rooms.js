// socket.io-client, unmodified, with the worked example of docs/dialects/socketio.md: socketio_rooms.js ORIGIN CLIENT.
'use strict';
const assert = require('node:assert/strict');
const fs = require('node:fs');
const { io } = require('socket.io-client');

const [origin, example] = process.argv.slice(2);
const ok = (what) => console.log(`ok ${what}`);
const options = { forceNew: true };

// A client that records its events.
function open(transports) {
  const socket = io(origin, { ...options, transports });
  const inbox = [];
  let arrived = () => {};
  socket.onAny((...event) => {
    inbox.push(event);
    arrived();
  });
  const until = async (count) => {
    while (inbox.length < count) await new Promise((resolve) => (arrived = resolve));
    return inbox.splice(0, count);
  };
  return { socket, inbox, until, ask: (...event) => socket.timeout(20_000).emitWithAck(...event) };
}

const connected = (socket) => socket.connected || new Promise((resolve) => socket.once('connect', resolve));

async function main() {
  const [bob, eve] = [open(['websocket']), open(['polling'])];
  await Promise.all([connected(bob.socket), connected(eve.socket)]);
  assert.equal((await bob.ask('join', 'kitchen')).offset, 0);
  assert.equal((await eve.ask('join', 'staff')).error.code, 'rejected');
  ok('the backend decides who joins a room');

  // The client of the page, unmodified. It prints what it hears.
  const printed = [];
  let told = () => {};
  const console_ = { log: (line) => { printed.push(line); told(); } };
  new Function('io', 'console', fs.readFileSync(example, 'utf8'))((url) => io(url, options), console_);
  while (printed.length < 2) await new Promise((resolve) => (told = resolve));
  assert.deepEqual(printed, ['Ann is online', 'Ann: Dinner is ready']);
  ok('the client of the page hears its own events, as the backend has changed them, and not its broadcast');
  assert.deepEqual(await bob.until(3), [
    ['online', 'Ann'],
    ['typing', 'Ann'],
    ['chat message', { name: 'Ann', text: 'Dinner is ready' }],
  ]);
  assert.deepEqual(await eve.until(1), [['online', 'Ann']]);
  ok('others in the room hear its events and its broadcast; everyone hears the lobby');

  bob.socket.emit('typing', 'Bob', 3, { fast: true });
  bob.socket.emit('chat message', { name: 'Bob', text: 'coming' });
  assert.deepEqual(await bob.until(1), [['chat message', { name: 'Bob', text: 'coming' }]]);
  while (printed.length < 4) await new Promise((resolve) => (told = resolve));
  assert.deepEqual(printed.slice(2), ['Bob is typing', 'Bob: coming']);
  await bob.ask('leave');
  assert.equal((await bob.ask('chat message', { name: 'Bob', text: 'x' })).error.code, 'not_subscribed');
  assert.equal(eve.inbox.length, 0);
  ok('a client that has left a room hears nothing of it');
  console.log('done');
}

main()
  .catch((error) => {
    console.log(`failed: ${error.stack}`.split('\n').slice(0, 3).join(' | '));
    console.log('done');
  })
  .finally(() => process.exit());
