// node's `ws` as a client: ws_client.js URL [CA]. Prints a line for each check;
// the exit status is 0 only if all passed.
'use strict';
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { readFileSync } = require('node:fs');
const { WebSocket } = require('ws');

const [url, ca] = process.argv.slice(2);
const options = ca ? { ca: readFileSync(ca) } : {};

async function open() {
  const socket = new WebSocket(url, options);
  await once(socket, 'open');
  return socket;
}

async function echoed(socket, name, message) {
  const answer = once(socket, 'message');
  if (Array.isArray(message)) {
    message.forEach((piece, i) => socket.send(piece, { fin: i === message.length - 1 }));
    message = message.join('');
  } else {
    socket.send(message);
  }
  const [data, isBinary] = await answer;
  assert.equal(isBinary, typeof message !== 'string', `${name}: the kind`);
  assert.ok(Buffer.from(message).equals(data), `${name}: the echo differs from the message`);
  console.log(`ok ${name}`);
}

async function main() {
  const socket = await open();
  assert.match(socket.extensions, /permessage-deflate/);
  console.log('ok permessage-deflate negotiated');
  await echoed(socket, 'text', 'Grüße, 世界 👋');
  await echoed(socket, 'an empty text', '');
  await echoed(socket, 'binary', Buffer.from([0, 1, 254, 255]));
  await echoed(socket, '1 MiB', Buffer.alloc(1 << 20, 'some bytes '));
  await echoed(socket, 'fragments', ['one, ', 'two, ', 'three']);

  const pong = once(socket, 'pong');
  socket.ping('there?');
  assert.equal(String((await pong)[0]), 'there?');
  console.log('ok ping');

  const closed = once(socket, 'close');
  socket.close(3000, 'done');
  assert.equal((await closed)[0], 3000);
  console.log('ok close with 3000');

  const other = await open();
  const refused = once(other, 'close');
  other.on('error', () => {}); // A write may fail once the server has closed.
  other.send(require('node:crypto').randomBytes(3 << 20), { compress: false });
  assert.equal((await refused)[0], 1009);
  console.log('ok 3 MiB with a limit of 2: 1009');
}

main().catch((error) => {
  console.log(`failed ${error.message.replace(/\s+/g, ' ')}`);
  process.exit(1);
});
