// One channel, six dialects: one_channel.mjs PORT MQTT_PORT ID KEY SECRET. The native client, socket.io-client over
// both transports, MQTT.js in both versions, stompjs and pusher-js publish into one channel, are cut off, and see the server
// killed. Prints a line for each check; the line `kill` makes the caller kill and restart the server.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import net from 'node:net';
import { connect } from '../../../clients/js/src/index.js';

const require = createRequire(`${process.env.NODE_PATH}/`);
const { io } = require('socket.io-client');
const mqtt = require('mqtt');
const stomp = require('@stomp/stompjs');
const { WebSocket } = require('ws');
const Pusher = require('pusher-js');
const Backend = require('pusher');

globalThis.WebSocket = WebSocket;
const [port, mqttPort, appId, key, secret] = process.argv.slice(2);
const ok = (what) => console.log(`ok ${what}`);
const ROOM = 'one/channel';
// Events are named so that clients of Socket.IO and Pusher know them.
const TEXT = 'text';

// A TCP proxy whose connections can be cut.
async function proxy(target) {
  const open = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(target, '127.0.0.1');
    const both = [near, far];
    open.add(both);
    const end = () => {
      both.forEach((socket) => socket.destroy());
      open.delete(both);
    };
    both.forEach((socket) => socket.on('error', end).on('close', end));
    near.pipe(far).pipe(near);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => open.forEach((both) => both.forEach((socket) => socket.destroy()));
  return { port: server.address().port, cut };
}

const [http, tcp] = [await proxy(Number(port)), await proxy(Number(mqttPort))];
const cut = () => [http, tcp].forEach((one) => one.cut());

// What one client received, in order.
class Heard {
  constructor(name) {
    Object.assign(this, { name, texts: [], wake: () => {} });
  }

  // A JSON string is quoted for clients that receive JSON as text.
  put(text) {
    this.texts.push(text.startsWith('"') ? JSON.parse(text) : text);
    this.wake();
  }

  async until(there) {
    while (!there(this.texts)) await new Promise((resolve) => (this.wake = resolve));
  }
}

// Each speaks one dialect: `publish` resolves once the server has the text, over any number of connections.
async function native() {
  const heard = new Heard('native');
  const client = connect(`ws://127.0.0.1:${http.port}/ws`, { WebSocket });
  const room = client.subscribe(ROOM);
  room.on('message', ({ data }) => heard.put(data));
  room.on('gap', (gap) => heard.put(`gap ${JSON.stringify(gap)}`));
  await new Promise((resolve) => room.on('subscribed', resolve));
  return { heard, publish: (text) => client.publish(ROOM, text), stop: () => client.close() };
}

async function socketio(transport) {
  const heard = new Heard(`Socket.IO, ${transport}`);
  const options = { transports: [transport], reconnectionDelay: 50, reconnectionDelayMax: 200, forceNew: true, auth: { recover: true } };
  const socket = io(`http://127.0.0.1:${http.port}`, options);
  socket.on('publication', ({ data }) => heard.put(data));
  socket.on('gap', (gap) => heard.put(`gap ${JSON.stringify(gap)}`));
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.on('connect', () => socket.recovered || heard.put('not recovered'));
  await socket.timeout(20_000).emitWithAck('subscribe', ROOM);
  let next = 0;
  const publish = async (text) => {
    const fields = { channel: ROOM, data: text, key: `${transport} ${(next += 1)}` };
    // An event whose acknowledgement is lost with the connection is emitted again.
    for (;;) {
      try {
        const answer = await socket.timeout(1_000).emitWithAck('publish', fields);
        if (!answer.error) return;
      } catch {
        // It is emitted again.
      }
    }
  };
  return { heard, publish, stop: () => socket.disconnect() };
}

async function mqttjs(protocolVersion) {
  const heard = new Heard(`MQTT ${protocolVersion === 5 ? '5.0' : '3.1.1'}`);
  const options = { protocolVersion, clientId: `one-${protocolVersion}`, clean: false, reconnectPeriod: 100 };
  if (protocolVersion === 5) options.properties = { sessionExpiryInterval: 3600 };
  const url = protocolVersion === 5 ? `ws://127.0.0.1:${http.port}/mqtt` : `mqtt://127.0.0.1:${tcp.port}`;
  const client = mqtt.connect(url, options);
  client.on('message', (_, payload) => heard.put(payload.toString()));
  client.on('error', () => {});
  await new Promise((resolve) => client.once('connect', resolve));
  await client.subscribeAsync(ROOM, { qos: 2 });
  const properties = protocolVersion === 5 ? { payloadFormatIndicator: true } : undefined;
  return { heard, publish: (text) => client.publishAsync(ROOM, text, { qos: 2, properties }), stop: () => client.endAsync() };
}

async function stompjs() {
  const heard = new Heard('STOMP');
  let position;
  let receipts = 0;
  const waiting = new Map();
  const subscribe = () => {
    const since = position ? { since: position } : { receipt: 'subscribed' };
    client.subscribe(`/topic/${ROOM}`, ({ body, headers }) => {
      position = headers.position ?? position;
      heard.put(body);
    }, { id: 'one', ...since });
  };
  const client = new stomp.Client({
    brokerURL: `ws://127.0.0.1:${http.port}/stomp`,
    connectHeaders: { 'client-id': 'one-stomp' },
    reconnectDelay: 100,
    onConnect: () => {
      subscribe();
      // What was not confirmed is sent again, with its key.
      for (const again of waiting.values()) again();
    },
  });
  await new Promise((resolve) => {
    const { onConnect } = client;
    client.onConnect = (frame) => {
      client.watchForReceipt('subscribed', resolve);
      onConnect(frame);
    };
    client.activate();
  });
  const send = (body, headers) =>
    new Promise((resolve) => {
      const receipt = `receipt-${(receipts += 1)}`;
      const again = () => {
        client.watchForReceipt(receipt, () => {
          waiting.delete(receipt);
          resolve();
        });
        client.publish({ destination: `/topic/${ROOM}`, body, headers: { ...headers, receipt } });
      };
      waiting.set(receipt, again);
      if (client.connected) again();
    });
  return { heard, publish: (text) => send(text, { 'idempotency-key': `stomp ${receipts}`, 'content-type': 'text/plain' }), stop: () => client.deactivate() };
}

async function pusherjs() {
  const heard = new Heard('Pusher');
  const backend = new Backend({ appId, key, secret, host: '127.0.0.1', port, useTLS: false });
  const client = new Pusher(key, { cluster: 'none', wsHost: '127.0.0.1', wsPort: http.port, forceTLS: false, enabledTransports: ['ws'], disableStats: true });
  const channel = client.subscribe(ROOM);
  const take = (data) => heard.put(data);
  // Publications without an event's name arrive as `message`.
  channel.bind(TEXT, take).bind('message', take);
  await new Promise((resolve) => channel.bind('pusher:subscription_succeeded', resolve));
  // Its server library refuses names with a slash, but not the API.
  const publish = async (data) => {
    for (;;) {
      try {
        const answer = await backend.post({ path: '/events', body: { name: TEXT, data: JSON.stringify(data), channels: [ROOM] } });
        if (answer.status === 200) return;
      } catch {
        // The server is down. The API has no keys, so this one may be published twice.
      }
    }
  };
  return { heard, publish, stop: () => client.disconnect() };
}

const clients = await Promise.all([native(), socketio('websocket'), socketio('polling'), mqttjs(4), mqttjs(5), stompjs(), pusherjs()]);
const [pusher] = clients.slice(-1);
const certain = clients.slice(0, -1);
let round = 0;

// Each publishes some texts, one after the other, while `meanwhile` happens.
async function publish(who, count, meanwhile = async () => {}) {
  round += 1;
  const texts = [];
  const each = who.map(async ({ heard, publish }) => {
    for (let n = 0; n < count; n += 1) {
      const text = `${heard.name} ${round}.${n}`;
      texts.push(text);
      await publish(text);
      // So that something is under way whenever a connection is cut.
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
  });
  await meanwhile();
  await Promise.all(each);
  const has = (all) => texts.every((text) => all.includes(text));
  await Promise.all(certain.map(({ heard }) => heard.until(has)));
  return texts.length;
}

// Everybody has everything, once and in one order.
function agree(what) {
  const [first] = certain;
  for (const { heard } of certain) {
    const at = heard.texts.findIndex((text, index) => text !== first.heard.texts[index]);
    const around = (texts) => JSON.stringify(texts.slice(Math.max(0, at - 2), at + 3));
    assert.equal(at, -1, `${heard.name} received ${around(heard.texts)}, and ${first.heard.name} ${around(first.heard.texts)}`);
    assert.equal(heard.texts.length, first.heard.texts.length, heard.name);
  }
  const twice = first.heard.texts.filter((text, at, all) => all.indexOf(text) !== at);
  assert.deepEqual(twice, [], 'nothing twice');
  assert.ok(!first.heard.texts.some((text) => text.startsWith('gap') || text === 'not recovered'));
  // Pusher cannot recover: what it received is in the same order.
  const places = pusher.heard.texts.map((text) => first.heard.texts.indexOf(text));
  assert.deepEqual(places, [...places].sort((a, b) => a - b));
  assert.ok(!places.includes(-1));
  ok(what);
}

async function main() {
  let count = await publish(clients, 10);
  await pusher.heard.until((all) => all.length >= count);
  agree(`${count} messages of seven clients, in one order for all`);
  count = await publish(certain, 20, async () => {
    for (let n = 0; n < 3; n += 1) {
      await new Promise((resolve) => setTimeout(resolve, 300));
      cut();
    }
  });
  agree(`${count} messages while all connections are cut three times: nothing lost, nothing twice, one order`);
  count = await publish(certain, 20, async () => console.log('kill'));
  agree(`${count} messages while the server is killed: nothing lost, nothing twice, one order`);
  await Promise.all(clients.map(({ stop }) => stop()));
  console.log('done');
}

main()
  .catch((error) => {
    console.log(`failed: ${error.stack}`.split('\n').slice(0, 6).join(' | '));
    console.log('done');
  })
  .finally(() => process.exit());
