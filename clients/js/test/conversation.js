// A client in a simulated environment, and the server's side of the
// conversation.

import assert from 'node:assert/strict';

import { connect } from '../src/index.js';
import { settled, World } from './simulated.js';

export const URL = 'ws://example.test/ws';

/** A position in the one epoch that most tests need. */
export const at = (offset) => `17.${offset}`;

/** A client whose connection is not open yet, and everything it says of itself. */
export async function newClient(options = {}, world = new World()) {
  const client = connect(URL, { environment: world.environment, ...options });
  const states = [];
  client.on('state', (state) => states.push(state));
  await settled();
  return { client, world, states };
}

/** The server takes the newest socket and welcomes it; gives what the client said after `connect`. */
export async function welcome(world, fields = {}) {
  await world.socket.opens();
  const connect = world.socket.takeOne('connect');
  await world.socket.says({ type: 'welcome', id: connect.id, session: 's1', resume: 'v1.first', ...fields });
  return connect;
}

/** A client whose connection is open. */
export async function openClient(options, world) {
  const all = await newClient(options, world);
  await welcome(all.world);
  return all;
}

/** A subscription that is live at `offset`, and the events it has had since. */
export async function liveSubscription(client, world, { channel = 'chat', offset = 7, options } = {}) {
  const subscription = client.subscribe(channel, options);
  const events = record(subscription);
  const { id } = world.socket.takeOne('subscribe');
  await world.socket.says({ type: 'subscribed', id, channel, position: at(offset), live: true });
  events.splice(0);
  return { subscription, events };
}

/** All events of a subscription, as they come. */
export function record(subscription) {
  const events = [];
  for (const type of ['subscribed', 'message', 'live', 'catching_up', 'gap', 'join', 'leave', 'members', 'ended']) {
    subscription.on(type, (event) => events.push(event));
  }
  return events;
}

export const message = (offset, data = `m${offset}`, channel = 'chat') =>
  ({ type: 'message', channel, position: at(offset), data, time: 1 });

/** The connection is lost, the wait is over, and the next socket is there. */
export async function lose(world, code = 1006) {
  const before = world.sockets.length;
  await world.socket.ends(code);
  for (let turn = 0; world.sockets.length === before; turn += 1) {
    assert.ok(turn < 1_000, 'it does not come back');
    await world.pass(100);
  }
}
