// The effect of the waits on many clients of one server, and on one person.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BACKOFF } from '../src/backoff.js';
import { BEFORE, comeBack, GATE } from '../herd/herd.js';

test('after 4 s without a server, half of the clients are back within 2 s and all within 10 s; before, it took up to 30 s', () => {
  const { back } = comeBack({ clients: 5_000, outage: 4_000, backoff: BACKOFF });
  assert.ok(back[2_499] < 2_000, `${back[2_499]} ms`);
  assert.ok(back.at(-1) <= 10_000, `${back.at(-1)} ms`);
  const before = comeBack({ clients: 5_000, outage: 4_000, backoff: BEFORE }).back;
  assert.ok(before.at(-1) > 20_000, `${before.at(-1)} ms`);
});

test('5,000 clients are back within twice the longest wait, however long the server was down', () => {
  for (const outage of [4_000, 60_000, 600_000]) {
    const { back } = comeBack({ clients: 5_000, outage, backoff: BACKOFF });
    assert.equal(back.length, 5_000);
    assert.ok(back.at(-1) < 2 * BACKOFF.cap, `${outage}: ${back.at(-1)} ms`);
  }
});

test('the server’s limit admits no more than it should, and few attempts fail', () => {
  const { back, reached } = comeBack({ clients: 5_000, outage: 60_000, backoff: BACKOFF });
  for (const since of [0, 1_000, 2_000]) {
    const within = back.filter((ms) => ms >= since && ms < since + 1_000).length;
    assert.ok(within <= GATE.burst + GATE.perSecond, `${within} in a second`);
  }
  assert.ok(reached < 2 * 5_000, `${reached} attempts`);
});
