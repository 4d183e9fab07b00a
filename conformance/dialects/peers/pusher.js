// pusher-js, laravel-echo and the server library `pusher`, unmodified: pusher.js PORT ID KEY SECRET. Prints a line for each check; the line `kill` makes the caller kill and restart the server.
'use strict';
const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const Client = require('pusher-js');
const Backend = require('pusher');

const [port, appId, key, secret] = process.argv.slice(2);
const ok = (what) => console.log(`ok ${what}`);
const address = { host: '127.0.0.1', port, useTLS: false };
const encryptionMasterKeyBase64 = Buffer.alloc(32, 7).toString('base64');
const backend = new Backend({ appId, key, secret, ...address, encryptionMasterKeyBase64 });

// A client whose backend signs what it asks for.
function open(user, options = {}) {
  const sign = options.sign ?? ((socketId, channel, data) => backend.authorizeChannel(socketId, channel, data));
  return new Client(options.key ?? key, {
    cluster: 'none',
    wsHost: '127.0.0.1',
    wsPort: Number(port),
    forceTLS: false,
    enabledTransports: ['ws'],
    disableStats: true,
    activityTimeout: options.activityTimeout,
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, callback) => {
        const member = channelName.startsWith('presence-') ? { user_id: user, user_info: { name: user } } : undefined;
        callback(null, sign(socketId, channelName, member));
      },
    },
    userAuthentication: {
      customHandler: ({ socketId }, callback) => callback(null, backend.authenticateUser(socketId, { id: user })),
    },
  });
}

const happens = (target, event) =>
  new Promise((resolve) => {
    const heard = (data, metadata) => {
      target.unbind(event, heard);
      resolve({ data, metadata });
    };
    target.bind(event, heard);
  });
const connected = (client) => client.connection.state === 'connected' || happens(client.connection, 'connected');
async function subscribed(client, name) {
  const channel = client.subscribe(name);
  const { data } = await happens(channel, 'pusher:subscription_succeeded');
  return { channel, data };
}

async function basics() {
  const [ann, bob] = [open('ann'), open('bob')];
  await Promise.all([connected(ann), connected(bob)]);
  assert.match(ann.connection.socket_id, /^\d+\.\d+$/);
  ok('pusher-js: connects');
  const { channel: one } = await subscribed(ann, 'my-channel');
  const { channel: two } = await subscribed(bob, 'my-channel');
  let heard = Promise.all([happens(one, 'greeting'), happens(two, 'greeting')]);
  await backend.trigger('my-channel', 'greeting', { text: 'Grüße', list: [1, null] });
  for (const { data } of await heard) assert.deepEqual(data, { text: 'Grüße', list: [1, null] });
  ok('pusher-js: a public channel');

  const others = [];
  one.bind('toOthers', (data) => others.push(data));
  heard = happens(two, 'toOthers');
  await backend.trigger('my-channel', 'toOthers', 1, { socket_id: ann.connection.socket_id });
  assert.equal((await heard).data, 1);
  heard = happens(one, 'last');
  await backend.triggerBatch([
    { channel: 'my-channel', name: 'first', data: '1' },
    { channel: 'my-channel', name: 'last', data: '2' },
  ]);
  await heard;
  assert.deepEqual(others, []);
  ok('pusher-js: the socket_id is left out, and a batch');

  two.unbind();
  bob.unsubscribe('my-channel');
  const again = await subscribed(bob, 'my-channel');
  heard = happens(again.channel, 'e');
  await backend.trigger('my-channel', 'e', 'x');
  assert.equal((await heard).data, 'x');
  ok('pusher-js: unsubscribes and subscribes again');

  const { channel: mine } = await subscribed(ann, 'private-chat');
  const { channel: yours } = await subscribed(bob, 'private-chat');
  heard = happens(yours, 'client-typing');
  assert.ok(mine.trigger('client-typing', { on: true }));
  assert.deepEqual((await heard).data, { on: true });
  ok('pusher-js: private channels and client events');

  const { channel: sealed } = await subscribed(ann, 'private-encrypted-chat');
  heard = happens(sealed, 'secret');
  await backend.trigger('private-encrypted-chat', 'secret', { text: 'only for us' });
  assert.deepEqual((await heard).data, { text: 'only for us' });
  ok('pusher-js: an encrypted channel');

  const forger = open('eve', { sign: () => ({ auth: `${key}:${'0'.repeat(64)}` }) });
  const refused = await happens(forger.subscribe('private-chat'), 'pusher:subscription_error');
  assert.equal(refused.data.status, 401);
  forger.disconnect();
  ok('pusher-js: a forged signature is refused');

  ann.disconnect();
  bob.disconnect();
}

async function presence() {
  const [ann, bob, tab] = [open('ann'), open('bob'), open('bob')];
  const { channel, data } = await subscribed(ann, 'presence-room');
  assert.equal(data.count, 1);
  assert.deepEqual(channel.members.me, { id: 'ann', info: { name: 'ann' } });
  let heard = happens(channel, 'pusher:member_added');
  const other = await subscribed(bob, 'presence-room');
  assert.equal(other.data.count, 2);
  assert.deepEqual((await heard).data, { id: 'bob', info: { name: 'bob' } });
  await subscribed(tab, 'presence-room');
  assert.equal(channel.members.count, 2);
  ok('pusher-js: members are counted by user');
  heard = happens(channel, 'client-wave');
  other.channel.trigger('client-wave', {});
  assert.deepEqual((await heard).metadata, { user_id: 'bob' });
  ok('pusher-js: client events name their user');
  const users = await (await backend.get({ path: '/channels/presence-room/users' })).json();
  assert.deepEqual(users, { users: [{ id: 'ann' }, { id: 'bob' }] });
  const info = await (await backend.get({ path: '/channels/presence-room', params: { info: 'user_count' } })).json();
  assert.deepEqual(info, { occupied: true, user_count: 2 });
  const list = await (await backend.get({ path: '/channels', params: { filter_by_prefix: 'presence-', info: 'user_count' } })).json();
  assert.deepEqual(list, { channels: { 'presence-room': { user_count: 2 } } });
  ok('pusher for node: channels and users');
  heard = happens(channel, 'pusher:member_removed');
  tab.disconnect();
  bob.disconnect();
  assert.equal((await heard).data.id, 'bob');
  assert.equal(channel.members.count, 1);
  ok('pusher-js: a user leaves with the last session');
  ann.disconnect();
}

async function users() {
  const ann = open('ann');
  await connected(ann);
  const success = happens(ann, 'pusher:signin_success');
  ann.signin();
  await success;
  await ann.user.signinDonePromise;
  const own = ann.user.serverToUserChannel;
  if (!own.subscribed) await happens(own, 'pusher:subscription_succeeded');
  const heard = happens(ann.user, 'note');
  await backend.sendToUser('ann', 'note', { text: 'for you' });
  assert.deepEqual((await heard).data, { text: 'for you' });
  ok('pusher-js: signs in and gets events of its user');
  const closed = happens(ann.connection, 'disconnected');
  await backend.terminateUserConnections('ann');
  await closed;
  ok('pusher-js: stays away when the backend ends its connections');

  const stranger = open('x', { key: 'nobody' });
  const failed = await happens(stranger.connection, 'error');
  assert.equal(failed.data.data?.code ?? failed.data.error?.data?.code, 4001);
  stranger.disconnect();
  ok('pusher-js: an unknown key is refused with 4001');
}

async function forged() {
  const status = (backend) => backend.trigger('a', 'e', 1).then((answer) => answer.status, (error) => error.status);
  assert.equal(await status(new Backend({ appId, key, secret: 'another-secret', ...address })), 401);
  assert.equal(await status(new Backend({ appId: '2', key, secret, ...address })), 404);
  assert.equal(await status(backend), 200);
  ok('pusher for node: a forged signature is refused');
}

// The server is killed in the middle.
async function killed() {
  const [ann, bob] = [open('ann'), open('bob')];
  const { channel: cache } = await subscribed(ann, 'cache-price');
  const { channel: room } = await subscribed(ann, 'presence-room');
  await subscribed(bob, 'presence-room');
  let heard = happens(cache, 'price');
  await backend.trigger('cache-price', 'price', { euros: 7 });
  assert.deepEqual((await heard).data, { euros: 7 });
  const back = [happens(room, 'pusher:subscription_succeeded'), happens(cache, 'price')];
  const late = happens(open('late').subscribe('cache-none'), 'pusher:cache_miss');
  await late;
  ok('pusher-js: a cache channel without an event tells of the miss');
  console.log('kill');
  await back[0];
  assert.deepEqual((await back[1]).data, { euros: 7 });
  ok('pusher-js: after a kill of the server it is back, with the last event of a cache channel');
  while (room.members.count < 2) await happens(room, 'pusher:member_added');
  ok('pusher-js: members are back, too');
  heard = happens(cache, 'price');
  await backend.trigger('cache-price', 'price', { euros: 8 });
  assert.deepEqual((await heard).data, { euros: 8 });
  ok('pusher-js: receives events again');
  ann.disconnect();
  bob.disconnect();
}

async function laravel() {
  // It is an ES module.
  const { default: Echo } = await import(require.resolve('laravel-echo').replace('echo.common.js', 'echo.js'));
  const [ann, bob] = ['ann', 'bob'].map((user) => new Echo({ broadcaster: 'pusher', client: open(user) }));
  const waits = () => {
    let resolve;
    const promise = new Promise((done) => (resolve = done));
    return { promise, resolve };
  };
  const shipped = waits();
  ann.channel('orders').subscribed(() => shipped.resolve()).listen('OrderShipped', (data) => shipped.resolve(data));
  await shipped.promise;
  const got = waits();
  ann.channel('orders').listen('OrderShipped', got.resolve);
  await backend.trigger('orders', 'App\\Events\\OrderShipped', { id: 7 });
  assert.deepEqual(await got.promise, { id: 7 });
  ok('laravel-echo: an event of a public channel');
  const [here, joining, leaving, whispered] = [waits(), waits(), waits(), waits()];
  ann.join('room').here(here.resolve).joining(joining.resolve).leaving(leaving.resolve);
  assert.deepEqual(await here.promise, [{ name: 'ann' }]);
  const ready = waits();
  const theirs = bob.join('room').here(ready.resolve).listenForWhisper('typing', whispered.resolve);
  await ready.promise;
  assert.deepEqual(await joining.promise, { name: 'bob' });
  ann.join('room').whisper('typing', { on: true });
  assert.deepEqual(await whispered.promise, { on: true });
  assert.ok(theirs);
  bob.leave('room');
  assert.deepEqual(await leaving.promise, { name: 'bob' });
  ok('laravel-echo: presence and whispers');
  ann.disconnect();
  bob.disconnect();
}

// The example of the migration page, as it is there.
async function page() {
  const text = readFileSync(join(__dirname, '../../../docs/migrate/from-pusher.md'), 'utf8');
  const block = (name) => text.match(new RegExp(`\`\`\`js ${name}\\n([^]*?)\`\`\``))[1].replaceAll('8000', port);
  const server = new Function('require', block('server'))(require);
  const client = new Function('require', 'authorize', block('client'))(require, server.authorize);
  await client.joined;
  server.publish();
  assert.deepEqual(await client.greeted, { text: 'hello' });
  client.pusher.disconnect();
  ok('docs/migrate/from-pusher.md: the example works');
}

async function main() {
  await page();
  await basics();
  await presence();
  await users();
  await forged();
  await laravel();
  await killed();
  console.log('done');
  process.exit(0);
}

main().catch((error) => {
  console.log(String(error.stack ?? error).replaceAll('\n', ' '));
  process.exit(1);
});
