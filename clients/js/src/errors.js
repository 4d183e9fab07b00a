/**
 * What was refused or did not happen. `code` is the protocol's (docs/protocol.md) or one of the client's own:
 * `closed`, `offline`, `queue_full`, `too_large`, `timed_out`, `unsubscribed`. `retry` is `never`, `later`
 * or `reconnect`.
 */
export class OffhookError extends Error {
  constructor(code, message, { retry = 'never', retryAfter } = {}) {
    super(message);
    this.name = 'OffhookError';
    this.code = code;
    this.retry = retry;
    this.retryAfter = retryAfter;
  }

  /** From an `error`, or an `unsubscribed` that the server sent unasked. */
  static from({ code, message, retry, retry_after_ms: retryAfter }) {
    return new OffhookError(String(code), String(message), { retry, retryAfter });
  }
}
