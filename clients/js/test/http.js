// Simulated HTTP: the test sees each request, and answers it.

/** Lets everything run that waits for promises, streams included. */
export const settledAll = async () => {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
};

class Request {
  isOver = false;
  #resolve;
  #reject;
  #controller;

  constructor(url, { method = 'GET', body, signal, keepalive, cache } = {}, resolve, reject) {
    Object.assign(this, { url, method, body, keepalive, cache, signal });
    this.#resolve = resolve;
    this.#reject = reject;
    signal?.addEventListener('abort', () => this.fail('aborted'));
  }

  get isAborted() {
    return this.reason === 'aborted';
  }

  async answer(status, body = '') {
    this.isOver = true;
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    this.#resolve({ status, statusText: '', headers: new Map([['content-type', 'text/plain']]), text: async () => text });
    await settledAll();
  }

  /** Answers with a stream. */
  async streams() {
    const body = new ReadableStream({ start: (controller) => { this.#controller = controller; } });
    this.#resolve({ status: 200, body });
    await settledAll();
  }

  async writes(text) {
    this.#controller.enqueue(new TextEncoder().encode(text));
    await settledAll();
  }

  async ends() {
    this.isOver = true;
    this.#controller.close();
    await settledAll();
  }

  async fail(reason = 'failed') {
    if (this.isOver) return;
    this.isOver = true;
    this.reason = reason;
    this.#reject(new TypeError(reason));
    try {
      this.#controller?.error(new TypeError(reason));
    } catch {
      // It has ended.
    }
    await settledAll();
  }
}

/** Everything that is requested in a world. */
export class Http {
  requests = [];
  logged = [];

  constructor(world) {
    const fetch = (url, init) => new Promise((resolve, reject) => this.requests.push(new Request(url, init, resolve, reject)));
    Object.assign(world.environment, { fetch, globals: { fetch, console: { error: (line) => this.logged.push(line) } } });
  }

  /** The requests that are under way, such as `POST http://…`. */
  get underWay() {
    return this.requests.filter(({ isOver }) => !isOver);
  }

  get lines() {
    return this.underWay.map(({ method, url }) => `${method} ${url}`);
  }

  /** The newest that is under way and begins like this. */
  find(line) {
    const found = this.underWay.findLast(({ method, url }) => `${method} ${url}`.startsWith(line));
    if (!found) throw new Error(`no ${line} among ${this.lines}`);
    return found;
  }
}
