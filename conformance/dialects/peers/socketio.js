// socket.io-client, unmodified: socketio.js ORIGIN NATIVE_URL. Prints a line for each check; the line `kill` makes the caller kill and restart the server.
'use strict';
const assert = require('node:assert/strict');
const { once } = require('node:events');
const http = require('node:http');
const { io } = require('socket.io-client');
const { WebSocket } = require('ws');

const [origin, native] = process.argv.slice(2);
const ok = (what) => console.log(`ok ${what}`);

// A client that records everything that it receives.
function open(options, path = '') {
  const socket = io(origin + path, { transports: ['websocket'], reconnectionDelay: 50, reconnectionDelayMax: 200, forceNew: true, ...options });
  const inbox = [];
  let arrived = () => {};
  socket.onAny((...event) => {
    inbox.push(event);
    arrived();
  });
  const publications = () => inbox.filter(([name]) => name === 'publication').map(([, publication]) => publication);
  const until = async (seen) => {
    while (!seen(publications())) await new Promise((resolve) => (arrived = resolve));
    return publications();
  };
  return { socket, inbox, publications, until, ask: (...event) => socket.timeout(20_000).emitWithAck(...event) };
}

const connected = (socket) => socket.connected || new Promise((resolve) => socket.once('connect', resolve));
const data = (publications) => publications.map((publication) => publication.data);

async function basics(name, options) {
  const room = `sio/${name}`;
  const a = open(options);
  await connected(a.socket);
  const { engine } = a.socket.io;
  const wanted = options.transports.at(-1);
  while (engine.transport.name !== wanted) await new Promise((resolve) => engine.once('upgrade', resolve));
  ok(`${name}: connects`);
  const { offset } = await a.ask('subscribe', { channel: room });
  assert.equal(offset, 0);
  ok(`${name}: subscribes with an acknowledgement`);
  const first = await a.ask('publish', { channel: room, data: { text: 'Grüße', list: [1, null] }, key: 'one' });
  assert.equal(first.offset, 1);
  await a.until((all) => all.length === 1);
  assert.deepEqual(a.publications()[0].data, { text: 'Grüße', list: [1, null] });
  ok(`${name}: publishes and receives JSON`);
  assert.equal((await a.ask('publish', { channel: room, data: 'again', key: 'one' })).duplicate, true);
  ok(`${name}: publishes once under a key`);
  await a.ask('publish', { channel: room, data: Buffer.from([0, 1, 255]) });
  await a.until((all) => all.length === 2);
  assert.deepEqual(Buffer.from(a.publications()[1].data), Buffer.from([0, 1, 255]));
  ok(`${name}: publishes and receives bytes as attachments`);
  a.socket.emit('publish', { channel: room, data: 'a'.repeat(50_000) });
  await a.until((all) => all.length === 3);
  assert.equal(a.publications()[2].data.length, 50_000);
  ok(`${name}: a large event, without an acknowledgement`);
  const history = await a.ask('history', { channel: room, since: 'start' });
  assert.equal(history.publications.length, 3);
  assert.equal(history.publications[1].base64, 'AAH/');
  ok(`${name}: history`);
  const { members } = await a.ask('presence', room);
  assert.ok(members.some(({ session }) => session === a.socket.id));
  ok(`${name}: presence has the socket's id`);
  const { error } = await a.ask('subscribe', room);
  assert.equal(error.code, 'already_subscribed');
  assert.equal((await a.ask('dance', {})).error.code, 'bad_request');
  assert.equal((await a.ask('call', { method: 'x' })).error.code, 'forbidden');
  ok(`${name}: errors are acknowledgements`);
  const refused = new Promise((resolve) => a.socket.once('refused', resolve));
  a.socket.emit('publish', { channel: '' });
  assert.equal((await refused).event, 'publish');
  ok(`${name}: an error without an acknowledgement is an event`);
  assert.deepEqual(await a.ask('unsubscribe', room), {});
  await a.ask('publish', { channel: room, data: 'for nobody' });
  assert.equal((await a.ask('history', room)).publications.length, 4);
  assert.equal(a.publications().length, 3);
  ok(`${name}: unsubscribes`);
  assert.equal(engine.transport.name, wanted);
  a.socket.disconnect();
}

async function namespaces(name, options) {
  const room = `sio/namespaces/${name}`;
  const manager = open(options);
  const other = manager.socket.io.socket('/other');
  await Promise.all([connected(manager.socket), connected(other)]);
  const heard = new Promise((resolve) => other.once('publication', resolve));
  await other.timeout(20_000).emitWithAck('subscribe', room);
  await manager.ask('publish', { channel: room, data: 'hi' });
  assert.equal((await heard).data, 'hi');
  assert.equal(manager.publications().length, 0);
  ok(`${name}: namespaces have their own subscriptions`);
  other.disconnect();
  assert.ok((await manager.ask('history', room)).publications.length === 1);
  ok(`${name}: a namespace is left alone`);
  manager.socket.disconnect();
}

async function tokens(name, options) {
  const { socket } = open({ ...options, auth: { token: 'nonsense' } });
  const error = await new Promise((resolve) => socket.once('connect_error', resolve));
  assert.equal(error.data.retry, 'never');
  ok(`${name}: a wrong token is a connect_error: ${error.message.slice(0, 40)}`);
  socket.disconnect();
}

async function windows(name, options) {
  const a = open(options);
  await connected(a.socket);
  const room = `sio/window/${name}`;
  const waiting = [];
  let came = () => {};
  a.socket.on('publication', (publication, done) => {
    waiting.push([publication, done]);
    came();
  });
  await a.ask('subscribe', { channel: room, window: 2 });
  for (let n = 0; n < 4; n += 1) await a.ask('publish', { channel: room, data: n });
  while (waiting.length < 2) await new Promise((resolve) => (came = resolve));
  await a.ask('history', room);
  assert.equal(waiting.length, 2, 'the window is full');
  for (let n = 0; n < 4; n += 1) {
    while (waiting.length <= n) await new Promise((resolve) => (came = resolve));
    assert.equal(waiting[n][0].data, n);
    waiting[n][1]();
  }
  ok(`${name}: the client acknowledges publications, and gets as many as its window`);
  a.socket.disconnect();
}

// A native client that publishes, so that publishing does not depend on the client under test.
async function publisher() {
  const socket = new WebSocket(native, 'offhook.v1.json');
  await once(socket, 'open');
  let id = 0;
  const answers = new Map();
  socket.on('message', (text) => {
    const message = JSON.parse(text);
    answers.get(message.id)?.(message);
  });
  const ask = (request) =>
    new Promise((resolve) => {
      id += 1;
      answers.set(id, resolve);
      socket.send(JSON.stringify({ ...request, id }));
    });
  await ask({ type: 'connect' });
  const publish = async (channel, what) => {
    const answer = await ask({ type: 'publish', channel, data: what });
    assert.equal(answer.type, 'published', JSON.stringify(answer));
  };
  return { publish, close: () => socket.close() };
}

async function recovery(name, options) {
  const room = `sio/recovery/${name}`;
  const a = open({ ...options, auth: { recover: true } });
  await connected(a.socket);
  const none = open({ ...options, auth: { recover: true } });
  await connected(none.socket);
  await a.ask('subscribe', room);
  await a.ask('subscribe', `${room}/quiet`);
  await none.ask('subscribe', room);
  let other = await publisher();

  // No event is sent before the connection is lost.
  let back = new Promise((resolve) => a.socket.once('connect', resolve));
  a.socket.io.engine.close();
  await other.publish(room, 'one');
  await back;
  assert.equal(a.socket.recovered, true);
  await a.until((all) => all.length === 1);
  ok(`${name}: recovered without any event before the cut`);

  // The last argument of the last event is a string.
  await other.publish(room, 'a text');
  await a.until((all) => all.length === 2);
  back = new Promise((resolve) => a.socket.once('connect', resolve));
  a.socket.io.engine.close();
  await other.publish(room, 'three');
  await other.publish(`${room}/quiet`, 'four');
  await back;
  assert.equal(a.socket.recovered, true);
  await a.until((all) => all.length === 4);
  assert.deepEqual(data(a.publications()).sort(), ['a text', 'four', 'one', 'three']);
  ok(`${name}: recovered after texts, in several channels`);

  // The server is killed; the publisher continues as soon as it can.
  const dropped = new Promise((resolve) => a.socket.once('disconnect', resolve));
  back = Promise.all([a, none].map(({ socket }) => new Promise((resolve) => socket.once('connect', resolve))));
  other.close();
  console.log('kill');
  await dropped;
  await back;
  assert.deepEqual([a.socket.recovered, none.socket.recovered], [true, true]);
  other = await publisher();
  for (let n = 0; n < 5; n += 1) await other.publish(room, n);
  await a.until((all) => all.length === 9);
  await none.until((all) => all.length === 8);
  assert.deepEqual(data(a.publications().filter(({ channel }) => channel === room)), ['one', 'a text', 'three', 0, 1, 2, 3, 4]);
  assert.deepEqual(data(none.publications()), ['one', 'a text', 'three', 0, 1, 2, 3, 4]);
  assert.ok(![...a.inbox, ...none.inbox].some(([event]) => event === 'gap'));
  ok(`${name}: recovered after the server was killed: nothing lost, nothing twice, no gap`);

  a.socket.disconnect();
  await new Promise((resolve) => {
    a.socket.once('connect', resolve);
    a.socket.connect();
  });
  assert.equal(a.socket.recovered, false);
  ok(`${name}: a client that disconnected begins anew`);
  for (const { socket } of [a, none]) socket.disconnect();
  other.close();
}

async function plainAfterKill(name, options) {
  const room = `sio/plain/${name}`;
  const a = open(options);
  await connected(a.socket);
  await a.ask('subscribe', room);
  const first = await a.ask('publish', { channel: room, data: 'before' });
  const back = new Promise((resolve) => a.socket.io.once('reconnect', resolve));
  console.log('kill');
  await back;
  await connected(a.socket);
  const other = await publisher();
  await other.publish(room, 'meanwhile');
  const { recovered } = await a.ask('subscribe', { channel: room, since: { epoch: first.epoch, offset: first.offset } });
  assert.equal(recovered, true);
  await a.until((all) => all.some((publication) => publication.data === 'meanwhile'));
  assert.ok(!a.inbox.some(([event]) => event === 'gap'));
  ok(`${name}: a position from before the kill continues without a gap`);
  a.socket.disconnect();
  other.close();
}

// Messages that are published continuously, even while the client switches transports, arrive once and in order.
async function stream(name, options) {
  const room = `sio/stream/${name}`;
  // Fewer messages than a client may publish in this time.
  const [many, long] = [150, 'x'.repeat(2_000)];
  const other = await publisher();
  const a = open(options);
  await connected(a.socket);
  await a.ask('subscribe', room);
  const wanted = Array.from({ length: many }, (_, n) => n);
  for (const n of wanted) await other.publish(room, { n, long });
  await a.until((all) => all.length >= many);
  assert.deepEqual(data(a.publications()).map(({ n }) => n), wanted);
  assert.ok(!a.inbox.some(([event]) => event === 'gap'));
  ok(`${name}: ${many} publications in a row arrive once and in order`);
  // More messages than fit into one answer to a poll, or one payload of a client.
  a.inbox.length = 0;
  const sent = wanted.slice(0, 40).map((n) => a.ask('publish', { channel: room, data: { n, long: long.repeat(8) } }));
  const offsets = (await Promise.all(sent)).map(({ offset }) => offset);
  assert.deepEqual(offsets, wanted.slice(0, 40).map((n) => many + n + 1));
  await a.until((all) => all.length >= 40);
  assert.deepEqual(data(a.publications()).map(({ n }) => n), wanted.slice(0, 40));
  ok(`${name}: 40 large events that are emitted at once keep their order`);
  a.socket.disconnect();
  other.close();
}

// Connections on all workers, whose requests reach any worker.
async function crowd(name, options) {
  const room = `sio/crowd/${name}`;
  const [clients, each] = [24, 5];
  const all = Array.from({ length: clients }, () => open(options));
  await Promise.all(all.map(({ socket }) => connected(socket)));
  await Promise.all(all.map(({ ask }) => ask('subscribe', room)));
  await Promise.all(
    all.map(async ({ ask }, index) => {
      for (let n = 0; n < each; n += 1) await ask('publish', { channel: room, data: [index, n] });
    }),
  );
  await Promise.all(all.map(({ until }) => until((seen) => seen.length >= clients * each)));
  const history = data((await all[0].ask('history', { channel: room, since: 'start', limit: clients * each })).publications);
  assert.equal(history.length, clients * each);
  for (const { publications } of all) assert.deepEqual(data(publications()), history);
  ok(`${name}: ${clients} clients get all publications in the order of the history`);
  for (const { socket } of all) socket.disconnect();
}

// A proxy that does not support WebSockets, and loses an answer on request.
async function proxy() {
  const { port, hostname } = new URL(origin);
  const told = { loses: false, upgrades: 0, lost: 0 };
  const server = http.createServer((request, response) => {
    const { method, headers, url: path } = request;
    const ahead = http.request({ hostname, port, method, headers, path }, (answer) => {
      if (told.loses && method === 'GET') {
        told.loses = false;
        told.lost += 1;
        answer.resume();
        response.destroy();
        return;
      }
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    ahead.on('error', () => response.destroy());
    response.on('close', () => ahead.destroy());
    request.pipe(ahead);
  });
  server.on('upgrade', (_, socket) => {
    told.upgrades += 1;
    socket.end('HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { told, at: `http://127.0.0.1:${server.address().port}` };
}

async function behindProxy() {
  const { told, at } = await proxy();
  const room = 'sio/proxy';
  const socket = io(at, { reconnectionDelay: 50, reconnectionDelayMax: 200, forceNew: true, auth: { recover: true } });
  const heard = [];
  let came = () => {};
  socket.on('publication', (publication) => {
    heard.push(publication.data);
    came();
  });
  socket.on('gap', (gap) => heard.push(gap));
  await connected(socket);
  await socket.timeout(20_000).emitWithAck('subscribe', room);
  while (told.upgrades === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const other = await publisher();
  const wanted = [];
  const publish = async (what) => {
    wanted.push(what);
    await other.publish(room, what);
  };
  for (let n = 0; n < 20; n += 1) await publish(n);
  while (heard.length < wanted.length) await new Promise((resolve) => (came = resolve));
  assert.equal(socket.io.engine.transport.name, 'polling');
  ok('a proxy without WebSockets: the client stays with polling');
  const back = new Promise((resolve) => socket.once('connect', resolve));
  told.loses = true;
  for (let n = 20; n < 40; n += 1) await publish(n);
  await back;
  assert.equal(socket.recovered, true);
  while (heard.length < wanted.length) await new Promise((resolve) => (came = resolve));
  assert.deepEqual(heard, wanted);
  assert.equal(told.lost, 1);
  ok('a proxy that loses an answer: recovered, nothing lost, nothing twice');
  socket.disconnect();
  other.close();
}

// Names a check that never ends.
const named = (check, name) =>
  Promise.race([check, new Promise((_, reject) => setTimeout(reject, 50_000, new Error(`${name}: not done in 50 s`)))]);

async function main() {
  const transports = { websocket: ['websocket'], polling: ['polling'], upgraded: ['polling', 'websocket'] };
  const checks = [basics, recovery, stream, crowd, namespaces, tokens, windows, plainAfterKill];
  for (const [name, wanted] of Object.entries(transports)) {
    for (const check of checks) await named(check(name, { transports: wanted }), `${name}: ${check.name}`);
  }
  await named(behindProxy(), 'behindProxy');
  console.log('done');
}

main()
  .catch((error) => {
    console.log(`failed: ${error.stack}`.split('\n').slice(0, 3).join(' | '));
    console.log('done');
  })
  .finally(() => process.exit());
