// A connection over HTTP requests, without the rest of the client.

import assert from 'node:assert/strict';

import { EventStream } from '../src/event-stream.js';
import { Polling } from '../src/polling.js';
import { Http, settledAll } from './http.js';
import { World } from './simulated.js';

export const URL = 'wss://example.test/app/ws?token=t';
export const BASE = 'https://example.test/app/connection';

/** One of the transports, and the events that it reported. */
export async function begin(Class) {
  const world = new World();
  const http = new Http(world);
  const socket = new Class(URL, world.environment);
  const seen = [];
  socket.onopen = () => seen.push('open');
  socket.onworks = () => seen.push('works');
  socket.onmessage = ({ data }) => seen.push(JSON.parse(data));
  socket.onclose = ({ code, reason, wasClean }) => seen.push({ code, reason, wasClean });
  await settledAll();
  const pass = async (ms) => {
    await world.pass(ms);
    await settledAll();
  };
  return { world, http, socket, seen, pass };
}

export async function polling() {
  const all = await begin(Polling);
  await all.http.find(`POST ${BASE}?token=t`).answer(201, { connection: 'c1' });
  assert.deepEqual(all.seen.splice(0), ['open']);
  return all;
}

export async function streaming() {
  const all = await begin(EventStream);
  const stream = all.http.find(`GET ${BASE}?token=t`);
  await stream.streams();
  await stream.writes('event: open\ndata: {"connection":"c1"}\n\n');
  assert.deepEqual(all.seen.splice(0), ['open']);
  return { ...all, stream };
}
