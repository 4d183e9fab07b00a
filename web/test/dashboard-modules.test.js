// The parts of the dashboard that need no page.

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { keyIn, pause } from '../dashboard/api.js';
import { parsed } from '../dashboard/channel.js';
import { bytes, count, data, duration, seconds } from '../dashboard/format.js';
import { Reading, quantile, rate } from '../dashboard/metrics.js';
import { ceiling, ceilingOfBytes, line } from '../dashboard/plot.js';
import { entries, sentence } from '../dashboard/timeline.js';

const page = (published, buckets) => `# TYPE offhook_published counter
# HELP offhook_published Publications.
offhook_published_total ${published}
offhook_refused_total{kind="forbidden"} 2
offhook_refused_total{kind="busy"} 3
${buckets.map(([le, value]) => `latency_seconds_bucket{le="${le}"} ${value}`).join('\n')}
# EOF
`;

test('metrics are read with their labels, and summed', () => {
  const reading = new Reading(page(7, [['0.1', 1], ['+Inf', 2]]), 0);
  assert.equal(reading.value('offhook_published_total'), 7);
  assert.equal(reading.value('offhook_refused_total'), 5);
  assert.equal(reading.value('nothing'), undefined);
  assert.deepEqual(reading.all('latency_seconds_bucket').map(({ labels }) => labels.le), ['0.1', '+Inf']);
});

test('a rate is the growth per second, and unknown after a restart', () => {
  const [older, newer] = [new Reading(page(10, []), 1_000), new Reading(page(30, []), 3_000)];
  assert.equal(rate(older, newer, 'offhook_published'), 10);
  assert.equal(rate(newer, older, 'offhook_published'), undefined);
  assert.equal(rate(undefined, newer, 'offhook_published'), undefined);
  assert.equal(rate(older, newer, 'nothing_happened'), 0);
  assert.equal(rate(newer, new Reading(page(2, []), 5_000), 'offhook_published'), undefined);
});

test('a quantile is interpolated within its bucket, of what came between two readings only', () => {
  const older = new Reading(page(0, [['0.1', 100], ['0.2', 100], ['+Inf', 100]]), 0);
  const newer = new Reading(page(0, [['0.1', 100], ['0.2', 110], ['+Inf', 110]]), 1_000);
  assert.ok(Math.abs(quantile(older, newer, 'latency_seconds', 0.5) - 0.15) < 1e-9);
  assert.equal(quantile(older, older, 'latency_seconds', 0.5), undefined, 'nothing came');
  assert.equal(quantile(undefined, newer, 'latency_seconds', 0.5), undefined);
  const beyond = new Reading(page(0, [['0.1', 100], ['0.2', 100], ['+Inf', 104]]), 2_000);
  assert.equal(quantile(older, beyond, 'latency_seconds', 0.99), 0.2, 'the last bound that is known');
});

test('a line is interrupted where nothing is known', () => {
  const entriesOf = [1, undefined, 3, 4].map((value, at) => ({ at, values: [value] }));
  const path = line(entriesOf, 0, (at) => at * 10, (value) => value);
  assert.equal(path, 'M0.0 1.0h0.1M20.0 3.0h0.1L30.0 4.0');
  assert.deepEqual([0, 0.3, 1, 1.1, 6, 99].map(ceiling), [0, 0.5, 1, 2, 10, 100]);
  assert.deepEqual([0, 1, 1000, 1025, 3 * 2 ** 20].map(ceilingOfBytes), [0, 1, 1000, 2048, 5 * 2 ** 20]);
});

test('numbers are short enough to read', () => {
  assert.deepEqual([count(1234567), count(0.123456), bytes(1536), bytes(0), seconds(0.00012), seconds(0.25), duration(90_061), duration(59)],
    ['1,234,567', '0.123', '1.5 KiB', '0 B', '120 µs', '250 ms', '1 d 1 h', '59 s']);
  assert.equal(data({ base64: 'AQI=' }), 'base64: AQI=');
  assert.ok(data({ data: 'x'.repeat(9_000) }).length < 2_100);
});

test('what is typed is JSON if it can be, and text otherwise', () => {
  assert.deepEqual(['{"a":1}', '[1]', '"x"', '12', '{a', 'hello'].map(parsed), [{ a: 1 }, [1], 'x', '12', '{a', 'hello']);
});

test('every kind of entry of the flight recorder has a sentence', () => {
  const source = readFileSync(new URL('../../crates/server/src/http/api/recorded.rs', import.meta.url), 'utf8');
  const kinds = [...source.matchAll(/of\(subscription, "(\w+)"\)|"what": "(\w+)"|\["what"\] = "(\w+)"/g)].map((found) => found[1] ?? found[2] ?? found[3]);
  assert.ok(kinds.length >= 12, kinds.join());
  for (const what of kinds) {
    const [, text] = sentence({ what, channel: 'room', position: '1.2', code: 'forbidden', detail: 'no', verb: 'subscribe', from: '1.1', to: '1.2', reason: 'dropped', after_ms: 5, method: 'm', bytes: 3 });
    assert.doesNotMatch(text, /undefined|NaN|^\{/, what);
  }
  assert.match(sentence({ what: 'of a newer server', x: 1 })[1], /of a newer server/);
});

test('a timeline is in the order of time, with the end of the connection', () => {
  const shown = entries({ decisions: [{ what: 'live', channel: 'a', position: '1.1', time: 30 }], messages: [{ what: 'called', method: 'm', time: 10, times: 4 }], ended: 40, end: 'lost' });
  assert.deepEqual(shown.map(([time]) => time), [10, 30, 40]);
  assert.match(shown[0][2], /4 times/);
  assert.match(shown[2][2], /lost/);
});

test('a key is read from an address, also from one that is encoded wrongly', () => {
  assert.equal(keyIn('#key=ohk_a%2Bb'), 'ohk_a+b');
  assert.equal(keyIn('#key=%'), '%');
  assert.equal(keyIn('#channels'), undefined);
});

test('a pause ends with its time or its signal, and leaves no listener at the signal', async () => {
  const over = new AbortController();
  await pause(1, over.signal);
  assert.equal(getEventListeners(over.signal, 'abort').length, 0);
  const day = pause(86_400_000, over.signal);
  over.abort();
  await day;
  await pause(86_400_000, over.signal);
  assert.equal(getEventListeners(over.signal, 'abort').length, 0);
});
