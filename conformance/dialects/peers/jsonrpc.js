// rpc-websockets and json-rpc-2.0, unmodified: jsonrpc.js URL. Prints a line for each check; the line `kill` makes the caller kill and restart the server.
'use strict';
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { Client } = require('rpc-websockets');
const { JSONRPCClient } = require('json-rpc-2.0');
const { WebSocket } = require('ws');

const [url] = process.argv.slice(2);
const ok = (what) => console.log(`ok ${what}`);

// json-rpc-2.0 creates the requests, and leaves the transport to its user.
async function generic(receive) {
  const socket = new WebSocket(url);
  await once(socket, 'open');
  const client = new JSONRPCClient((request) => socket.send(JSON.stringify(request)));
  socket.on('message', (data) => {
    const message = JSON.parse(data);
    if (message.method) receive(message);
    else client.receive(message);
  });
  return { client, socket };
}

/** Runs the example of docs/dialects/jsonrpc.md; only the address differs. */
async function documented() {
  const page = readFileSync(join(__dirname, '../../../docs/dialects/jsonrpc.md'), 'utf8');
  const [, example] = page.match(/```js\n(.+?)```/s);
  const made = [];
  class Noted extends Client {
    constructor(...options) {
      super(...options);
      made.push(this);
    }
  }
  const printed = new Promise((resolve) => {
    new Function('Client', 'console', example.replace('ws://localhost:8000/rpc', url))(Noted, { log: resolve });
  });
  assert.equal(await printed, 'hi');
  made.forEach((client) => client.close());
  ok('rpc-websockets: the example of the documentation');
}

async function main() {
  await documented();
  const events = new Client(url, { autoconnect: true, reconnect: true, reconnect_interval: 100, max_reconnects: 0 });
  await new Promise((resolve) => events.once('open', resolve));
  assert.deepEqual(await events.subscribe('room'), { room: 'ok' });
  ok('rpc-websockets: subscribes');
  const heard = new Promise((resolve) => events.once('room', resolve));
  const first = await events.call('publish', { channel: 'room', data: { text: 'Grüße' }, key: 'one' });
  assert.equal(first.offset, 1);
  assert.deepEqual((await heard).data, { text: 'Grüße' });
  ok('rpc-websockets: receives publications as events');
  const again = await events.call('publish', ['room', { text: 'Grüße' }, 'one']);
  assert.equal(again.duplicate, true);
  ok('rpc-websockets: publishes once under a key');
  await assert.rejects(events.call('dance'), (error) => error.code === -32601);
  ok('rpc-websockets: an unknown method is refused');
  events.notify('publish', ['room', 'a notification']);

  const inbox = [];
  let arrived = () => {};
  const { client, socket } = await generic((message) => {
    inbox.push(message);
    arrived();
  });
  const until = async (seen) => {
    while (!inbox.some(seen)) await new Promise((resolve) => (arrived = resolve));
  };
  const number = await client.request('subscribe', { channel: 'room', since: 'start' });
  const offset = (message) => message.params.result?.offset;
  await until((message) => offset(message) === 2);
  ok('json-rpc-2.0: reads from the start');
  const batch = await client.requestAdvanced([
    { jsonrpc: '2.0', id: 'a', method: 'ping' },
    { jsonrpc: '2.0', id: 'b', method: 'history', params: ['room', 'start', 1] },
  ]);
  assert.deepEqual(batch.map(({ id }) => id).sort(), ['a', 'b']);
  ok('json-rpc-2.0: a batch gets one answer');
  const { total } = await client.request('presence', ['room']);
  assert.equal(total, 2);
  ok('json-rpc-2.0: both clients are present');
  await assert.rejects(client.request('unsubscribe', ['x']), (error) => error.code === -32602);
  assert.equal(await client.request('unsubscribe', [number]), true);
  assert.equal(await client.request('unsubscribe', [number]), false);
  ok('json-rpc-2.0: unsubscribes once');

  const closed = once(socket, 'close');
  const reopened = new Promise((resolve) => events.once('open', resolve));
  console.log('kill');
  await Promise.all([closed, reopened]);
  ok('rpc-websockets: reconnects after the server was killed');
  const third = await events.call('publish', { channel: 'room', data: 'after the kill' });
  assert.equal(third.offset, 3);
  inbox.length = 0;
  const back = await generic((message) => {
    inbox.push(message);
    arrived();
  });
  const since = { epoch: first.epoch, offset: first.offset };
  await back.client.request('subscribe', { channel: 'room', since });
  await until((message) => message.method === 'live');
  const offsets = inbox.filter((message) => message.method === 'subscription').map(offset);
  assert.deepEqual(offsets, [2, 3]);
  assert.ok(!inbox.some((message) => message.method === 'gap'));
  ok('json-rpc-2.0: a position from before the kill continues without a gap');
  events.close();
  back.socket.close();
  console.log('done');
}

main().catch((error) => {
  console.log(`failed: ${error.stack}`.split('\n').slice(0, 3).join(' | '));
  process.exitCode = 1;
  console.log('done');
});
