// A client with all transports in a simulated network, and the server's side of each transport.

import assert from 'node:assert/strict';

import { connect } from '../src/index.js';
import { install } from '../src/transports.js';
import { URL } from './conversation.js';
import { Http, settledAll } from './http.js';
import { SimulatedStore, World } from './simulated.js';

export const BASE = 'http://example.test/connection';
export const KEY = 'offhook';

/** No request is sent in the meantime. */
export const QUIET = { heartbeat: { every: 10_000_000 } };

/** A client with all transports, which has begun its first attempt. */
export async function begin({ found, url = URL, WebTransport, ...options } = {}) {
  const world = new World();
  const http = new Http(world);
  const storage = new SimulatedStore();
  if (found) storage.setItem(KEY, JSON.stringify(found));
  const policy = { forbids: false, asked: 0 };
  const { open } = world.environment;
  const mayOpen = (...given) => {
    policy.asked += 1;
    if (policy.forbids) throw new DOMException('the policy forbids it', 'SecurityError');
    return open(...given);
  };
  Object.assign(world.environment, { storage, open: mayOpen, WebTransport });
  install(world.environment);
  const client = connect(url, { environment: world.environment, ...options });
  const warnings = [];
  client.on('warning', (warning) => warnings.push(warning));
  const pass = async (ms) => {
    await world.pass(ms);
    await settledAll();
  };
  await settledAll();
  return { world, http, storage, client, warnings, pass, policy };
}

/** The WebSocket is refused, the server answers over HTTP with this status, and the next attempt begins. */
export async function refused({ world, http, pass }, status = 426, body = '') {
  const sockets = world.sockets.length;
  await world.socket.ends();
  await settledAll();
  if (http.underWay.length > 0) await http.find('GET http://example.test/ws').answer(status, body);
  await next({ world, http, pass });
  return world.sockets.length > sockets ? 'websocket' : 'other';
}

/** Waits until the next attempt has begun. */
export async function next({ world, http, pass }) {
  const [sockets, requests] = [world.sockets.length, http.requests.length];
  for (let turn = 0; world.sockets.length === sockets && http.requests.length === requests; turn += 1) {
    assert.ok(turn < 200, 'there is no further attempt');
    await pass(100);
  }
}

/** A client over a stream of events. */
export async function overStream(options) {
  const all = await begin(options);
  await refused(all);
  await refused(all);
  return { ...all, ...(await streams(all)) };
}

export async function streams({ http, client, pass }) {
  const stream = http.find(`GET ${BASE}`);
  await stream.streams();
  await stream.writes('event: open\ndata: {"connection":"c1"}\n\n');
  const post = http.find(`POST ${BASE}/c1?n=1`);
  const { id } = JSON.parse(post.body);
  await post.answer(204);
  const says = (message) => stream.writes(`data: ${JSON.stringify(message)}\n\n`);
  await says({ type: 'welcome', id, session: 's1', resume: 'v1.first' });
  assert.deepEqual([client.state.name, client.transport], ['open', 'sse']);
  return { stream, says, pass };
}

export async function overPolling(options) {
  const all = await begin(options);
  await refused(all);
  await refused(all);
  for (let attempt = 0; attempt < 2; attempt += 1) {
    await all.http.find(`GET ${BASE}`).answer(404);
    await all.http.find('GET http://example.test/ws').answer(426);
    await next(all);
  }
  await polls(all);
  return all;
}

export async function polls({ http, client }) {
  await http.find(`POST ${BASE}`).answer(201, { connection: 'p1' });
  const post = http.find(`POST ${BASE}/p1?n=1`);
  const { id } = JSON.parse(post.body);
  await post.answer(204);
  await http.find(`GET ${BASE}/p1?after=0`).answer(200, { first: 1, messages: [{ type: 'welcome', id, session: 's1', resume: 'v1.first' }] });
  assert.deepEqual([client.state.name, client.transport], ['open', 'polling']);
}
