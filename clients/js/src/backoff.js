// How long to wait before the next connection attempt, and which close codes allow one.

/**
 * The wait is random and uniform below a bound ("full jitter"), and the bound doubles from `first` to `cap`. Clients that
 * lost the same server therefore do not all come back at the same moment.
 */
export const BACKOFF = {
  /** 500 ms: after a short loss a person waits a quarter of a second on average. The server's own gate limits how many get in at once. */
  first: 500,
  /** 10 s: somebody who watches the page waits no longer than that after the server is back. A server that needs more time says so. */
  cap: 10_000,
  /** 5 s: a connection that was open for this long resets the bound. One that is lost sooner does not, so a crashing server is not hammered. */
  stable: 5_000,
};

/** The wait before the next attempt, after this many attempts without a stable connection. */
export function pause(attempts, random, { first, cap } = BACKOFF) {
  // 2^30 times any bound exceeds any cap; a larger exponent would only overflow.
  return Math.floor(random() * Math.min(cap, first * 2 ** Math.min(attempts, 30)));
}

// RFC 6455 §7.4.1 and the IANA registry: going away, no code, connection lost, internal error, service restart, try again
// later, bad gateway. After any other code the same attempt would end the same way.
const TEMPORARY = [1001, 1005, 1006, 1011, 1012, 1013, 1014];

/** Whether a close code means "not now" rather than "do not come back". */
export function isTemporary(code) {
  return TEMPORARY.includes(code);
}
