// A simulation of many clients that lost one server: the client's waits and the server's limit on handshakes.

import { pause } from '../src/backoff.js';

/** The server's gate: a token bucket, with the defaults of `[connections]` in docs/configuration.md. */
export const GATE = { perSecond: 2_000, burst: 2_000 };

/** The waits of the version before: kept to compare with. */
export const BEFORE = { first: 1_000, cap: 30_000 };

/** A generator of numbers from 0 to 1 that gives the same ones each time (xorshift32). */
export function seeded(seed) {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/**
 * The server is down for `outage` ms, which the clients notice immediately. Attempts in that time fail immediately; an
 * attempt refused by the limit counts as failed, too. Returns the sorted times at which the clients were back, in ms
 * after the server was, and the number of attempts that reached the server.
 */
export function comeBack({ clients, outage, backoff, gate = GATE, seed = 1 }) {
  const random = seeded(seed);
  // Attempts by the millisecond in which they happen.
  const due = [];
  const wait = (now, count) => (due[now + pause(count, random, backoff)] ??= []).push(count + 1);
  for (let client = 0; client < clients; client += 1) wait(0, 0);
  const back = [];
  let [reached, tokens] = [0, gate.burst];
  for (let now = 0; now < due.length; now += 1) {
    if (now > outage) tokens = Math.min(gate.burst, tokens + gate.perSecond / 1_000);
    // A wait may be shorter than a millisecond, so the list may grow while it is iterated.
    for (const count of due[now] ?? []) {
      reached += now >= outage;
      if (now >= outage && tokens >= 1) {
        tokens -= 1;
        back.push(now - outage);
      } else wait(now, count);
    }
  }
  return { back, reached };
}
