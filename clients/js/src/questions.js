// Requests that may safely be repeated (history, presence, receipts, …). An unanswered one is sent again on the next connection.

import { OffhookError } from './errors.js';

/** The limit for an answer. 20 s: the server's own limit of 10 s, and a reconnect. */
export const ANSWER_WITHIN = 20_000;

/** Unanswered requests. 256: as many as a server keeps for one connection. */
const MOST = 256;

export class Questions {
  #environment;
  #within;
  #send;
  #open = new Set();
  #byId = new Map();
  #isOpen = false;

  /** @param send returns the id that a message was sent with */
  constructor(environment, within, send) {
    this.#environment = environment;
    this.#within = within ?? ANSWER_WITHIN;
    this.#send = send;
  }

  /**
   * Asks; with `once`, a number of milliseconds, not again on another connection, and only for so long. `isBounded`: the caller has
   * a bound of its own.
   */
  ask(message, once, isBounded) {
    if (this.#open.size >= MOST && !isBounded) {
      return Promise.reject(new OffhookError('queue_full', `${MOST} requests are unanswered`, { retry: 'later' }));
    }
    return new Promise((resolve, reject) => {
      const question = { message, resolve, reject, once, isBounded };
      const late = new OffhookError('timed_out', `no answer to ${message.type} in time`, { retry: 'later' });
      question.cancel = this.#environment.later(() => this.#reject(question, late), once ?? this.#within);
      this.#open.add(question);
      this.#ask(question);
    });
  }

  opened() {
    this.#isOpen = true;
    for (const question of this.#open) this.#ask(question);
  }

  lost() {
    this.#isOpen = false;
    for (const question of this.#byId.values()) if (question.once) {
      const error = new OffhookError('offline', 'connection lost; it may have been done', { retry: 'later' });
      this.#reject(question, error);
    }
    this.#byId.clear();
  }

  /** Whether this was the answer to a request. */
  answered(answer) {
    const question = this.#byId.get(answer.id);
    if (!question) return false;
    this.#byId.delete(answer.id);
    if (answer.type !== 'error') {
      this.#close(question);
      question.resolve(answer);
      return true;
    }
    const error = OffhookError.from(answer);
    // What may be done only once is not sent again. For `reconnect`, the rest is sent again on the next connection.
    if (question.once && !question.isBounded) this.#reject(question, error);
    else if (error.retry === 'later') question.cancelRetry = this.#environment.later(() => this.#ask(question), error.retryAfter ?? 1_000);
    else if (error.retry !== 'reconnect') this.#reject(question, error);
    return true;
  }

  close(error) {
    for (const question of this.#open) this.#reject(question, error);
  }

  #ask(question) {
    question.cancelRetry?.();
    if (this.#isOpen) this.#byId.set(this.#send(question.message), question);
  }

  #reject(question, error) {
    this.#close(question);
    question.reject(error);
  }

  #close(question) {
    question.cancel();
    question.cancelRetry?.();
    this.#open.delete(question);
  }
}
