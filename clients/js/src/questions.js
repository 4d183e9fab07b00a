// What is asked and changes nothing: history, presence, receipts. Asked again on the next connection if this one ends first.

import { OffhookError } from './errors.js';

/** 20 s: a server's own limit, 10 s, and a reconnect. */
export const ANSWER_WITHIN = 20_000;

/** Questions without an answer yet. 256: as many as a server keeps for one connection. */
const MOST = 256;

export class Questions {
  #environment;
  #within;
  #send;
  #open = new Set();
  #byId = new Map();
  #isOpen = false;

  /** @param send gives the id that a message was sent with */
  constructor(environment, within, send) {
    this.#environment = environment;
    this.#within = within ?? ANSWER_WITHIN;
    this.#send = send;
  }

  ask(message) {
    if (this.#open.size >= MOST) {
      return Promise.reject(new OffhookError('queue_full', `${MOST} questions wait for an answer`, { retry: 'later' }));
    }
    return new Promise((resolve, reject) => {
      const question = { message, resolve, reject };
      const late = new OffhookError('timed_out', 'no answer in time', { retry: 'later' });
      question.cancel = this.#environment.later(() => this.#reject(question, late), this.#within);
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
    this.#byId.clear();
  }

  /** Whether this was the answer to a question. */
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
    // For `reconnect` the next connection comes by itself.
    if (error.retry === 'later') this.#environment.later(() => this.#ask(question), error.retryAfter ?? 1_000);
    else if (error.retry !== 'reconnect') this.#reject(question, error);
    return true;
  }

  close(error) {
    for (const question of this.#open) this.#reject(question, error);
  }

  #ask(question) {
    if (!this.#isOpen || !this.#open.has(question)) return;
    this.#byId.set(this.#send(question.message), question);
  }

  #reject(question, error) {
    this.#close(question);
    question.reject(error);
  }

  #close(question) {
    question.cancel();
    this.#open.delete(question);
  }
}
