// Long polls down, requests up. What gets through where every response is held back until its end.

import { Requests } from './requests.js';

/** Seconds that a poll waits at the server. 25: below the 30 s after which the strictest proxies end a request. */
const WAIT = 25;

/** The least that it waits where requests are cut off. */
const LEAST_WAIT = 2;

/** The same where only one request gets through at a time, and a poll may hold up what is to be sent. */
const WAIT_ALONE = 5;

/** A request that has no answer for this long while a poll waits: perhaps it waits for the poll. 2 s: longer than a slow network takes. */
const HELD_UP = 2_000;

export class Polling extends Requests {
  transport = 'polling';
  #after = 0;
  #wait = WAIT;
  #poll;
  // Only one request at a time gets through.
  #isAlone = false;
  #cancel = () => {};
  #whenSent;

  async begin() {
    const { status, text } = await this.request(undefined, { method: 'POST' });
    if (status !== 201) {
      this.lost(status ? `a request was refused: HTTP ${status}` : 'no answer');
      return;
    }
    this.opened(parsed(text)?.connection);
    if (!this.isOpen) this.lost('the answer has no connection');
    while (this.isOpen) await this.#next();
  }

  sending() {
    this.#cancel();
    if (this.#isAlone) this.#poll?.abort();
    else this.#cancel = this.environment.later(() => this.#heldUp(), HELD_UP);
  }

  sent() {
    this.#cancel();
    this.#whenSent?.();
  }

  failed({ status }) {
    // A proxy that allows one request at a time may refuse the others.
    if (status !== 0 && this.isSending) this.#heldUp();
  }

  #heldUp() {
    this.#isAlone = true;
    this.#wait = Math.min(this.#wait, WAIT_ALONE);
    this.#poll?.abort();
  }

  async #next() {
    if (this.#isAlone && this.isSending) {
      await new Promise((resolve) => { this.#whenSent = resolve; });
      return;
    }
    const answer = await this.persist(() => this.#ask());
    if (!answer || answer.isGivenUp) return;
    if (answer.status === 200) this.#take(parsed(answer.text));
    // Another poll of this connection replaced it; a proxy may have repeated an older one.
    else if (answer.status === 409) await this.pause(0);
    else this.lost(`a request was refused: HTTP ${answer.status}`);
  }

  async #ask() {
    const controller = new AbortController();
    this.#poll = controller;
    const began = this.environment.now();
    // It is given more time than it waits, so that the server's answer comes first.
    const within = (this.#wait + 10) * 1_000;
    const answer = await this.request(`?after=${this.#after}&wait=${this.#wait}`, { within, controller });
    this.#poll = undefined;
    const waited = (this.environment.now() - began) / 1_000;
    if (answer.status === 0 && controller.signal.aborted && waited < within / 1_000) return { ...answer, status: 200, isGivenUp: true };
    // It was cut off while it waited: the next one waits less.
    if (answer.status !== 200 && waited > LEAST_WAIT) this.#wait = Math.max(LEAST_WAIT, Math.floor(waited * 0.7));
    return answer;
  }

  #take(answer) {
    if (answer?.first !== this.#after + 1 || !Array.isArray(answer.messages)) {
      this.lost('the answer to a poll does not follow the one before');
      return;
    }
    for (const message of answer.messages) {
      this.#after += 1;
      this.received(JSON.stringify(message));
    }
    if (answer.closed) this.closed(answer.closed);
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
