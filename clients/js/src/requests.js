// A connection over ordinary HTTP requests, with the interface of a WebSocket. This part sends; how messages are received differs:
// event-stream.js and polling.js. The requests are those of docs/transports.md.

/** The limit for an answer. 10 s: as for the answer to a ping. */
const ANSWER_WITHIN = 10_000;

/** A request that fails is repeated this often, after 100 ms, 200 ms, 400 ms, … 6: three seconds, as long as a proxy takes to restart. */
const ATTEMPTS = 6;

/** The limit for saying that the client leaves. 2 s: nobody waits for it, and the server would notice by itself. */
const LEAVE_WITHIN = 2_000;

/** Characters of the messages in one request. 16 KiB: a longer message goes alone. A server accepts 256 KiB by default. */
const BATCH = 16 * 1024;

/** Answers that say nothing about the connection: a proxy gave up, or the server asks for patience. */
const TEMPORARY = new Set([0, 408, 425, 429, 500, 502, 503, 504]);

export class Requests {
  readyState = 0;
  bufferedAmount = 0;
  onopen = null;
  onmessage = null;
  onerror = null;
  onclose = null;
  /** Called with the first message, and when this has ended. */
  onworks = null;
  onended = null;
  #id;
  #base;
  #opening;
  #queue = [];
  #number = 0;
  #isSending = false;
  #isProven = false;
  #underWay = new Set();

  /** @param {string} url the address of the WebSocket, next to which the server has `connection` */
  constructor(url, environment) {
    const address = new URL('connection', url.replace(/^ws/, 'http'));
    this.#base = address.href;
    // A token in the address is meant for whatever opens the connection.
    this.#opening = address.href + new URL(url).search;
    this.environment = environment;
    // The caller adds its listeners first.
    Promise.resolve().then(() => this.readyState === 0 && this.begin());
  }

  get isOpen() {
    return this.readyState === 1;
  }

  get isSending() {
    return this.#isSending;
  }

  send(text) {
    this.#queue.push(text);
    this.bufferedAmount += text.length;
    this.#pump();
  }

  /** As with a WebSocket, 1000 means that the client leaves for good. */
  close(code) {
    const leaves = code === 1000 && this.isOpen;
    if (!this.#end()) return;
    if (leaves) this.#leave();
    else this.#abort();
  }

  /** It has ended. Other codes than 1006 are the server's. */
  lost(reason, code = 1006) {
    if (!this.#end()) return;
    this.#abort();
    this.onclose?.({ type: 'close', code, reason, wasClean: code !== 1006 });
  }

  /** The server has closed it. If it has not even got the first messages, something between held them back. */
  closed({ code, reason }) {
    if (this.#isSending && !this.#isProven) this.lost('a request failed: nothing came through');
    else this.lost(String(reason), Number(code));
  }

  opened(id) {
    if (typeof id !== 'string' || this.readyState !== 0) return;
    this.#id = id;
    this.readyState = 1;
    this.onopen?.({ type: 'open' });
  }

  received(data) {
    if (!this.isOpen) return;
    if (!this.#isProven) this.onworks?.();
    this.#isProven = true;
    this.onmessage?.({ type: 'message', data });
  }

  /** Opens the connection. @param path what follows the address, once the connection has an id */
  request(path, { within = ANSWER_WITHIN, controller = new AbortController(), ...init } = {}) {
    const address = path === undefined ? this.#opening : `${this.#base}/${this.#id}${path}`;
    return this.during(controller, within, async () => {
      const answer = await this.#fetch(address, { ...init, signal: controller.signal });
      return { status: answer.status, text: await answer.text() };
    }).catch(() => ({ status: 0, text: '' }));
  }

  /** Requests the stream of events. */
  stream(controller) {
    return this.#fetch(this.#opening, { signal: controller.signal });
  }

  /** Does this until it ends, the time is over, or the connection ends. */
  async during(controller, within, action) {
    this.#underWay.add(controller);
    const cancel = this.environment.later(() => controller.abort(), within);
    try {
      return await action();
    } finally {
      cancel();
      this.#underWay.delete(controller);
    }
  }

  pause(attempt) {
    return new Promise((resolve) => this.environment.later(resolve, 100 * 2 ** attempt));
  }

  /** Repeats a request while its failures are temporary. Resolves to the answer, or to nothing once the connection has ended. */
  async persist(ask) {
    for (let attempt = 0; this.isOpen; attempt += 1) {
      const answer = await ask();
      if (!this.isOpen) return undefined;
      if (!TEMPORARY.has(answer.status)) return answer;
      if (attempt + 1 >= ATTEMPTS) {
        this.lost(`a request failed: HTTP ${answer.status}`);
        return undefined;
      }
      this.failed(answer);
      await this.pause(attempt);
    }
    return undefined;
  }

  /** What a transport does before messages are sent, when they were, and when a request has failed. */
  sending() {}

  sent() {}

  failed() {}

  /** Ends it for a reason of this side: the next connection takes another transport. */
  replace() {
    this.lost('a better transport gets through', 1012);
  }

  /** Whether it had not ended before. */
  #end() {
    if (this.readyState === 3) return false;
    this.readyState = 3;
    this.onended?.();
    return true;
  }

  #abort() {
    for (const controller of this.#underWay) controller.abort();
  }

  /** The stream ends after that: without it the server would not know that the client leaves. */
  async #leave() {
    const cancel = this.environment.later(() => this.#abort(), LEAVE_WITHIN);
    // It may be the last thing that a page does.
    await this.#fetch(`${this.#base}/${this.#id}`, { method: 'DELETE', keepalive: true }).catch(() => {});
    cancel();
    this.#abort();
  }

  #fetch(address, init) {
    const { fetch = globalThis.fetch } = this.environment;
    return fetch(address, { cache: 'no-store', ...init });
  }

  async #pump() {
    if (this.#isSending) return;
    this.#isSending = true;
    while (this.#queue.length > 0 && this.isOpen) {
      const batch = this.#nextBatch();
      const body = batch.join('\n');
      this.#number += 1;
      const answer = await this.persist(() => this.#post(body));
      if (!answer) break;
      if (answer.status !== 204) {
        this.#refused(answer);
        break;
      }
      this.bufferedAmount -= batch.reduce((sum, text) => sum + text.length, 0);
    }
    this.#isSending = false;
    this.sent();
  }

  /** The same number is safe to send again: the server takes it once. */
  async #post(body) {
    this.sending();
    const answer = await this.request(`?n=${this.#number}`, { method: 'POST', body });
    // The batch before is still being handled.
    return answer.status === 409 && codeOf(answer) === 'busy' ? { status: 503 } : answer;
  }

  #nextBatch() {
    let size = this.#queue[0].length;
    let count = 1;
    while (count < this.#queue.length && size + this.#queue[count].length < BATCH) {
      size += this.#queue[count].length;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  #refused({ status }) {
    // RFC 6455 §7.4.1: 1009, message too big, as a WebSocket says it.
    if (status === 413) this.lost('a message is larger than the server accepts', 1009);
    else this.lost(`a request was refused: HTTP ${status}`);
  }
}

/** What a problem of the server is called. */
function codeOf({ text }) {
  try {
    return JSON.parse(text).code;
  } catch {
    return undefined;
  }
}
