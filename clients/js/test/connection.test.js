// Opening, closing and waiting: when the next attempt is made, and when none
// is.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connect } from '../src/index.js';
import { lose, newClient, openClient, URL, welcome } from './conversation.js';
import { settled, SimulatedStore, World } from './simulated.js';

/** How long after each loss the next attempt comes, when every attempt fails. */
async function pauses(world, count) {
  const seen = [];
  for (let turn = 0; turn < count; turn += 1) {
    const [opened, lostAt] = [world.sockets.length, world.now];
    await world.socket.ends();
    for (let turn = 0; world.sockets.length === opened && turn < 1_000; turn += 1) await world.pass(100);
    seen.push(world.now - lostAt);
  }
  return seen;
}

test('the limit of the wait doubles from 0.5 s to 10 s, and the wait is random below it', async () => {
  const largest = await newClient({}, new World({ random: () => 0.9999999 }));
  const seen = await pauses(largest.world, 7);
  assert.deepEqual(seen, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]);
  const smallest = await newClient({}, new World({ random: () => 0 }));
  assert.ok((await pauses(smallest.world, 5)).every((ms) => ms <= 100));
});

test('a connection that is lost soon after opening does not reset the limit', async () => {
  const { world, states } = await newClient({}, new World({ random: () => 0.9999999 }));
  for (let turn = 0; turn < 4; turn += 1) {
    await welcome(world);
    await lose(world);
  }
  const waits = states.filter(({ name }) => name === 'waiting').map(({ retryAt, attempt }) => attempt);
  assert.deepEqual(waits, [1, 2, 3, 4]);
});

test('a stable connection resets the limit', async () => {
  const { world, states } = await newClient();
  await lose(world);
  await welcome(world);
  // Stable for long enough, with every ping answered.
  for (let turn = 0; turn < 2; turn += 1) {
    await world.pass(25_000);
    await world.socket.says({ type: 'pong', id: world.socket.takeOne('ping').id });
  }
  await world.socket.ends();
  assert.equal(states.at(-1).attempt, 0);
});

test('after a stable connection, the waits of failing attempts grow again', async () => {
  const { world } = await openClient({}, new World({ random: () => 0.9999999 }));
  await world.pass(5_000);
  assert.deepEqual(await pauses(world, 4), [500, 1_000, 2_000, 4_000]);
});

test('a connection is stable after 5 s, and not before', async () => {
  for (const [lasted, attempt] of [[4_999, 2], [5_000, 0]]) {
    const { world, states } = await openClient();
    await lose(world);
    await welcome(world);
    await world.pass(lasted);
    await world.socket.ends();
    assert.equal(states.at(-1).attempt, attempt, `${lasted} ms`);
  }
});

test('a wait that was ended early does not open a second socket at its end', async () => {
  const { world, states } = await openClient();
  await world.socket.ends();
  const left = states.at(-1).retryAt - world.now;
  await world.happens('shown');
  assert.equal(world.sockets.length, 2);
  await world.pass(left + 1_000);
  assert.deepEqual([world.sockets.length, world.socket.closedWith], [2, undefined]);
});

test('a socket that opened in time is not given up at its deadline', async () => {
  const { world } = await openClient();
  await world.pass(20_000);
  assert.deepEqual([world.sockets.length, world.socket.closedWith], [1, undefined]);
});

test('an address that no WebSocket accepts closes the client with the reason', async () => {
  const world = new World();
  world.environment.open = () => { throw new SyntaxError('no such address'); };
  const { client, states } = await newClient({}, world);
  assert.deepEqual([client.state.name, client.state.error.message], ['closed', 'closed with 1006 no such address']);
  await world.pass(600_000);
  assert.equal(states.length, 2);
});

test('other transports hear of each connection that ends before its welcome', async () => {
  const world = new World();
  const ends = [];
  world.environment.fallBack = (end, client) => ends.push([end.url, end.code, end.reason, client.state.name]);
  await newClient({}, world);
  await lose(world);
  await world.socket.opens();
  await world.pass(10_000);
  await world.pass(1_000);
  await welcome(world);
  await lose(world);
  assert.deepEqual(ends, [[URL, 1006, '', 'connecting'], [URL, 1006, 'no answer to a ping', 'connecting']]);
});

test('the address and the transports that may be used are known before each attempt, which happens even without them', async () => {
  const world = new World();
  const recalled = [];
  world.environment.recall = async (...given) => {
    recalled.push(given);
    throw new Error('not loaded');
  };
  const { client } = await newClient({ transports: ['websocket'] }, world);
  await lose(world);
  assert.deepEqual(recalled, [[URL, client, ['websocket']], [URL, client, ['websocket']]]);
  assert.equal(world.sockets.length, 2);
});

test('a socket that does not open in time is given up', async () => {
  const { client, world } = await newClient();
  await world.pass(9_999);
  assert.equal(client.state.name, 'connecting');
  await world.pass(1);
  assert.ok(world.sockets[0].closedWith);
  assert.deepEqual(client.state.end, { code: 1006, reason: 'it took too long', wasClean: false });
  await world.pass(30_000);
  assert.ok(world.sockets.length > 1);
});

for (const [code, name] of [[1001, 'going away'], [1006, 'lost'], [1011, 'internal error'], [1012, 'restart'], [1013, 'try again later']]) {
  test(`${code}, ${name}: comes back`, async () => {
    const { world, states } = await openClient();
    await world.socket.ends(code);
    assert.equal(states.at(-1).name, 'waiting');
  });
}

for (const [code, name] of [[1002, 'protocol error'], [1008, 'policy'], [4001, 'replaced']]) {
  test(`${code}, ${name}: does not come back, and says why`, async () => {
    const { client, world, states } = await openClient();
    const waiting = client.publish('chat', 'hi');
    await world.socket.ends(code, 'because');
    assert.equal(states.at(-1).name, 'closed');
    assert.equal(states.at(-1).error.message, `closed with ${code} because`);
    assert.equal(states.at(-1).error.code, code === 4001 ? 'replaced' : 'closed');
    await assert.rejects(waiting, states.at(-1).error);
    await world.pass(600_000);
    assert.equal(world.sockets.length, 1);
    await assert.rejects(client.publish('chat', 'hi'), { code: 'closed' });
  });
}

test('4003, an expired token: reconnects with a new one if the token is a function', async () => {
  let asked = 0;
  const { world } = await openClient({ token: async () => `jwt-${(asked += 1)}` });
  await lose(world, 4003);
  assert.equal((await welcome(world)).token, 'jwt-2');
  await lose(world, 4003);
  assert.equal((await welcome(world)).resume, undefined, 'what resumes the session has expired, too');
  const fixed = await openClient({ token: 'jwt-1' });
  await fixed.world.socket.ends(4003);
  assert.equal(fixed.client.state.name, 'closed');
});

test('before the token expires the server gets a newer one', async () => {
  let asked = 0;
  const { client, world } = await openClient({ token: async () => `jwt-${(asked += 1)}` });
  const warnings = [];
  client.on('warning', ({ code }) => warnings.push(code));
  for (const [token, answer] of [['jwt-2', { type: 'refreshed' }], ['jwt-3', { type: 'error', code: 'unauthenticated', message: '', retry: 'never' }]]) {
    await world.socket.says({ type: 'expiring', expires_in_ms: 60_000 });
    const refresh = world.socket.takeOne('refresh');
    assert.equal(refresh.token, token);
    await world.socket.says({ ...answer, id: refresh.id });
  }
  assert.deepEqual(warnings, ['unauthenticated']);
});

test('1000 from the server is an end, not an error', async () => {
  const { world, states } = await openClient();
  await world.socket.ends(1000);
  assert.deepEqual(states.at(-1), { name: 'closed', error: undefined });
});

test('too slow: reconnects; flood: reconnects after the longest wait', async () => {
  const { world, states } = await openClient();
  await world.socket.says({ type: 'closing', reason: 'too_slow' });
  await lose(world, 1008);
  await welcome(world);
  await world.socket.says({ type: 'closing', reason: 'flood' });
  await world.socket.ends(1008);
  assert.ok(states.at(-1).retryAt - world.now >= 30_000);
  await world.happens('shown');
  assert.equal(states.at(-1).name, 'waiting');
});

test('a server that goes away names a wait, and nothing shortens it', async () => {
  const { world, states } = await openClient();
  await world.socket.says({ type: 'reconnect', after_ms: 2_750 });
  await world.pass(750);
  await world.socket.ends(1001);
  assert.equal(states.at(-1).retryAt - world.now, 2_000);
  await world.happens('online');
  await world.pass(1_999);
  assert.equal(world.sockets.length, 1);
  await world.pass(1);
  assert.equal(world.sockets.length, 2);
});

test('if the server stays open after naming a wait, the client reconnects at its end', async () => {
  const { world } = await openClient();
  await world.socket.says({ type: 'reconnect', after_ms: 2_750 });
  await world.pass(2_750);
  // Not 1000: that would end the session.
  assert.equal(world.sockets[0].closedWith.code, 4000);
  assert.equal(world.sockets.length, 2);
});

test('if a server names two waits, the second counts, and the first has no effect', async () => {
  const { world } = await openClient();
  await world.socket.says({ type: 'reconnect', after_ms: 5_000 });
  await world.socket.says({ type: 'reconnect', after_ms: 1_000 });
  await world.pass(1_000);
  assert.equal(world.sockets.length, 2);
  await welcome(world);
  await world.pass(10_000);
  assert.deepEqual([world.sockets.length, world.socket.closedWith], [2, undefined]);
});

test('a connect that is refused temporarily is repeated at the given time', async () => {
  const { world, states } = await newClient();
  await world.socket.opens();
  const { id } = world.socket.takeOne('connect');
  await world.socket.says({ type: 'error', id, code: 'too_many_connections', message: '', retry: 'later', retry_after_ms: 5_000 });
  assert.equal(states.at(-1).retryAt - world.now, 5_000);
});

test('a connect that is refused permanently closes the client', async () => {
  const { world, states } = await newClient({ token: 'expired' });
  await world.socket.opens();
  const { id } = world.socket.takeOne('connect');
  await world.socket.says({ type: 'error', id, code: 'bad_token', message: 'expired', retry: 'never' });
  assert.equal(states.at(-1).name, 'closed');
  assert.equal(states.at(-1).error.code, 'bad_token');
  assert.deepEqual(world.socket.closedWith, { code: 1000, reason: undefined });
});

test('an address can be computed for each attempt, which may fail', async () => {
  const world = new World();
  const found = [async () => 'ws://a/', async () => { throw new Error('no address'); }, async () => 'ws://b/'];
  const client = connect(() => found.shift()(), { environment: world.environment });
  await settled();
  await lose(world);
  for (let turn = 0; world.sockets.length < 2 && turn < 1_000; turn += 1) await world.pass(1_000);
  assert.deepEqual(world.sockets.map(({ url }) => url), ['ws://a/', 'ws://b/']);
  client.close();
});

test('an http address becomes the ws one', async () => {
  const world = new World();
  connect('https://example.test/ws', { environment: world.environment });
  await settled();
  assert.equal(world.socket.url, 'wss://example.test/ws');
});

test('an invalid address throws immediately', () => {
  assert.throws(() => connect('nowhere at all', { environment: new World().environment }), TypeError);
});

test('a store that was not made by persist() throws, and the error says what to write', () => {
  const { environment } = new World();
  for (const store of [new SimulatedStore(), 'session']) {
    assert.throws(() => connect(URL, { environment, store }), { name: 'TypeError', message: 'store: expected persist(sessionStorage)' });
  }
});

test('closing before it is open opens nothing', async () => {
  const world = new World();
  const client = connect(URL, { environment: world.environment });
  client.close();
  await world.pass(600_000);
  assert.equal(world.sockets.length, 0);
});

test('closing sends 1000 and ends subscriptions', async () => {
  const { client, world } = await openClient();
  const room = client.subscribe('chat');
  client.close();
  assert.deepEqual([world.socket.closedWith, world.watchers], [{ code: 1000, reason: undefined }, 0]);
  assert.equal(room.state, 'ended');
  for await (const event of room) assert.fail(event.type);
  assert.throws(() => client.subscribe('chat'), { code: 'closed' });
});

test('invalid JSON and unknown types close nothing', async () => {
  const { client, world } = await openClient();
  const warnings = [];
  client.on('warning', ({ code }) => warnings.push(code));
  for (const text of ['{', 'null', '7', '[]', '{"type":"later"}', '{}']) await world.socket.says(text);
  assert.ok(warnings.includes('bad_message'));
  assert.equal(client.state.name, 'open');
});

test('a new client starts with the state `connecting`, for the first time', async () => {
  const client = connect(URL, { environment: new World().environment });
  assert.deepEqual(client.state, { name: 'connecting', attempt: 1 });
});

test('a `connect` in flight is not sent twice when the page gets the focus', async () => {
  const { world } = await newClient();
  await world.socket.opens();
  world.socket.takeOne('connect');
  await world.happens('shown');
  assert.deepEqual(world.socket.take(), []);
});

test('only the answer to the `connect` in flight is a welcome', async () => {
  const { client, world } = await newClient();
  await world.socket.opens();
  const { id } = world.socket.takeOne('connect');
  await world.socket.says({ type: 'welcome', id: id + 1, session: 'another', resume: 'v1' });
  assert.equal(client.state.name, 'connecting');
  await world.socket.says({ type: 'welcome', id, session: 's1', resume: 'v1' });
  await world.socket.says({ type: 'welcome', id, session: 'another', resume: 'v1' });
  await world.socket.says({ type: 'error', id, code: 'forbidden', message: '', retry: 'never' });
  assert.deepEqual([client.session, client.state.name], ['s1', 'open']);
});

test('errors without an id are warnings, those for unknown requests are not', async () => {
  const { client, world } = await openClient();
  const warnings = [];
  client.on('warning', ({ code }) => warnings.push(code));
  await world.socket.says({ type: 'error', id: 999, code: 'busy', message: '', retry: 'later' });
  await world.socket.says({ type: 'error', code: 'bad_request', message: '', retry: 'never' });
  assert.deepEqual(warnings, ['bad_request']);
});

test('a removed listener is not called', async () => {
  const { client, world } = await openClient();
  const seen = [];
  const [first, second] = [() => seen.push('first'), () => seen.push('second')];
  client.on('latency', first);
  client.on('latency', second);
  client.off('latency', first);
  client.off('nothing', first);
  client.reconnect();
  await world.socket.says({ type: 'pong', id: world.socket.takeOne('ping').id });
  assert.deepEqual(seen, ['second']);
});

test('what a server said about one connection does not apply to the next', async () => {
  const { world, states } = await openClient();
  await world.socket.says({ type: 'closing', reason: 'too_slow' });
  await lose(world, 1008);
  await welcome(world);
  await world.socket.ends(1008);
  assert.equal(states.at(-1).name, 'closed');
});

test('a named wait ends once, also if the connection was lost before', async () => {
  const { world } = await openClient();
  await world.socket.says({ type: 'reconnect', after_ms: 3_000 });
  await world.pass(1_000);
  await world.socket.ends(1012);
  await world.pass(2_000);
  assert.equal(world.sockets.length, 2);
  await world.pass(5_000);
  assert.deepEqual([world.sockets.length, world.socket.closedWith], [2, undefined]);
});

test('an address that cannot be computed is a failed attempt, with its reason', async () => {
  for (const [failure, reason] of [[new Error('none here'), 'none here'], ['none here', 'none here'], [undefined, 'undefined']]) {
    const world = new World();
    const client = connect(async () => { throw failure; }, { environment: world.environment });
    await settled();
    assert.deepEqual([client.state.name, client.state.end], ['waiting', { code: 1006, reason: `no address: ${reason}`, wasClean: false }]);
    client.close();
  }
});

test('an address that is computed too late is not used', async () => {
  const world = new World();
  const found = [];
  const client = connect(() => new Promise((resolve) => found.push(resolve)), { environment: world.environment });
  await settled();
  await world.pass(15_000);
  assert.equal(found.length, 2);
  found[0]('ws://late/');
  await settled();
  assert.deepEqual(world.sockets, []);
  found[1]('ws://now/');
  await settled();
  assert.equal(world.socket.url, 'ws://now/');
  client.close();
});

test('an address that fails too late changes nothing', async () => {
  const world = new World();
  const failed = [];
  const client = connect(() => new Promise((_, reject) => failed.push(reject)), { environment: world.environment });
  await settled();
  await world.pass(15_000);
  const { attempt } = client.state;
  failed[0](new Error('late'));
  await settled();
  assert.deepEqual([client.state.name, client.state.attempt], ['connecting', attempt]);
  client.close();
});

test('after a permanent close nothing is watched and no timer is left', async () => {
  const { client, world } = await openClient();
  client.subscribe('chat');
  client.presence('chat').catch(() => {});
  client.publish('chat', 'hi').catch(() => {});
  await settled();
  client.close();
  await settled();
  assert.deepEqual([world.watchers, world.timers], [0, 0]);
  await world.happens('shown');
  assert.equal(world.sockets.length, 1);
});
