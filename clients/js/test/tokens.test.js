// Subscription tokens: a new one for each `subscribe`, from a function.

import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { at, lose, message, openClient, record, welcome } from './conversation.js';
import { World } from './simulated.js';

/** Lets what was begun come in: the module with tokens is loaded when it is needed. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** What the client sends once its token is there. */
async function sent(world) {
  for (let turn = 0; world.socket.sent.length === 0; turn += 1) {
    assert.ok(turn < 10_000, 'nothing is sent');
    await settled();
  }
  return world.socket.take();
}

const subscribed = ({ id, channel }, offset = 7) => ({ type: 'subscribed', id, channel, position: at(offset), live: true });
const expired = (channel) =>
  ({ type: 'unsubscribed', channel, code: 'forbidden', message: 'the subscription token has expired', retry: 'never' });

test('each subscription is requested with a token of its own channel', async () => {
  const { client, world } = await openClient();
  const token = async (channel) => `for ${channel}`;
  client.subscribe(['private/1', 'private/2'], { token });
  client.subscribe('private/3', { token: 'as it is' });
  const asked = [];
  while (asked.length < 3) asked.push(...await sent(world));
  const said = asked.map(({ type, channel, channels, token }) => [type, channel, channels, token]);
  assert.deepEqual(said, [
    ['subscribe', 'private/1', undefined, 'for private/1'],
    ['subscribe', 'private/2', undefined, 'for private/2'],
    ['subscribe', 'private/3', undefined, 'as it is'],
  ]);
});

test('when its token has expired, a subscription goes on with a new one where it was', async () => {
  const { client, world } = await openClient();
  let count = 0;
  const events = record(client.subscribe('private/1', { token: () => `token ${(count += 1)}` }));
  const [first] = await sent(world);
  await world.socket.says(subscribed(first));
  await world.socket.says(message(8, 'm8', 'private/1'));
  await world.socket.says(expired('private/1'));
  // Not at once: a server that ends it again and again cannot make the client spin.
  assert.deepEqual(world.socket.take(), []);
  await world.pass(1_000);
  const [second] = await sent(world);
  assert.deepEqual([second.token, second.since], ['token 2', at(8)]);
  await world.socket.says(subscribed(second, 8));
  assert.equal(events.some(({ type }) => type === 'ended'), false);
});

test('a subscription that the resume token restored gets a new token when the old one has expired', async () => {
  const { client, world } = await openClient();
  client.subscribe('private/1', { token: () => 'new' });
  const [first] = await sent(world);
  await world.socket.says(subscribed(first));
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  await lose(world);
  await welcome(world);
  await world.socket.says({ type: 'subscribed', channel: 'private/1', position: at(7), live: true });
  await world.socket.says({ type: 'restored' });
  assert.deepEqual(world.socket.take(), [], 'the session has the grant');
  await world.socket.says(expired('private/1'));
  await world.pass(1_000);
  assert.equal((await sent(world))[0].token, 'new');
});

test('a new token that the server refuses ends the subscription with the reason', async () => {
  const { client, world } = await openClient();
  const events = record(client.subscribe('private/1', { token: () => 'wrong' }));
  const [{ id }] = await sent(world);
  await world.socket.says({ type: 'error', id, code: 'unauthenticated', message: 'it is not for private/1', retry: 'never' });
  assert.deepEqual(events.map(({ type, error }) => [type, error.code]), [['ended', 'unauthenticated']]);
});

test('no token at all ends the subscription, and a failing function is asked again', async () => {
  const { client, world } = await openClient();
  let count = 0;
  const flaky = () => {
    count += 1;
    if (count === 1) throw new Error('the backend is away');
    return count === 2 ? 'here' : undefined;
  };
  const events = record(client.subscribe('private/1', { token: flaky }));
  while (count < 1) await settled();
  await world.pass(1_000);
  const [asked] = await sent(world);
  assert.equal(asked.token, 'here');
  await world.socket.says(subscribed(asked));
  await world.socket.says(expired('private/1'));
  await world.pass(1_000);
  while (!events.some(({ type }) => type === 'ended')) await settled();
  assert.equal(events.at(-1).error.code, 'unauthenticated');
  assert.deepEqual(world.socket.take(), []);
});

test('a token that comes after the connection was lost is not used, and one that is no longer wanted neither', async () => {
  const { client, world } = await openClient();
  const waiting = [];
  const token = () => new Promise((resolve) => waiting.push(resolve));
  client.subscribe('private/1', { token });
  const gone = client.subscribe('private/2', { token });
  while (waiting.length < 2) await settled();
  gone.unsubscribe();
  await lose(world);
  await welcome(world);
  while (waiting.length < 3) await settled();
  waiting.forEach((resolve, n) => resolve(`token ${n}`));
  const asked = await sent(world);
  await settled();
  assert.deepEqual([...asked, ...world.socket.take()].map(({ channel, token }) => [channel, token]), [['private/1', 'token 2']]);
});

test('a subscription with a token that the resume did not restore is requested', async () => {
  const { client, world } = await openClient();
  const events = record(client.subscribe('private/1', { token: () => 'mine' }));
  const [first] = await sent(world);
  await world.socket.says(subscribed(first));
  await world.socket.says({ type: 'token', resume: 'v1.second' });
  await lose(world);
  await welcome(world);
  await world.socket.says({ type: 'restored' });
  const [second] = await sent(world);
  assert.deepEqual([second.type, second.token, second.since], ['subscribe', 'mine', at(7)]);
  await world.socket.says(subscribed(second));
  await world.socket.says(message(8, 'm8', 'private/1'));
  assert.deepEqual(events.filter(({ type }) => type === 'message').map(({ data }) => data), ['m8']);
});

test('while tokens.js cannot be loaded, a subscription waits, and other subscriptions go on', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'offhook-client-'));
  t.after(() => rmSync(directory, { recursive: true }));
  cpSync(fileURLToPath(new URL('../src', import.meta.url)), directory, { recursive: true });
  cpSync(fileURLToPath(new URL('../package.json', import.meta.url)), join(directory, 'package.json'));
  rmSync(join(directory, 'tokens.js'));
  const { connect } = await import(pathToFileURL(join(directory, 'client.js')).href);
  const world = new World();
  const client = connect('ws://example.test/ws', { environment: world.environment });
  await settled();
  await welcome(world);
  const { timers } = world;
  const subscription = client.subscribe('private/1', { token: 'mine' });
  client.subscribe('public/1');
  assert.deepEqual(world.socket.take().map(({ channel }) => channel), ['public/1']);
  for (let turn = 0; world.timers === timers; turn += 1) {
    assert.ok(turn < 10_000, 'it does not try again');
    await settled();
  }
  assert.equal(subscription.state, 'waiting');
  subscription.unsubscribe();
  assert.equal(world.timers, timers);
  const gone = client.subscribe('private/1', { token: 'mine' });
  gone.unsubscribe();
  for (let turn = 0; turn < 50; turn += 1) await settled();
  assert.deepEqual([gone.state, world.timers], ['ended', timers]);
  client.close();
});
