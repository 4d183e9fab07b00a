// MQTT.js 5, unmodified, in both versions: mqtt.js WEBSOCKET_URL TCP_URL NATIVE_URL. Prints a line for each check;
// the line `kill` makes the caller kill and restart the server.
'use strict';
const assert = require('node:assert/strict');
const { once } = require('node:events');
const mqtt = require('mqtt');
const { WebSocket } = require('ws');

const [websocket, tcp, native] = process.argv.slice(2);
const ok = (what) => console.log(`ok ${what}`);

/** A client that collects its messages. */
async function start(url, options) {
  const client = mqtt.connect(url, { reconnectPeriod: 100, ...options });
  const inbox = [];
  let arrived = () => {};
  client.on('message', (topic, payload, packet) => {
    inbox.push({ topic, text: payload.toString(), packet });
    arrived();
  });
  client.until = async (count) => {
    while (inbox.length < count) await new Promise((resolve) => (arrived = resolve));
    return inbox.splice(0, count);
  };
  client.count = () => inbox.length;
  const [connack] = await once(client, 'connect');
  return { client, connack };
}

const texts = (messages) => messages.map(({ text }) => text);

/** A client of the native dialect that is subscribed to the channel. */
async function nativeClient(channel) {
  const socket = new WebSocket(native, 'offhook.v1.json');
  await once(socket, 'open');
  const heard = [];
  let arrived = () => {};
  socket.on('message', (data) => {
    heard.push(JSON.parse(data));
    arrived();
  });
  const until = async (type) => {
    for (;;) {
      const at = heard.findIndex((message) => message.type === type);
      if (at >= 0) return heard.splice(at, 1)[0];
      await new Promise((resolve) => (arrived = resolve));
    }
  };
  socket.send('{"type":"connect","id":1}');
  await until('welcome');
  socket.send(JSON.stringify({ type: 'subscribe', id: 2, channel }));
  await until('subscribed');
  return { socket, until };
}

async function talks(version, url) {
  const name = `MQTT.js ${version === 5 ? '5.0' : '3.1.1'} by ${new URL(url).protocol.slice(0, -1)}`;
  const room = `room/${version}/${new URL(url).protocol.slice(0, -1)}`;
  const clientId = `js-${room}`;
  const options = { protocolVersion: version, clientId, clean: false };
  if (version === 5) options.properties = { sessionExpiryInterval: 3600 };
  const { client } = await start(url, options);
  const granted = await client.subscribeAsync({ [`${room}/+`]: { qos: 2 }, [`${room}/a/b`]: { qos: 0 } });
  assert.deepEqual(granted.map(({ qos }) => qos).sort(), [0, 2]);
  ok(`${name}: subscribes`);
  for (const qos of [0, 1, 2]) await client.publishAsync(`${room}/x`, `qos ${qos}`, { qos });
  const got = await client.until(3);
  assert.deepEqual(texts(got), ['qos 0', 'qos 1', 'qos 2']);
  assert.deepEqual(got.map(({ packet }) => packet.qos), [0, 1, 2]);
  ok(`${name}: sends and receives all three QoS, in order`);

  const other = await nativeClient(`${room}/x`);
  await client.publishAsync(`${room}/x`, '{"from":"mqtt"}', { qos: 1 });
  const message = await other.until('message');
  assert.deepEqual(message.data, { from: 'mqtt' });
  other.socket.send(JSON.stringify({ type: 'publish', id: 3, channel: `${room}/x`, data: { from: 'native' } }));
  assert.deepEqual(texts(await client.until(2)), ['{"from":"mqtt"}', '{"from":"native"}']);
  await client.publishAsync(`${room}/x`, Buffer.from([0xff, 0]), { qos: 1 });
  assert.equal((await other.until('message')).base64 ?? null, null, 'the echo of the native client comes first');
  assert.equal((await other.until('message')).base64, '/wA=');
  await client.until(1);
  other.socket.close();
  ok(`${name}: exchanges JSON, text and bytes with native clients`);

  await client.publishAsync(`${room}/kept`, 'newest', { qos: 1, retain: true });
  await client.until(1);
  const late = await start(url, { protocolVersion: version, clientId: `${clientId}-late` });
  await late.client.subscribeAsync(`${room}/#`, { qos: 1 });
  const [kept] = await late.client.until(1);
  assert.deepEqual([kept.text, kept.packet.retain], ['newest', true]);
  await client.publishAsync(`${room}/kept`, '', { qos: 1, retain: true });
  await late.client.until(1);
  await late.client.unsubscribeAsync(`${room}/#`);
  await late.client.subscribeAsync(`${room}/#`, { qos: 1 });
  await client.publishAsync(`${room}/kept`, 'now', { qos: 1 });
  assert.deepEqual(texts(await late.client.until(1)), ['now']);
  await late.client.endAsync();
  await client.until(2);
  ok(`${name}: a retained message is sent to new subscribers until it is removed`);
  return { name, room, client, options };
}

async function carries(url) {
  const { client } = await start(url, { protocolVersion: 5, clientId: 'js-carries' });
  await client.subscribeAsync('carries', { qos: 1, properties: { subscriptionIdentifier: 77 } });
  const properties = {
    contentType: 'text/plain',
    responseTopic: 'answers',
    correlationData: Buffer.from([1, 0, 255]),
    payloadFormatIndicator: true,
    messageExpiryInterval: 60,
    userProperties: { a: '1', b: ['2', '3'] },
  };
  await client.publishAsync('carries', 'hi', { qos: 1, properties });
  const [{ packet }] = await client.until(1);
  const { subscriptionIdentifier, messageExpiryInterval, ...rest } = packet.properties;
  const { messageExpiryInterval: _, ...expected } = properties;
  assert.deepEqual(JSON.parse(JSON.stringify(rest)), JSON.parse(JSON.stringify(expected)));
  assert.equal(subscriptionIdentifier, 77);
  assert.ok(messageExpiryInterval > 0 && messageExpiryInterval <= 60);
  ok('MQTT.js 5.0: all properties of a message arrive');
  await client.endAsync();
}

async function wills(url) {
  const watcher = await start(url, { protocolVersion: 5, clientId: 'js-watcher' });
  await watcher.client.subscribeAsync('gone/#', { qos: 1 });
  const will = (name) => ({ topic: `gone/${name}`, payload: name, qos: 1 });
  const leaves = await start(url, { protocolVersion: 5, clientId: 'js-leaves', will: will('leaves') });
  await leaves.client.endAsync();
  const dies = await start(url, { protocolVersion: 5, clientId: 'js-dies', will: will('dies'), reconnectPeriod: 0 });
  dies.client.stream.destroy();
  assert.deepEqual(texts(await watcher.client.until(1)), ['dies']);
  ok('MQTT.js 5.0: the will of a lost client is published, and that of a client that disconnects is not');

  const first = await start(url, { protocolVersion: 5, clientId: 'js-twice', reconnectPeriod: 0 });
  const told = once(first.client, 'disconnect');
  const second = await start(url, { protocolVersion: 5, clientId: 'js-twice' });
  assert.equal((await told)[0].reasonCode, 0x8e);
  ok('MQTT.js 5.0: a second connection takes the session over');
  await Promise.all([watcher.client.endAsync(), second.client.endAsync()]);
}

async function main() {
  const all = [];
  for (const url of [websocket, tcp]) for (const version of [4, 5]) all.push(await talks(version, url));
  await carries(websocket);
  await wills(tcp);

  // The clients are disconnected while messages are published and the server is killed.
  for (const { client } of all) await client.endAsync();
  const { client: publisher } = await start(tcp, { protocolVersion: 5, clientId: 'js-publisher' });
  for (const { room } of all) {
    for (const n of [1, 2, 3]) await publisher.publishAsync(`${room}/x`, `away ${n}`, { qos: 2 });
  }
  const lost = once(publisher, 'close');
  const again = new Promise((resolve) => publisher.once('connect', resolve));
  console.log('kill');
  await lost;
  // The client queues these, because the server is down or about to be killed.
  const queued = all.map(({ room }) => publisher.publishAsync(`${room}/x`, 'after the kill', { qos: 2 }));
  await again;
  await Promise.all(queued);
  ok('MQTT.js: reconnects after the server was killed, and delivers its queued messages');
  for (const [at, { name, options }] of all.entries()) {
    const url = at < 2 ? websocket : tcp;
    const { client, connack } = await start(url, options);
    assert.equal(connack.sessionPresent, true);
    assert.deepEqual(texts(await client.until(4)), ['away 1', 'away 2', 'away 3', 'after the kill']);
    // Further messages, if any, would arrive before the answer to this.
    await client.subscribeAsync('nothing', { qos: 1 });
    assert.equal(client.count(), 0);
    ok(`${name}: its session survives the kill, and each message arrives once`);
    await client.endAsync();
  }
  await publisher.endAsync();
  console.log('done');
}

main().catch((error) => {
  console.log(`failed: ${error.stack}`.split('\n').slice(0, 4).join(' | '));
  process.exitCode = 1;
  console.log('done');
  process.exit();
});
