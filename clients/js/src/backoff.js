// How long to wait before the next attempt, and which ends are worth one.

/**
 * The bound doubles from `first` to `cap`, and anything below it is as likely ("full jitter"): of the
 * clients that one server lost, few come back in the same moment.
 */
export const BACKOFF = {
  /** 1 s: half a second is waited on average. */
  first: 1_000,
  /** 30 s: a server that was gone for an hour has everybody back within that. */
  cap: 30_000,
  /** A connection that was open for this long makes the bound start anew: one that is lost at once does not. */
  stable: 30_000,
};

/** The wait before an attempt, after so many in a row that led to nothing stable. */
export function pause(attempts, random, { first, cap } = BACKOFF) {
  // 2^30 times any bound is above any cap; beyond that it would only overflow.
  return Math.floor(random() * Math.min(cap, first * 2 ** Math.min(attempts, 30)));
}

// RFC 6455 §7.4.1 and the IANA registry: going away, no code, lost, internal error, restart, try again
// later, bad gateway. The others say that the same attempt would end in the same way.
const TEMPORARY = new Set([1001, 1005, 1006, 1011, 1012, 1013, 1014]);

/** Whether a close code says "not now" rather than "do not come back". */
export function isTemporary(code) {
  return TEMPORARY.has(code);
}
