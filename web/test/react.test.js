// The React hooks, in React's test renderer and on React's server, with the client in simulated time.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, after, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

const require = createRequire(import.meta.url);
const CLIENT = fileURLToPath(new URL('../../clients/js', import.meta.url));
const ENTRY = `
  export { createElement } from 'react';
  export { act, create } from 'react-test-renderer';
  export { renderToString } from 'react-dom/server';
  export { useChannel, useClient, useConnection } from '${CLIENT}/src/react.js';
  export { connect } from '${CLIENT}/src/index.js';
  export { World, settled } from '${CLIENT}/test/simulated.js';
`;

let directory;
let all;

// React's `act` creates a new MessageChannel each time and leaves it open,
// which would keep the process from ending.
const channels = [];
globalThis.MessageChannel = class extends MessageChannel {
  constructor() {
    super();
    channels.push(this);
  }
};

// The pinned packages are found through NODE_PATH, which a module's `import`
// ignores, so they are bundled into one file.
before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'offhook-react-'));
  const outfile = join(directory, 'scene.cjs');
  const define = { 'process.env.NODE_ENV': '"development"' };
  await require('esbuild').build({ stdin: { contents: ENTRY, resolveDir: CLIENT }, bundle: true, platform: 'node', format: 'cjs', outfile, define, nodePaths: [process.env.NODE_PATH], logLevel: 'error' });
  globalThis.IS_REACT_ACT_ENVIRONMENT = true;
  ({ default: all } = await import(pathToFileURL(outfile)));
});
after(() => {
  rmSync(directory, { recursive: true, force: true });
  for (const { port1 } of channels) port1.close();
});

function Room({ client, url, name, options }) {
  const { useChannel, useClient, useConnection } = all;
  const own = useClient(url ?? 'ws://unused.test/', options);
  const used = url ? own : client;
  const { name: connection } = useConnection(used);
  const { state, messages, members } = useChannel(used, name, { since: { last: 5 }, presence: true, keep: 3 });
  return JSON.stringify({ connection, state, messages: messages.map(({ data, reason }) => data ?? reason), members: members.map(({ session }) => session) });
}

async function rendered(t, properties) {
  const world = new all.World();
  let tree;
  const act = (change) => all.act(async () => {
    await change();
    await all.settled();
  });
  await act(() => {
    tree = all.create(all.createElement(Room, { url: 'ws://react.test/', options: { environment: world.environment }, ...properties }));
  });
  t.after(() => act(() => tree.unmount()));
  return { world, tree, act, shown: () => JSON.parse(tree.toJSON()) };
}

const at = (offset) => `17.${offset}`;

async function open({ world, act }) {
  await act(() => world.socket.opens());
  const { id } = world.socket.takeOne('connect');
  await act(() => world.socket.says({ type: 'welcome', id, session: 's1', resume: '' }));
}

test('a component shows the connection, the newest messages, gaps and members', async (t) => {
  const scene = await rendered(t, { name: 'chat' });
  const { world, act, shown } = scene;
  assert.deepEqual(shown(), { connection: 'connecting', state: 'waiting', messages: [], members: [] });
  await open(scene);
  const asked = world.socket.takeOne('subscribe');
  assert.deepEqual([asked.channel, asked.since, asked.presence], ['chat', { last: 5 }, true]);
  await act(() => world.socket.says({ type: 'subscribed', id: asked.id, channel: 'chat', position: at(9), live: false }));
  const { id } = world.socket.takeOne('presence');
  await act(() => world.socket.says({ type: 'members', id, channel: 'chat', members: [{ session: 's1' }], total: 1 }));
  await act(() => world.socket.says({ type: 'join', channel: 'chat', session: 's2' }));
  await act(() => world.socket.says({ type: 'join', channel: 'chat', session: 's1', info: 1 }));
  for (const offset of [7, 8, 9]) await act(() => world.socket.says({ type: 'message', channel: 'chat', position: at(offset), data: offset, time: 1 }));
  await act(() => world.socket.says({ type: 'gap', channel: 'chat', from: at(9), to: at(12), reason: 'dropped' }));
  await act(() => world.socket.says({ type: 'live', channel: 'chat', position: at(12) }));
  assert.deepEqual(shown(), { connection: 'open', state: 'live', messages: [8, 9, 'dropped'], members: ['s2', 's1'] });
  await act(() => world.socket.says({ type: 'leave', channel: 'chat', session: 's2' }));
  assert.deepEqual(shown().members, ['s1']);
});

test('another channel starts empty, and unmounting closes the client', async (t) => {
  const scene = await rendered(t, { name: 'chat' });
  const { world, tree, act, shown } = scene;
  await open(scene);
  const { id } = world.socket.takeOne('subscribe');
  await act(() => world.socket.says({ type: 'subscribed', id, channel: 'chat', position: at(9), live: true }));
  world.socket.take();
  await act(() => world.socket.says({ type: 'message', channel: 'chat', position: at(10), data: 'hi', time: 1 }));
  await act(() => tree.update(all.createElement(Room, { url: 'ws://react.test/', options: {}, name: 'other' })));
  assert.deepEqual(world.socket.take().map(({ type, channel }) => [type, channel]), [['unsubscribe', 'chat'], ['subscribe', 'other']]);
  assert.deepEqual([shown().messages, shown().state], [[], 'waiting']);
  await act(() => tree.unmount());
  assert.equal(world.socket.closedWith.code, 1000);
});

test('members of the channel before, whose list comes late, are not shown', async (t) => {
  const scene = await rendered(t, { name: 'chat' });
  const { world, tree, act, shown } = scene;
  await open(scene);
  const { id } = world.socket.takeOne('subscribe');
  await act(() => world.socket.says({ type: 'subscribed', id, channel: 'chat', position: at(9), live: true }));
  const asked = world.socket.takeOne('presence');
  await act(() => tree.update(all.createElement(Room, { url: 'ws://react.test/', options: {}, name: 'other' })));
  await act(() => world.socket.says({ type: 'members', id: asked.id, channel: 'chat', members: [{ session: 's9' }], total: 1 }));
  assert.deepEqual([shown().members, shown().state], [[], 'waiting']);
});

test('on a server there is no client, and nothing fails', () => {
  const html = all.renderToString(all.createElement(Room, { url: '/ws', name: 'chat' }));
  assert.match(html, /connecting.*waiting/);
});

test('a component without a client waits for one', async (t) => {
  const { shown } = await rendered(t, { url: undefined, client: undefined, name: 'chat' });
  assert.equal(shown().connection, 'connecting');
});
