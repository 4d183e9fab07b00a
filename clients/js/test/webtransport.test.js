// Datagrams: what was lost, repeated or overtaken on the way, as the client gets it.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Subscription } from '../src/subscription.js';
import { WebTransportSocket } from '../src/webtransport.js';

const settled = () => new Promise((resolve) => setImmediate(resolve));
const encode = (message) => new TextEncoder().encode(JSON.stringify(message));

function framed(message) {
  const text = encode(message);
  const all = new Uint8Array(4 + text.length);
  new DataView(all.buffer).setUint32(0, text.length);
  all.set(text, 4);
  return all;
}

/** An open session, whose server says things on the control stream and in datagrams. */
async function open() {
  const pipes = {};
  const readable = (name) => new ReadableStream({ start(controller) { pipes[name] = controller; } });
  class WebTransport {
    closed = new Promise(() => {});
    ready = Promise.resolve();
    incomingUnidirectionalStreams = readable('streams');
    datagrams = { readable: readable('datagrams') };
    createBidirectionalStream = async () => ({ readable: readable('control'), writable: new WritableStream({}) });
    close() {}
  }
  const socket = new WebTransportSocket('wss://example.test/ws', { WebTransport, later: () => () => {} });
  const heard = [];
  socket.onmessage = ({ data }) => heard.push(JSON.parse(data));
  await settled();
  const put = async (pipe, bytes) => {
    pipes[pipe].enqueue(bytes);
    await settled();
  };
  return {
    heard,
    control: (message) => put('control', framed(message)),
    datagram: (message) => put('datagrams', encode(message)),
    messages: () => heard.filter(({ type }) => type === 'message').map(({ data }) => data),
  };
}

const begun = (offset, live = true) => ({ type: 'subscribed', id: 1, channel: 'cursors', position: `9.${offset}`, live });
const cursor = (offset, key, data = `${key}${offset}`) => ({ type: 'message', channel: 'cursors', position: `9.${offset}`, tags: { key }, data });

/** What the reader of a subscription gets of these messages. */
function read(heard) {
  const events = [];
  const subscription = new Subscription({ channel: 'cursors' }, {}, undefined, { moved() {} });
  for (const type of ['message', 'gap']) subscription.on(type, (event) => events.push(event.data ?? event.reason));
  for (const message of heard) subscription.handle(message);
  return { events, position: subscription.position };
}

test('the newest datagram of one cursor is given although a newer one of another came before it', async () => {
  const { heard, control, datagram } = await open();
  await control(begun(0));
  await datagram(cursor(5, 'A'));
  await datagram(cursor(3, 'B'));
  await datagram(cursor(4, 'A'));
  await datagram(cursor(3, 'B'));
  await datagram(cursor(7, 'B'));
  assert.deepEqual(read(heard), { events: ['A5', 'B3', 'B7'], position: '9.7' });
});

test('what comes after a second `subscribed` is not judged by the datagrams before it', async () => {
  const { control, datagram, messages } = await open();
  await control(begun(0));
  await datagram(cursor(5, 'A'));
  await control({ type: 'unsubscribed', id: 2, channel: 'cursors' });
  await control(begun(5, false));
  // On its way since before.
  await datagram(cursor(4, 'B'));
  await control({ ...cursor(3, 'B', 'state of B'), state: true });
  await control({ ...cursor(5, 'A', 'state of A'), state: true });
  await control({ type: 'live', channel: 'cursors', position: '9.5' });
  await datagram(cursor(6, 'A'));
  assert.deepEqual(messages(), ['A5', 'state of B', 'state of A', 'A6']);
});

test('a datagram that comes before its subscription is live is given after that', async () => {
  const { control, datagram, messages } = await open();
  await control(begun(5, false));
  await datagram(cursor(6, 'A'));
  await datagram(cursor(7, 'B'));
  await control(cursor(5, 'A'));
  await control({ type: 'live', channel: 'cursors', position: '9.5' });
  assert.deepEqual(messages(), ['A5', 'A6', 'B7']);
});

test('a message of one channel of a filter is given although a newer one of another came before it', async () => {
  const { heard, control, datagram, messages } = await open();
  const of = (channel, at, position) => ({ type: 'message', channel, subscription: 4, filter: '#', position: `9.${position}`, at: `1.${at}`, data: `${channel}${at}` });
  await control({ type: 'subscribed', id: 1, filter: '#', subscription: 4, position: '1.0', live: true });
  await datagram(of('a', 3, 90));
  await datagram(of('b', 2, 7));
  // On a stream, in order.
  await control(of('c', 1, 1));
  assert.deepEqual(messages(), ['a3', 'b2', 'c1']);
  assert.deepEqual(heard.slice(1).map(({ at }) => at), ['1.3', '1.3', '1.3'], 'the place does not go back');
});

test('a gap, and a message of its own that the session does not get, move the place of a subscription', async () => {
  const { heard, control, datagram } = await open();
  await control(begun(0));
  await datagram(cursor(1, 'A'));
  await control({ type: 'gap', channel: 'cursors', from: '9.1', to: '9.4', reason: 'dropped' });
  await datagram(cursor(6, 'A'));
  await control({ type: 'own', channel: 'cursors', position: '9.8', previous: '9.7' });
  await datagram(cursor(9, 'A'));
  assert.deepEqual(read(heard).events, ['A1', 'dropped', 'A6', 'A9'], 'no gap but the one that the server names');
});
