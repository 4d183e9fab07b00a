// @stomp/stompjs 7, unmodified: stomp.js WEBSOCKET_URL. Prints a line for each check; the line `kill` makes the caller kill
// and restart the server.
'use strict';
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { Client, Versions } = require('@stomp/stompjs');
const { WebSocket } = require('ws');

Object.assign(globalThis, { WebSocket });
const [url] = process.argv.slice(2);
const ok = (what) => console.log(`ok ${what}`);

/** A queue of what arrives, and a promise for the next of it. */
function inbox() {
  const items = [];
  let arrived = () => {};
  return {
    put: (item) => {
      items.push(item);
      arrived();
    },
    next: async () => {
      while (!items.length) await new Promise((resolve) => (arrived = resolve));
      return items.shift();
    },
    count: () => items.length,
  };
}

/** A connected client. `subscribe` is repeated by the client itself after a reconnect. */
async function start(options = {}, version = '1.2') {
  const connects = inbox();
  const errors = inbox();
  const subscriptions = [];
  const client = new Client({
    brokerURL: url,
    stompVersions: new Versions([version]),
    reconnectDelay: 200,
    ...options,
    onConnect: (frame) => {
      for (const [destination, put, headers] of subscriptions) client.subscribe(destination, put, headers);
      connects.put(frame);
    },
    onStompError: (frame) => errors.put(frame),
  });
  client.activate();
  const connected = await connects.next();
  let receipts = 0;
  const receipt = () => {
    const id = `receipt-${++receipts}`;
    const given = new Promise((resolve) => client.watchForReceipt(id, resolve));
    return [id, given];
  };
  return {
    client,
    connected,
    connects,
    errors,
    /** Subscribes, and returns the inbox once the server has confirmed it. */
    async subscribe(destination, headers = {}) {
      const messages = inbox();
      const [id, given] = receipt();
      subscriptions.push([destination, messages.put, headers]);
      client.subscribe(destination, messages.put, { ...headers, receipt: id });
      await given;
      return messages;
    },
    /** Publishes, and waits until the message is durable. */
    async publish(destination, body, more = {}) {
      const [id, given] = receipt();
      const content = typeof body === 'string' ? { body } : { binaryBody: body };
      client.publish({ destination, ...content, ...more, headers: { ...more.headers, receipt: id } });
      await given;
    },
    stop: () => client.deactivate(),
  };
}

async function talks(version) {
  const name = `stompjs ${version}`;
  const alice = await start({ connectHeaders: { login: 'alice' } }, version);
  assert.equal(alice.connected.headers.version, version);
  const room = `/topic/room/${version}`;
  // In 1.1, stompjs neither escapes nor unescapes.
  const escapes = version === '1.2';
  const messages = await alice.subscribe(room, { id: escapes ? 'a:b' : 'room' });
  const bob = await start({}, version);
  await bob.publish(room, '{"n":1}', { headers: { 'content-type': 'application/json', a: '1' } });
  const message = await messages.next();
  assert.deepEqual([message.body, message.headers.a, message.headers.destination], ['{"n":1}', '1', room]);
  assert.equal(message.headers['content-type'], 'application/json');
  ok(`${name}: publishes with a receipt and receives, with headers`);
  await bob.publish(room, 'a\0b grün');
  assert.equal((await messages.next()).body, 'a\0b grün');
  await bob.publish(room, new Uint8Array([0xff, 0, 1]));
  assert.deepEqual([...(await messages.next()).binaryBody], [0xff, 0, 1]);
  ok(`${name}: carries text with a NUL, and bytes that are no UTF-8`);
  if (escapes) {
    await bob.publish(room, 'x', { headers: { strange: 'c\\d\ne:f' } });
    assert.equal((await messages.next()).headers.strange, 'c\\d\ne:f');
    ok(`${name}: escapes values of headers`);
  }
  await alice.stop();
  await bob.stop();
}

async function acknowledges() {
  const { client, subscribe, publish, stop } = await start();
  const messages = await subscribe('/queue/acks', { ack: 'client-individual' });
  await publish('/queue/acks', '1');
  await publish('/queue/acks', '2');
  const first = await messages.next();
  const second = await messages.next();
  assert.deepEqual([first.body, second.body, first.headers.redelivered], ['1', '2', undefined]);
  first.nack();
  const again = await messages.next();
  assert.deepEqual([again.body, again.headers.redelivered, again.headers.deliveries], ['1', 'true', '2']);
  again.ack();
  second.ack();
  ok('stompjs: a refused message of a queue comes again with a count');
  const transaction = client.begin();
  for (const body of ['3', '4']) {
    client.publish({ destination: '/queue/acks', body, headers: { transaction: transaction.id } });
  }
  await publish('/queue/acks', 'before');
  const before = await messages.next();
  assert.equal(before.body, 'before');
  before.ack();
  transaction.commit();
  for (const body of ['3', '4']) {
    const message = await messages.next();
    assert.equal(message.body, body);
    message.ack();
  }
  const aborted = client.begin();
  client.publish({ destination: '/queue/acks', body: 'never', headers: { transaction: aborted.id } });
  aborted.abort();
  await publish('/queue/acks', 'after');
  assert.equal((await messages.next()).body, 'after');
  ok('stompjs: a transaction is published when it is committed, and not when it is aborted');
  await stop();
}

async function shares() {
  const consumers = await Promise.all([1, 2, 3].map(() => start()));
  const inboxes = await Promise.all(
    consumers.map(({ subscribe }) => subscribe('/queue/shared', { ack: 'client-individual', 'prefetch-count': '1' })),
  );
  const sender = await start();
  for (let n = 0; n < 9; n++) await sender.publish('/queue/shared', String(n));
  const got = [];
  for (let round = 0; round < 3; round++) {
    const messages = [];
    for (const inbox of inboxes) messages.push(await inbox.next());
    got.push(...messages.map(({ body }) => Number(body)));
    for (const message of messages) message.ack();
  }
  assert.deepEqual(got.sort((a, b) => a - b), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
  ok('stompjs: three consumers share a queue, each with one message at a time');
  for (const { stop } of [...consumers, sender]) await stop();
}

async function beats() {
  const beat = inbox();
  const debug = (line) => (line.includes('PONG') ? beat.put(line) : undefined);
  const { connected, stop } = await start({ heartbeatIncoming: 1000, heartbeatOutgoing: 1000, debug });
  assert.match(connected.headers['heart-beat'], /^[0-9]+,[0-9]+$/);
  await beat.next();
  await beat.next();
  await stop();
  ok('stompjs: heart-beats of the server arrive');
}

async function fails() {
  const { client, errors, connects, stop } = await start();
  client.subscribe('nowhere', () => {});
  const error = await errors.next();
  assert.equal(error.headers.message, 'bad destination');
  await connects.next();
  await stop();
  ok('stompjs: a violation of the protocol is an ERROR, after which it reconnects');
}

async function survives() {
  const durable = await start({ connectHeaders: { 'client-id': 'stompjs-durable' } });
  const news = await durable.subscribe('/topic/news', { id: 'news', ack: 'client', durable: 'true' });
  const worker = await start();
  const jobs = await worker.subscribe('/queue/jobs', { ack: 'client-individual' });
  const sender = await start();
  await sender.publish('/topic/news', '1');
  await sender.publish('/queue/jobs', '1');
  await sender.publish('/queue/jobs', '2');
  assert.equal((await news.next()).body, '1');
  const job = await jobs.next();
  assert.equal((await jobs.next()).body, '2');
  await sender.publish('/topic/news', '2');
  assert.equal((await news.next()).body, '2');
  const lost = [durable, worker, sender].map(({ connects }) => connects.next());
  console.log('kill');
  await Promise.all(lost);
  ok('stompjs: reconnects to the restarted server');
  const again = [await news.next(), await news.next()];
  assert.deepEqual(again.map(({ body }) => body), ['1', '2']);
  again[1].ack();
  ok('stompjs: a durable subscription gets what it had not acknowledged before the kill');
  const left = [await jobs.next(), await jobs.next()];
  assert.deepEqual(left.map(({ body }) => body), ['1', '2']);
  // An acknowledgement of the lost connection means nothing on this one.
  job.ack();
  for (const message of left) message.ack();
  await sender.publish('/queue/jobs', '3');
  assert.equal((await jobs.next()).body, '3');
  ok('stompjs: a queue delivers what was not acknowledged before the kill');
  for (const { stop } of [durable, worker, sender]) await stop();
}

async function offers() {
  const socket = new WebSocket(url, ['v12.stomp', 'v11.stomp', 'v10.stomp']);
  await once(socket, 'open');
  assert.equal(socket.protocol, 'v12.stomp');
  socket.close();
  ok('ws: the newest subprotocol is chosen');
}

async function main() {
  await offers();
  for (const version of ['1.0', '1.1', '1.2']) await talks(version);
  await acknowledges();
  await shares();
  await beats();
  await fails();
  await survives();
  console.log('done');
  process.exit(0);
}

main().catch((error) => {
  console.log(`failed: ${String(error.stack).replaceAll('\n', ' ')}`);
  process.exit(1);
});
