// The server's HTTP API and /metrics, with the key that the operator entered.

/** An answer of the server that is an error, or that there was none. */
export class Problem extends Error {
  constructor(status, code, message) {
    super(message);
    [this.status, this.code] = [status, code];
  }
}

const STORED = 'offhook-dashboard-key';

/** Nothing is waited for longer: the page asks again anyway. */
const PATIENCE_MS = 10_000;

export class Api {
  #key;

  /** @param key without one, the key that was kept in this tab */
  constructor(base = new URL('..', location.href), key = sessionStorage.getItem(STORED) ?? '') {
    this.base = base;
    this.#key = key.trim();
  }

  /** Uses a key from now on. `keep` stores it until the tab is closed. */
  use(key, keep) {
    this.#key = key.trim();
    if (keep && this.#key) sessionStorage.setItem(STORED, this.#key);
    else sessionStorage.removeItem(STORED);
  }

  get(path, query = {}, signal) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '');
    const text = new URLSearchParams(given).toString();
    return this.#json(`api/v1/${path}${text && `?${text}`}`, { signal });
  }

  post(path, body, signal) {
    return this.#json(`api/v1/${path}`, { signal, method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } });
  }

  async metrics(signal) {
    return (await this.#ask('metrics', { signal })).text();
  }

  /** The health report. It is an answer as well if something is wrong. */
  async health(signal) {
    const answer = await this.#fetch('healthz', { signal });
    return answer.json().catch(() => ({ status: 'unknown' }));
  }

  async #json(path, options) {
    return (await this.#ask(path, options)).json();
  }

  async #ask(path, options) {
    const answer = await this.#fetch(path, options);
    if (answer.ok) return answer;
    const { code = 'unknown', detail } = await answer.json().catch(() => ({}));
    throw new Problem(answer.status, code, detail ?? `the server answered with ${answer.status}`);
  }

  async #fetch(path, { signal, headers = {}, ...options }) {
    const all = this.#key ? { ...headers, Authorization: `Bearer ${this.#key}` } : headers;
    const within = AbortSignal.any([AbortSignal.timeout(PATIENCE_MS), ...(signal ? [signal] : [])]);
    try {
      return await fetch(new URL(path, this.base), { ...options, headers: all, signal: within, cache: 'no-store', credentials: 'omit' });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem(0, 'unreachable', 'the server does not answer');
    }
  }
}

/** The key in the part of an address after #, or undefined if it has none. */
export function keyIn(hash) {
  if (!hash.startsWith('#key=')) return undefined;
  const text = hash.slice('#key='.length);
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Repeats something until the signal ends it; not while the page is hidden. Returns when it has ended. */
export async function repeat(everyMs, signal, work) {
  while (!signal.aborted) {
    if (!document.hidden) await work();
    await pause(everyMs, signal);
  }
}

/** Waits, at most until the signal. The signal can outlive many pauses, so each takes its listener away again. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
  });
}
