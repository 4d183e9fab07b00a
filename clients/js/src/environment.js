// Everything the client takes from its surroundings: time, randomness, sockets and network events. Tests pass a simulated one.

import { toBase64 } from './payload.js';

/** The longest delay that setTimeout accepts; a longer one fires at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * The environment of the page or process that this runs in.
 * @param {typeof WebSocket} [WebSocketClass] required in Node before 22, which has no WebSocket of its own
 */
export function ownEnvironment(WebSocketClass = globalThis.WebSocket) {
  if (!WebSocketClass) {
    throw new TypeError('no WebSocket here; pass { WebSocket } of ws');
  }
  const environment = {
    now: clock(),
    date: Date.now,
    random: () => Math.random(),
    uuid,
    open: (url, protocols) => new WebSocketClass(url, protocols),
    later(callback, ms) {
      const timer = setTimeout(callback, Math.min(ms, LONGEST_TIMER));
      return () => clearTimeout(timer);
    },
    isOnline: () => globalThis.navigator?.onLine ?? true,
    watch,
    // The other transports are loaded only when a WebSocket has failed, or had failed in an earlier page. They replace these two.
    async recall(url, client, transports) {
      // Only the first attempt waits until they are loaded.
      delete environment.recall;
      if (transports || localStorage.offhook) (await load()).recall(url, client, transports);
    },
    fallBack: (end, client) => load().then(() => environment.fallBack(end, client), () => {}),
  };
  const load = async () => (await import('./transports.js')).install(environment);
  return environment;
}

/**
 * Milliseconds that no change of the system's time makes fewer. `performance.now` alone may stop while the machine sleeps, so a second
 * or more by which the system's time gains on it is counted, too: that was sleep, or at least looks like it.
 */
function clock() {
  let ahead = Date.now() - performance.now();
  let slept = ahead;
  return () => {
    const steady = performance.now();
    const gained = Date.now() - steady - ahead;
    ahead += gained;
    if (gained > 1_000) slept += gained;
    return Math.round(steady + slept);
  };
}

// crypto.randomUUID exists on secure origins only, and Node 18 has no global crypto at all. The key has to be unique, not secret.
function uuid() {
  const bytes = new Uint8Array(16).map(() => Math.random() * 256);
  globalThis.crypto?.getRandomValues(bytes);
  return toBase64(bytes);
}

/**
 * Calls `online`, `offline`, `shown` (the page is visible again or has the focus), `hidden` (it may be frozen or discarded at
 * any time) and `leaving` (it is being unloaded). Returns a function that stops it.
 */
function watch({ online, offline, shown, hidden, leaving }) {
  const { document } = globalThis;
  if (!globalThis.addEventListener) return () => {};
  const visibility = () => (document.hidden ? hidden?.() : shown());
  const listening = new AbortController();
  const listen = (target, listeners) => {
    for (const type in listeners) target?.addEventListener(type, listeners[type], listening);
  };
  // `pageshow` also fires when a page is restored from the back-forward cache, where its sockets were closed.
  listen(globalThis, { online, offline, focus: shown, pageshow: shown, pagehide: leaving });
  // `resume` fires after the browser froze the page.
  listen(document, { visibilitychange: visibility, resume: shown });
  return () => listening.abort();
}
