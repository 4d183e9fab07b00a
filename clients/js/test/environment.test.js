// The real environment: what it uses of the page or process that it runs in.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connect } from '../src/index.js';
import { ownEnvironment } from '../src/environment.js';
import { SimulatedStore } from './simulated.js';

/** Puts things into the global object until the test is over. */
function pretend(t, globals) {
  for (const [name, value] of Object.entries(globals)) {
    const before = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    t.after(() => (before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]));
  }
}

function page(t) {
  const [own, document] = [new EventTarget(), new EventTarget()];
  document.hidden = false;
  pretend(t, { document, addEventListener: own.addEventListener.bind(own) });
  return { own, document };
}

function watched(environment) {
  const seen = [];
  const watcher = Object.fromEntries(['online', 'offline', 'shown', 'hidden', 'leaving'].map((name) => [name, () => seen.push(name)]));
  return { seen, stop: environment.watch(watcher) };
}

class Socket {
  constructor(...given) {
    this.given = given;
  }
}

test('focus, network, and pages that are shown, hidden, frozen and left are reported until it is stopped', (t) => {
  const { own, document } = page(t);
  const { seen, stop } = watched(ownEnvironment(Socket));
  for (const type of ['online', 'offline', 'focus', 'pageshow', 'pagehide']) own.dispatchEvent(new Event(type));
  document.dispatchEvent(new Event('visibilitychange'));
  document.hidden = true;
  document.dispatchEvent(new Event('visibilitychange'));
  document.dispatchEvent(new Event('resume'));
  const all = ['online', 'offline', 'shown', 'shown', 'leaving', 'shown', 'hidden', 'shown'];
  assert.deepEqual(seen, all);
  stop();
  for (const target of [own, document]) for (const type of ['online', 'focus', 'resume']) target.dispatchEvent(new Event(type));
  assert.deepEqual(seen, all);
});

test('a worker has no document, and Node no events: both can be watched', (t) => {
  const own = new EventTarget();
  pretend(t, { document: undefined, addEventListener: own.addEventListener.bind(own) });
  const { seen } = watched(ownEnvironment(Socket));
  own.dispatchEvent(new Event('online'));
  assert.deepEqual(seen, ['online']);
  pretend(t, { addEventListener: undefined });
  watched(ownEnvironment(Socket)).stop();
});

test('the network counts as available unless the browser says otherwise', (t) => {
  const environment = ownEnvironment(Socket);
  for (const [navigator, isOnline] of [[undefined, true], [{}, true], [{ onLine: true }, true], [{ onLine: false }, false]]) {
    pretend(t, { navigator });
    assert.equal(environment.isOnline(), isOnline);
  }
});

test('keys are 128 random bits in base64, also without crypto', (t) => {
  const { uuid } = ownEnvironment(Socket);
  const keys = Array.from({ length: 100 }, () => uuid());
  pretend(t, { crypto: undefined });
  keys.push(...Array.from({ length: 100 }, () => uuid()));
  for (const key of keys) assert.match(key, /^[A-Za-z0-9+/]{22}==$/);
  assert.equal(new Set(keys).size, 200);
  // 200 keys have 4,400 characters: that one of the 64 is missing would be a miracle.
  assert.equal(new Set(keys.join('').replaceAll('=', '')).size, 64, 'every character occurs');
});

test('keys come from crypto if it exists', (t) => {
  pretend(t, { crypto: { getRandomValues: (bytes) => bytes.fill(10) } });
  assert.equal(ownEnvironment(Socket).uuid(), 'CgoKCgoKCgoKCgoKCgoKCg==');
});

test('sockets are opened with the given class, or the environment’s own', (t) => {
  assert.deepEqual(ownEnvironment(Socket).open('ws://a/', ['b']).given, ['ws://a/', ['b']]);
  pretend(t, { WebSocket: Socket });
  assert.ok(ownEnvironment().open('ws://a/') instanceof Socket);
  pretend(t, { WebSocket: undefined });
  assert.throws(() => ownEnvironment(), { name: 'TypeError', message: /pass { WebSocket } of ws/ });
  assert.throws(() => connect('ws://a/'), TypeError);
});

test('timers fire, can be cancelled, and do not overflow', (t) => {
  const set = [];
  pretend(t, { setTimeout: (callback, ms) => set.push([callback, ms]), clearTimeout: (timer) => { set[timer - 1] = 'cleared'; } });
  const environment = ownEnvironment(Socket);
  const callback = () => {};
  const cancel = environment.later(callback, 5);
  environment.later(callback, 2 ** 40);
  assert.deepEqual(set, [[callback, 5], [callback, 2 ** 31 - 1]]);
  cancel();
  assert.equal(set[0], 'cleared');
});

test('random numbers are between 0 and 1', () => {
  const drawn = Array.from({ length: 100 }, ownEnvironment(Socket).random);
  assert.ok(drawn.every((value) => value >= 0 && value < 1) && new Set(drawn).size > 1);
});

test('other transports are loaded when a WebSocket fails, and a refusal is explained with the answer over HTTP', async (t) => {
  pretend(t, { fetch: async () => ({ status: 403, headers: new Map([['content-type', 'text/plain']]), text: async () => 'no' }), console: { error: () => {} } });
  const warnings = [];
  const client = { emit: (...event) => warnings.push(event) };
  await ownEnvironment(Socket).fallBack({ url: 'ws://a/', code: 1006, reason: '' }, client);
  const [[type, { code, message }]] = warnings;
  assert.deepEqual([type, code, message], ['warning', 'unreachable', 'ws://a/ refused the WebSocket: HTTP 403: no']);
});

test('an earlier page’s transport is loaded before the first attempt, and only one that was chosen or has worked', async (t) => {
  const storage = new SimulatedStore();
  pretend(t, { localStorage: storage });
  const fresh = ownEnvironment(Socket);
  await fresh.recall('ws://a/ws', {});
  assert.ok(fresh.open('ws://a/ws') instanceof Socket);
  assert.equal(fresh.recall, undefined);
  storage.offhook = '{"a":"polling"}';
  storage.setItem('offhook', '{"a":"polling"}');
  for (const [url, chosen, transport] of [['ws://a/ws', undefined, 'polling'], ['ws://b/ws', undefined, undefined], ['ws://b/ws', ['sse'], 'sse'], ['ws://a/ws', ['sse', 'websocket'], undefined]]) {
    const environment = ownEnvironment(Socket);
    await environment.recall(url, {}, chosen);
    const socket = environment.open(url);
    assert.equal(socket.transport, transport);
    socket.close?.();
  }
});

test('without a storage the first attempt goes on', async () => {
  const environment = ownEnvironment(Socket);
  await environment.recall('ws://a/ws', {}).catch(() => {});
  assert.ok(environment.open('ws://a/ws') instanceof Socket);
});
