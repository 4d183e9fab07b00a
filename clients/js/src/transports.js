// Chooses the transport. Loaded when a WebSocket has failed before a message arrived, or had failed in an earlier page.
//
//   webtransport ──▶ websocket ──▶ sse ──▶ polling ──▶ …  down, when a transport fails while the server can be reached by HTTP
//        ▲              ▲         ▲         │
//        └──────────────┴─────────┴─────────┘            up, when a trial of a better transport was answered
//
// WebTransport is used only if the option `transports` contains it. After the last one, the first one is tried again.
//
// Each step is a new connection, which resumes the session with its positions: nothing is lost or repeated.

import { EventStream } from './event-stream.js';
import { explain } from './explain.js';
import { Polling } from './polling.js';
import { WebTransportSocket } from './webtransport.js';

const BEST_FIRST = ['webtransport', 'websocket', 'sse', 'polling'];
const UNASKED = BEST_FIRST.slice(1);
const CLASSES = { webtransport: WebTransportSocket, sse: EventStream, polling: Polling };

/** How many refusals lead to the next transport. 2: the first one may come from a server that is just starting. */
const REFUSALS = 2;

/** Ends after which the next transport is used at once: a connection was accepted, but a proxy drops its messages or holds them back. */
const SWALLOWED = /^(no answer to a ping|it took too long|a request failed)/;

/** The time limit for asking whether the server can be reached. 3 s: without an answer by then, the network is at fault. */
const REACHED_WITHIN = 3_000;

/** When a server that said why it refuses is asked again. 30 s: after three attempts, so that refusals do not fill its log. */
const ASK_AGAIN = 30_000;

/** The time limit for the answer to a trial. 5 s: the same as for the first event of a stream. */
const TRIAL_WITHIN = 5_000;

/** When better transports are tried: after 5 s if the page began with the transport that an earlier page had found, because the
 * network may have changed; after 1 min if the better one has just failed; then at doubled intervals up to 10 min.
 */
const TRIAL = { soon: 5_000, first: 60_000, longest: 600_000 };

/** Replaces the way in which this environment opens connections; only once, even if this module was loaded twice. */
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
  #allowed = UNASKED;
  #current = 0;
  // The transport of the newest connection.
  #opened = 0;
  // Those of the browser's WebTransport.
  #options;
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
  recall(url, client, allowed = UNASKED) {
    this.#client = client;
    if (this.#isRecalled) return;
    this.#isRecalled = true;
    this.#options = allowed.find((one) => one.webtransport)?.webtransport;
    const isThere = (name) => name !== 'webtransport' || hasWebTransport(this.#environment, url);
    this.#allowed = BEST_FIRST.filter((name) => allowed.some((one) => one === name || one[name]) && isThere(name));
    const found = this.#allowed.indexOf(remembered(this.#environment, url));
    if (found <= 0) return;
    this.#current = found;
    this.#trialAfter = TRIAL.soon;
  }

  open(url, protocols) {
    this.#cancel();
    this.#opened = this.#current;
    const socket = this.#make(this.#current, url, protocols);
    const name = this.#allowed[this.#current];
    if (name === 'websocket') {
      socket.addEventListener?.('message', () => this.#works(name, url, protocols, new Replaceable(socket)), { once: true });
      return socket;
    }
    socket.onworks = () => this.#works(name, url, protocols, socket);
    socket.onended = () => this.#cancel();
    return socket;
  }

  /** The first message arrived: the `welcome`, or one that precedes it. */
  #works(name, url, protocols, socket) {
    this.#refusals = 0;
    this.#client.transport = name;
    this.#remember(url, name);
    if (this.#current > 0) this.#tryBetter(url, protocols, socket);
  }

  /** Nothing has to be remembered of the best one. */
  #remember(url, name) {
    remember(this.#environment, url, name === this.#allowed[0] ? undefined : name);
  }

  /** A connection ended before its `welcome`. Warns once, if the server gives a reason. */
  async failed({ url, code, reason }, client) {
    // This module may be loaded between the `recall` of an attempt and its `open`.
    this.#client = client;
    // Other codes come from the server, which shows that the transport works.
    if (code !== 1006 || !isTransport(reason) || this.#environment.now() < this.#askAfter) return;
    // Attempts may fail faster than the server answers.
    if (this.#isAsking) return;
    this.#isAsking = true;
    const { status, why, isLate } = await this.#reach(url);
    this.#isAsking = false;
    // A busy server refuses all transports, not only this one.
    const isBusy = status === undefined ? !(isLate && this.#isStuck(reason)) : status === 429 || status >= 500;
    // If every transport is refused, the cause may be temporary: a deployment, or an expired token in the address.
    if (!isBusy && why) this.#askAfter = this.#environment.now() + ASK_AGAIN;
    else if (!isBusy && this.#opened === this.#current) this.#refused(SWALLOWED.test(reason));
    if (why && !this.#isExplained) client.emit('warning', Object.assign(new Error(why), { code: 'unreachable', retry: 'never' }));
    this.#isExplained ||= !!why;
  }

  /** Neither a stream nor any other request is answered. Perhaps streams of other tabs use all connections that a browser opens to
 * one host, which are six over HTTP/1.1. Polls use a connection only for a limited time.
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
    const Class = CLASSES[this.#allowed[index]];
    return Class ? new Class(url, this.#environment, this.#options) : this.#openWebSocket(url, protocols);
  }

  /** Whether the server can be reached with an ordinary request, and its answer. */
  async #reach(url) {
    // A request that is never answered would occupy one of the connections that a browser opens to one host.
    const controller = new AbortController();
    let isLate = false;
    const cancel = this.#environment.later(() => {
      isLate = true;
      controller.abort();
    }, REACHED_WITHIN);
    try {
      return await explain(url, this.#environment.globals, controller.signal);
    } catch {
      return { isLate };
    } finally {
      cancel();
      // Also what was not read of the answer.
      controller.abort();
    }
  }

  /** Tries the better transports, best first, after a delay and then repeatedly. */
  #tryBetter(url, protocols, socket) {
    const after = this.#trialAfter;
    this.#trialAfter = Math.min(TRIAL.longest, Math.max(TRIAL.first, after * 2));
    this.#cancel = this.#environment.later(async () => {
      // A WebSocket does not say here that it has ended.
      if (!socket.isOpen) return;
      for (let index = 0; index < this.#current; index += 1) {
        const isAnswered = await this.#isAnswered(index, url, protocols);
        if (!socket.isOpen) return;
        if (isAnswered) {
          this.#step(index);
          this.#remember(url, this.#allowed[index]);
          socket.replace();
          return;
        }
      }
      this.#tryBetter(url, protocols, socket);
    }, after);
  }

  /** Whether messages get through in both directions. Before `connect`, a ping is answered with an error, which suffices. */
  async #isAnswered(index, url, protocols) {
    let socket;
    try {
      socket = this.#make(index, url, protocols);
    } catch {
      // A policy of the page forbids it.
      return false;
    }
    return new Promise((resolve) => {
      const settle = (isAnswered) => {
        cancel();
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

/** A WebSocket that is used although a better transport is allowed. */
class Replaceable {
  #socket;

  constructor(socket) {
    this.#socket = socket;
  }

  get isOpen() {
    return this.#socket.readyState === 1;
  }

  /** Ends the connection because the next one will use a better transport. Not with 1000, which would end the session. */
  replace() {
    const socket = this.#socket;
    socket.close(4000, 'a better transport gets through');
    // The closing handshake would delay the next connection by a round trip.
    socket.onclose?.({ code: 1012, reason: 'a better transport gets through', wasClean: true });
  }
}

/** Whether sessions can be opened: only from pages and to servers with TLS, and not in every browser. */
function hasWebTransport({ WebTransport = globalThis.WebTransport }, url) {
  return !!WebTransport && /^(wss|https):/.test(url);
}

/** Whether a connection ended because of the network and not because of its messages; a browser gives no reason then. */
function isTransport(reason) {
  return !reason || SWALLOWED.test(reason) || /^(a request|the stream|the answer|no answer)/.test(reason);
}

/** Where pages store the transports that worked: `{ HOST: TRANSPORT }`, without hosts where the best one worked. */
const KEY = 'offhook';

/** The transport that worked for this server in an earlier page. */
function remembered(environment, url) {
  return kept(environment)[new URL(url).host];
}

function remember(environment, url, name) {
  const { [new URL(url).host]: before, ...others } = kept(environment);
  if (name === before) return;
  const now = name ? { ...others, [new URL(url).host]: name } : others;
  try {
    const storage = environment.storage ?? globalThis.localStorage;
    if (Object.keys(now).length > 0) storage.setItem(KEY, JSON.stringify(now));
    else storage.removeItem(KEY);
  } catch {
    // Without storage, the next page has to find out again.
  }
}

function kept({ storage }) {
  try {
    return JSON.parse((storage ?? globalThis.localStorage).getItem(KEY)) ?? {};
  } catch {
    // Node has no storage, and some frames may not read it.
    return {};
  }
}
