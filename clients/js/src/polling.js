// Receives by long-polling. This works even if a proxy holds back every response until its end.

import { Requests } from './requests.js';

/** Seconds that a poll waits at the server. 25: below the 30 s after which the strictest proxies end a request. */
const WAIT = 25;

/** The shortest wait, if a proxy cuts requests off. */
const LEAST_WAIT = 2;

/** The same if only one request gets through at a time, so that a poll may delay messages that are to be sent. */
const WAIT_ALONE = 5;

/** How long only one request is sent at a time: 1 min, then doubled up to 10 min, because the network may only have been slow. */
const ALONE = { first: 60_000, longest: 600_000 };

/** Polls between two attempts to send. 8: they fetch twice as much as a server queues before it waits. */
const TURNS = 8;

/** If a request has no answer for this long, it may be waiting for the poll in progress. 2 s: longer than a slow network takes. */
const HELD_UP = 2_000;

export class Polling extends Requests {
  transport = 'polling';
  #after = 0;
  #wait = WAIT;
  #poll;
  // Until this time, only one request at a time is sent.
  #aloneUntil = 0;
  #aloneFor = ALONE.first;
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

  /** If one request gets through at a time, the server may need a poll before it answers, so a poll must be sent soon. */
  patience(attempt) {
    return this.#isAlone ? Math.min(super.patience(), HELD_UP * 2 ** attempt) : super.patience();
  }

  async repeating({ status }) {
    if (status !== 0 || !this.#isAlone) return;
    for (let turn = 0; turn < TURNS && this.isOpen; turn += 1) {
      const answer = await this.#ask(0);
      if (answer.status !== 200 || answer.isGivenUp || this.#take(parsed(answer.text)) === 0) return;
    }
  }

  failed({ status }) {
    // A proxy that allows one request at a time may refuse the others.
    if (status !== 0 && this.isSending) this.#heldUp();
  }

  get #isAlone() {
    return this.environment.now() < this.#aloneUntil;
  }

  #heldUp() {
    if (!this.#isAlone) {
      this.#aloneUntil = this.environment.now() + this.#aloneFor;
      this.#aloneFor = Math.min(ALONE.longest, this.#aloneFor * 2);
    }
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

  async #ask(wait = this.#isAlone ? Math.min(this.#wait, WAIT_ALONE) : this.#wait) {
    const controller = new AbortController();
    this.#poll = controller;
    const began = this.environment.now();
    // The limit is longer than the wait, so that the server's answer arrives first.
    const within = (wait + 10) * 1_000;
    const answer = await this.request(`?after=${this.#after}&wait=${wait}`, { within, controller });
    const waited = (this.environment.now() - began) / 1_000;
    if (answer.status === 0 && controller.signal.aborted && waited < within / 1_000) return { ...answer, status: 200, isGivenUp: true };
    const isCut = answer.status === 0 || answer.status >= 500;
    // The poll was cut off while it waited, so the next one waits less. Later, the wait grows again, in case the network had failed.
    if (isCut && waited > LEAST_WAIT) this.#wait = Math.max(LEAST_WAIT, Math.min(this.#wait, Math.floor(waited * 0.7)));
    else if (answer.status === 200 && waited >= this.#wait) this.#wait = Math.min(WAIT, this.#wait + 1);
    return answer;
  }

  /** Returns how many messages there were. */
  #take(answer) {
    if (answer?.first !== this.#after + 1 || !Array.isArray(answer.messages)) {
      this.lost('an answer to a poll is out of sequence');
      return 0;
    }
    for (const message of answer.messages) {
      this.#after += 1;
      this.received(JSON.stringify(message));
    }
    if (answer.closed) this.closed(answer.closed);
    return answer.messages.length;
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
