/**
 * A request that was refused or could not be made. `code` is one of the protocol's (docs/protocol.md) or of the client's own:
 * `closed`, `offline`, `queue_full`, `timed_out`, `too_large`, `replaced`, `bad_message`. `retry` is `never`,
 * `later` or `reconnect`. `backend` is the error of the server's backend, if it is the one that refused.
 */
export class OffhookError extends Error {
  constructor(code, message, { retry = 'never', retry_after_ms: retryAfter, backend } = {}) {
    super(message);
    this.name = 'OffhookError';
    this.code = code;
    this.retry = retry;
    this.retryAfter = retryAfter;
    this.backend = backend;
  }

  /** From an `error` message, or from an `unsubscribed` that the server sent without being asked. */
  static from(refusal) {
    return new OffhookError(String(refusal.code), String(refusal.message), refusal);
  }
}
