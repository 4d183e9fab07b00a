// The system's time may be set while the client runs. No wait, check or limit depends on that.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ownEnvironment } from '../src/environment.js';
import { openClient } from './conversation.js';

const HOUR = 3_600_000;

/** The client's clock, and what the system and the process say. */
function clock(t, { date = 1_700_000_000_000, steady = 5_000 } = {}) {
  const says = { date, steady };
  const restore = [[Date, 'now', () => says.date], [performance, 'now', () => says.steady]].map(([object, name, replacement]) => {
    const before = Object.getOwnPropertyDescriptor(object, name);
    Object.defineProperty(object, name, { value: replacement, configurable: true, writable: true });
    return () => (before ? Object.defineProperty(object, name, before) : delete object[name]);
  });
  t.after(() => restore.forEach((one) => one()));
  const { now, date: shown } = ownEnvironment(class {});
  return { says, now, shown, begun: now() };
}

test('the clock begins with the system’s time, and goes on with the time that passes', (t) => {
  const { says, now, begun } = clock(t);
  assert.equal(begun, 1_700_000_000_000);
  for (let passed = 1; passed <= 5_000; passed += 1) {
    says.steady += 0.9996;
    says.date = 1_700_000_000_000 + passed;
    assert.ok(Math.abs(now() - begun - passed) <= 3, 'it neither runs ahead nor falls behind');
  }
  assert.ok(Number.isInteger(now()));
});

test('a system’s time that is set back changes nothing', (t) => {
  const { says, now, shown, begun } = clock(t);
  says.date -= HOUR;
  assert.equal(now() - begun, 0);
  says.date += 2_000;
  says.steady += 2_000;
  assert.deepEqual([now() - begun, shown()], [2_000, 1_700_000_000_000 - HOUR + 2_000]);
});

test('sleep counts, also after the system’s time was set back, and slow adjustments do not', (t) => {
  const { says, now, begun } = clock(t);
  says.date += HOUR;
  assert.equal(now() - begun, HOUR, 'the process’s clock stood still');
  says.date -= 2 * HOUR;
  assert.equal(now() - begun, HOUR);
  says.date += HOUR;
  assert.equal(now() - begun, 2 * HOUR);
  for (let step = 0; step < 10; step += 1) {
    says.date += 1_000;
    now();
  }
  assert.equal(now() - begun, 2 * HOUR);
});

test('`retryAt` is a time of the system, for those who show it', async () => {
  const { client, world } = await openClient();
  world.clockIsAhead = -HOUR;
  await world.socket.ends();
  const { retryAt } = client.state;
  assert.ok(retryAt - world.environment.date() <= 500);
  await world.pass(500);
  assert.equal(world.sockets.length, 2);
});
