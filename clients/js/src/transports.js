// Which transport is used. Loaded when a WebSocket has failed before a message came, or had failed in an earlier page.
//
//   websocket ──▶ sse ──▶ polling ──▶ websocket ──▶ …    down, when a transport fails while the server can be reached by HTTP
//       ▲          ▲         │
//       └──────────┴─────────┘                           up, when a trial of a better transport was answered
//
// Each step is a new connection, which resumes the session with its positions: nothing is lost or repeated.

import { EventStream } from './event-stream.js';
import { explain } from './explain.js';
import { Polling } from './polling.js';

const BEST_FIRST = ['websocket', 'sse', 'polling'];
const REQUESTS = { sse: EventStream, polling: Polling };

/** How often a transport is refused before the next one is taken. 2: the first refusal may come from a server that is just starting. */
const REFUSALS = 2;

/** A proxy accepted the connection, or began to, and swallows what goes over it, or holds it back: once is enough. */
const SWALLOWED = /^(no answer to a ping|it took too long|a request failed)/;

/** The limit for asking whether the server can be reached. 3 s: otherwise it is the network that is at fault. */
const REACHED_WITHIN = 3_000;

/** When a server that said why it refuses is asked again. 30 s: three attempts, so that the answers do not fill its log. */
const ASK_AGAIN = 30_000;

/** The limit for the answer to a trial. 5 s: as for the first event of a stream. */
const TRIAL_WITHIN = 5_000;

/**
 * When better transports are tried: after 5 s if the page began with what an earlier page had found, as the network may be another
 * one; after 1 min if the better one has just failed; then at doubled intervals up to 10 min.
 */
const TRIAL = { soon: 5_000, first: 60_000, longest: 600_000 };

/** Replaces how this environment opens connections; once, even if it was loaded twice. */
export function install(environment) {
  if (environment.transports) return environment;
  const transports = new Transports(environment);
  return Object.assign(environment, {
    transports,
    open: (url, protocols) => transports.open(url, protocols),
    recall: async (url, client, allowed) => transports.recall(url, client, allowed),
    fallBack: (end, client) => transports.failed(end, client),
  });
}

class Transports {
  #environment;
  #openWebSocket;
  #allowed = BEST_FIRST;
  #current = 0;
  // The transport of the newest connection.
  #opened = 0;
  #client;
  #isRecalled = false;
  #refusals = 0;
  #isExplained = false;
  #isAsking = false;
  #askAfter = 0;
  #trialAfter = TRIAL.first;
  #cancel = () => {};

  constructor(environment) {
    this.#environment = environment;
    this.#openWebSocket = environment.open;
  }

  /** Called before each attempt. */
  recall(url, client, allowed = BEST_FIRST) {
    this.#client = client;
    if (this.#isRecalled) return;
    this.#isRecalled = true;
    this.#allowed = BEST_FIRST.filter((name) => allowed.includes(name));
    const found = this.#allowed.indexOf(remembered(this.#environment, url));
    if (found < 0) return;
    this.#current = found;
    this.#trialAfter = TRIAL.soon;
  }

  open(url, protocols) {
    this.#cancel();
    this.#opened = this.#current;
    const socket = this.#make(this.#current, url, protocols);
    const name = this.#allowed[this.#current];
    if (name === 'websocket') {
      socket.addEventListener?.('message', () => this.#works(name), { once: true });
      return socket;
    }
    socket.onworks = () => {
      this.#works(name);
      remember(this.#environment, url, name);
      this.#tryBetter(url, protocols, socket);
    };
    socket.onended = () => this.#cancel();
    return socket;
  }

  /** The first message came, which is the `welcome` or goes before it. */
  #works(name) {
    this.#refusals = 0;
    if (this.#client) this.#client.transport = name;
  }

  /** A connection ended before its `welcome`. Warns once why, if the server says so. */
  async failed({ url, code, reason }, client) {
    this.#client = client;
    // Another code is the server's word, which shows that the transport works.
    if (code !== 1006 || !isTransport(reason) || this.#environment.now() < this.#askAfter) return;
    // Attempts may fail faster than the server answers.
    if (this.#isAsking) return;
    this.#isAsking = true;
    const { status, why, isLate } = await this.#reach(url);
    this.#isAsking = false;
    // A busy server refuses more than this transport.
    const isBusy = status === undefined ? !(isLate && this.#isStuck(reason)) : status === 429 || status >= 500;
    // What refuses every transport may be over soon: a deployment, or a token in the address that has expired.
    if (!isBusy && why) this.#askAfter = this.#environment.now() + ASK_AGAIN;
    else if (!isBusy && this.#opened === this.#current) this.#refused(SWALLOWED.test(reason));
    if (why && !this.#isExplained) client.emit('warning', Object.assign(new Error(why), { code: 'unreachable', retry: 'never' }));
    this.#isExplained ||= !!why;
  }

  /**
   * Neither a stream gets through nor anything else: perhaps streams of other tabs hold all the connections that a browser opens to a
   * host, which are six over HTTP/1.1. Polls hold them for a while only.
   */
  #isStuck(reason) {
    return SWALLOWED.test(reason) && this.#allowed[this.#opened] === 'sse' && this.#allowed.includes('polling');
  }

  #refused(isSwallowed) {
    this.#refusals += 1;
    if (isSwallowed || this.#refusals >= REFUSALS) this.#step((this.#current + 1) % this.#allowed.length);
  }

  #step(to) {
    this.#current = to;
    this.#refusals = 0;
  }

  #make(index, url, protocols) {
    const Class = REQUESTS[this.#allowed[index]];
    return Class ? new Class(url, this.#environment) : this.#openWebSocket(url, protocols);
  }

  /** Whether the server can be reached with an ordinary request, and what it says. */
  async #reach(url) {
    let cancel;
    const late = new Promise((resolve) => { cancel = this.#environment.later(() => resolve({ isLate: true }), REACHED_WITHIN); });
    try {
      return await Promise.race([explain(url, this.#environment.globals).catch(() => ({})), late]);
    } finally {
      cancel();
    }
  }

  /** Tries the better transports, best first, after a while and again and again. */
  #tryBetter(url, protocols, socket) {
    const after = this.#trialAfter;
    this.#trialAfter = Math.min(TRIAL.longest, Math.max(TRIAL.first, after * 2));
    this.#cancel = this.#environment.later(async () => {
      for (let index = 0; index < this.#current; index += 1) {
        const isAnswered = await this.#isAnswered(index, url, protocols);
        if (!socket.isOpen) return;
        if (isAnswered) {
          this.#step(index);
          remember(this.#environment, url, this.#allowed[index]);
          socket.replace();
          return;
        }
      }
      this.#tryBetter(url, protocols, socket);
    }, after);
  }

  /** Whether a message gets there and another one back. Before `connect`, the answer to a ping is an error, which serves as well. */
  #isAnswered(index, url, protocols) {
    const socket = this.#make(index, url, protocols);
    return new Promise((resolve) => {
      const settle = (isAnswered) => {
        cancel();
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.onerror = () => {};
        socket.close(1000);
        resolve(isAnswered);
      };
      const cancel = this.#environment.later(() => settle(false), TRIAL_WITHIN);
      socket.onopen = () => socket.send('{"type":"ping","id":1}');
      socket.onmessage = () => settle(true);
      socket.onclose = socket.onerror = () => settle(false);
    });
  }
}

/** Whether a connection ended because of the way and not because of what was said: a browser gives no reason. */
function isTransport(reason) {
  return !reason || SWALLOWED.test(reason) || /^(a request|the stream|the answer|no answer)/.test(reason);
}

/** Where pages keep what worked: `{ HOST: TRANSPORT }`, without those where a WebSocket did. */
const KEY = 'offhook';

/** What worked for this server in an earlier page. */
function remembered(environment, url) {
  return kept(environment)[new URL(url).host];
}

function remember(environment, url, name) {
  const { [new URL(url).host]: before, ...others } = kept(environment);
  const now = name === 'websocket' ? others : { ...others, [new URL(url).host]: name };
  try {
    const storage = environment.storage ?? globalThis.localStorage;
    if (Object.keys(now).length > 0) storage.setItem(KEY, JSON.stringify(now));
    else storage.removeItem(KEY);
  } catch {
    // The next page finds out by itself.
  }
}

function kept({ storage }) {
  try {
    return JSON.parse((storage ?? globalThis.localStorage).getItem(KEY)) ?? {};
  } catch {
    // There is no storage in Node, and none that may be read in some frames.
    return {};
  }
}
