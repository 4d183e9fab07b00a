// The parts of the chat that need no page.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { Conversation } from '../talk/conversation.js';
import { explain } from '../talk/explain.js';
import { describe } from '../talk/connection-view.js';
import { tidyRoom } from '../talk/rooms-view.js';

function conversation() {
  const shown = [];
  const view = {
    added: (entry, next) => shown.splice(next ? shown.indexOf(next) : shown.length, 0, entry),
    changed: (entry) => assert.ok(shown.includes(entry)),
    removed: (entry) => shown.splice(shown.indexOf(entry), 1),
  };
  return { shown, made: new Conversation(view) };
}

const message = (position, more = {}) => ({ position, text: position, ...more });
const texts = (entries) => entries.map(({ text, reason }) => text ?? reason);

test('messages are shown in the order of their positions, in whatever order they are received, and once', () => {
  const { made, shown } = conversation();
  for (const position of ['17.9', '17.10', '17.8', '18.1', '17.9']) made.take(message(position), false);
  made.gap({ to: '17.9', reason: 'dropped' });
  assert.deepEqual(texts(shown), ['17.8', '17.9', 'dropped', '17.10', '18.1']);
  assert.deepEqual(shown, made.entries);
  assert.equal(made.first, '17.8');
});

test('unanswered messages are shown last, until they have a position', () => {
  const { made, shown } = conversation();
  made.send({ kind: 'message', key: 'a', text: 'mine', state: 'pending' });
  made.take(message('17.1'), false);
  assert.deepEqual(texts(shown), ['17.1', 'mine']);
  made.kept('a');
  assert.equal(shown[1].state, 'kept');
  made.take(message('17.2', { key: 'a', text: 'mine' }), true);
  made.take(message('17.3'), false);
  assert.deepEqual(texts(shown), ['17.1', 'mine', '17.3']);
  made.reached('17.1');
  assert.equal(shown[1].state, 'kept');
  made.reached('17.2');
  assert.equal(shown[1].state, 'reached');
});

test('somebody else’s key does not make a message mine', () => {
  const { made, shown } = conversation();
  made.send({ kind: 'message', key: 'a', text: 'mine', state: 'pending' });
  made.take(message('17.1', { key: 'a', text: 'theirs' }), false);
  assert.deepEqual(texts(shown), ['theirs', 'mine']);
});

test('a refused message can be removed, and the oldest are forgotten', () => {
  const { made, shown } = conversation();
  made.send({ kind: 'message', key: 'a', text: 'mine', state: 'pending' });
  made.refused('a', new Error('no'));
  assert.equal(made.withdraw('a').text, 'mine');
  for (let offset = 1; offset <= 1_005; offset += 1) made.take(message(`17.${offset}`), false);
  made.trim();
  assert.equal(shown.length, 1_000);
  assert.equal(made.take(message('17.1'), false), true);
});

test('every message of the specification is explained', () => {
  const page = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');
  const [fromClient, fromServer] = page.split('## From the server');
  const examples = (part) => [...part.matchAll(/```json\n(.+?)\n```/gs)].map(([, text]) => text);
  const all = [...examples(fromClient).map((text) => ['out', text]), ...examples(fromServer).map((text) => ['in', text])];
  assert.ok(all.length > 20);
  for (const [direction, text] of all) {
    const { type, title, text: words } = explain(direction, text);
    assert.ok(!['Unknown', 'Not understood'].includes(title), `${direction} ${type}`);
    assert.doesNotMatch(words, /undefined|null|NaN|\[object/, text);
  }
});

test('anything received can be shown', () => {
  for (const text of ['', '{', 'null', '7', '[]', '"x"', '{}', '{"type":7}', '{"type":"constructor"}', '{"type":"members"}', '{"type":"message","data":null}', '{"type":"subscribe","since":null}']) {
    for (const direction of ['in', 'out']) assert.equal(typeof explain(direction, text).title, 'string', text);
  }
});

test('the state of the connection is described in words', () => {
  const say = (connection, subscription = 'live', latency = undefined, transport = 'websocket') => describe(connection, subscription, latency, transport, 1_000).text;
  assert.equal(say({ name: 'connecting', attempt: 1 }), 'connecting');
  assert.equal(say({ name: 'connecting', attempt: 2 }), 'reconnecting');
  assert.equal(say({ name: 'waiting', retryAt: 3_001 }), 'reconnecting in 3 s');
  assert.equal(say({ name: 'open' }, 'catching_up'), 'catching up');
  assert.equal(say({ name: 'open' }, 'live', 12), 'open · 12 ms');
  assert.equal(say({ name: 'open' }, 'live', 12, 'sse'), 'open · over a stream of events · 12 ms');
  assert.equal(say({ name: 'open' }, 'live', undefined, 'polling'), 'open · over polls');
  assert.equal(say({ name: 'offline', retryAt: 3_001 }), 'offline');
  assert.equal(say({ name: 'closed', error: { code: 'replaced' } }), 'open elsewhere');
});

test('a room’s name is one that a channel can have', () => {
  for (const [given, name] of [['Garden', 'garden'], [' a  b ', 'a-b'], ['***', 'lobby'], ['', 'lobby'], ['x\u0000y*z', 'x-y-z'], ['日本', '日本']]) {
    assert.equal(tidyRoom(given), name);
  }
  // 200 bytes including the prefix: talk-typing: and 40 characters of 4 bytes.
  assert.ok(Buffer.byteLength(`talk-typing:${tidyRoom('😀'.repeat(100))}`) <= 200);
});
