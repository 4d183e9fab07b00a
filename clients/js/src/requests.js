// A connection over ordinary HTTP requests, with the interface of a WebSocket. docs/transports.md specifies the requests. This
// part sends messages; event-stream.js and polling.js receive them.

/** The time limit for an answer. 10 s: the same as for the answer to a ping. */
const ANSWER_WITHIN = 10_000;

/** How often a failed request is repeated, after 100 ms, 200 ms, 400 ms, … 6: within three seconds, a proxy has restarted. */
const ATTEMPTS = 6;

/** The time limit for telling the server that the client leaves. 2 s: nobody waits for it, and the server notices anyway. */
const LEAVE_WITHIN = 2_000;

/** Characters of messages in one request; a longer message is sent alone. 16 KiB: a server accepts 256 KiB by default. */
const BATCH = 16 * 1024;

/** Statuses after which a request may be repeated: a proxy gave up, or the server is busy. */
const TEMPORARY = new Set([0, 408, 425, 429, 500, 502, 503, 504]);

export class Requests {
  readyState = 0;
  bufferedAmount = 0;
  onopen = null;
  onmessage = null;
  onerror = null;
  onclose = null;
  /** Called with the first message, and when the connection has ended. */
  onworks = null;
  onended = null;
  #id;
  #base;
  #opening;
  #queue = [];
  // Characters of messages that are sent together.
  #most = BATCH;
  #number = 0;
  #isSending = false;
  #isProven = false;
  // The client has closed the connection, but earlier messages are still being sent.
  #isLeaving = false;
  #whenSent = () => {};
  // Requests and pauses, which end with the connection.
  #underWay = new Set();

  /** @param {string} url the address of the WebSocket, next to which the server has `connection` */
  constructor(url, environment) {
    const address = new URL('connection', url.replace(/^ws/, 'http'));
    this.#base = address.href;
    // A token in the address belongs to the request that opens the connection.
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

  /** Whether messages may still be sent. */
  get #mayAsk() {
    return this.isOpen || this.#isLeaving;
  }

  /** Ends the connection. Codes other than 1006 come from the server. */
  lost(reason, code = 1006) {
    this.#isLeaving = false;
    if (!this.#end()) return;
    this.#abort();
    this.onclose?.({ code, reason, wasClean: code !== 1006 });
  }

  /** The server has closed the connection. If it has not received even the first messages, a proxy held them back. */
  closed({ code, reason }) {
    if (this.#isSending && !this.#isProven) this.lost('a request failed: nothing came through');
    else this.lost(String(reason), Number(code));
  }

  opened(id) {
    if (typeof id !== 'string' || this.readyState !== 0) return;
    this.#id = id;
    this.readyState = 1;
    this.onopen?.();
  }

  received(data) {
    if (!this.isOpen) return;
    if (!this.#isProven) this.onworks?.();
    this.#isProven = true;
    this.onmessage?.({ data });
  }

  /** Opens the connection. @param path what follows the address, once the connection has an id */
  request(path, { within = ANSWER_WITHIN, controller = new AbortController(), ...init } = {}) {
    const address = path === undefined ? this.#opening : `${this.#base}/${this.#id}${path}`;
    return this.during(controller, within, async () => {
      const answer = await this.#fetch(address, { ...init, signal: controller.signal });
      return { status: answer.status, text: await answer.text() };
    }).catch(() => ({ status: 0 }));
  }

  /** Requests the stream of events. */
  stream(controller) {
    return this.#fetch(this.#opening, { signal: controller.signal });
  }

  /** Runs an action until it ends, the time limit has passed, or the connection ends. */
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
    const controller = new AbortController();
    const ended = () => new Promise((resolve) => controller.signal.addEventListener('abort', resolve));
    return this.during(controller, 100 * 2 ** attempt, ended);
  }

  /** Repeats a request as long as its failures are temporary. Resolves to the answer, or to nothing if the connection has ended.
   * @param before called before each repetition
   */
  async persist(ask, before = () => {}) {
    for (let attempt = 0; this.#mayAsk; attempt += 1) {
      const answer = await ask(attempt);
      if (!this.#mayAsk) return undefined;
      if (!TEMPORARY.has(answer.status)) return answer;
      if (attempt + 1 >= ATTEMPTS) {
        this.lost(`a request failed: HTTP ${answer.status}`);
        return undefined;
      }
      this.failed(answer);
      await before(answer);
      await this.pause(attempt);
    }
    return undefined;
  }

  /** Called before messages are sent, before they are sent again, after they were sent, and when a request has failed. */
  sending() {}

  repeating() {}

  sent() {}

  failed() {}

  /** The time limit for the answer to messages. */
  patience() {
    return ANSWER_WITHIN;
  }

  /** Ends the connection because the next one will use a better transport. */
  replace() {
    this.lost('a better transport gets through', 1012);
  }

  /** Returns whether the connection had not ended before. */
  #end() {
    if (this.readyState === 3) return false;
    this.readyState = 3;
    this.onended?.();
    return true;
  }

  #abort() {
    for (const controller of this.#underWay) controller.abort();
  }

  /** Sends earlier messages first, as a WebSocket does. The stream is ended last, so that the server knows that the client leaves. */
  async #leave() {
    const cancel = this.environment.later(() => {
      this.#isLeaving = false;
      this.#abort();
    }, LEAVE_WITHIN);
    if (this.#isSending) {
      this.#isLeaving = true;
      await new Promise((resolve) => { this.#whenSent = resolve; });
      this.#isLeaving = false;
    }
    // This may be the last action of a page.
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
    while (this.#queue.length > 0 && this.#mayAsk) {
      const batch = this.#nextBatch();
      const body = batch.join('\n');
      this.#number += 1;
      const answer = await this.persist((attempt) => this.#post(body, attempt), (failure) => this.repeating(failure));
      if (!answer) break;
      if (answer.status === 413 && batch.length > 1) {
        // Only one of them may be too large. The number was not used up.
        this.#most = 0;
        this.#number -= 1;
        this.#queue.unshift(...batch);
        continue;
      }
      if (answer.status !== 204) {
        this.#refused(answer);
        break;
      }
      this.bufferedAmount -= batch.reduce((sum, text) => sum + text.length, 0);
    }
    this.#isSending = false;
    this.sent();
    this.#whenSent();
  }

  /** Sends messages. A repeated request has the same number, so that the server handles it once. */
  async #post(body, attempt) {
    this.sending();
    const answer = await this.request(`?n=${this.#number}`, { method: 'POST', body, within: this.patience(attempt) });
    // The previous batch is still being handled.
    return answer.status === 409 && codeOf(answer) === 'busy' ? { status: 503 } : answer;
  }

  #nextBatch() {
    let size = this.#queue[0].length;
    let count = 1;
    while (count < this.#queue.length && size + this.#queue[count].length < this.#most) {
      size += this.#queue[count].length;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  #refused({ status }) {
    // RFC 6455 §7.4.1: 1009, message too big, as with a WebSocket.
    if (status === 413) this.lost('a message is larger than the server accepts', 1009);
    else this.lost(`a request was refused: HTTP ${status}`);
  }
}

/** The code of a problem that the server reports. */
function codeOf({ text }) {
  try {
    return JSON.parse(text).code;
  } catch {
    return undefined;
  }
}
