// What the outside gives: time, chance, sockets and the news of the network. Tests give a simulated one.

/** The longest that setTimeout can wait; it would fire at once beyond that. */
const LONGEST_TIMER = 2 ** 31 - 1;

/**
 * The page or the process this runs in.
 * @param {typeof WebSocket} [WebSocketClass] for Node before 22, which has none of its own
 */
export function ownEnvironment(WebSocketClass = globalThis.WebSocket) {
  if (!WebSocketClass) {
    throw new TypeError('there is no WebSocket here: give one, { WebSocket: (await import("ws")).WebSocket }');
  }
  return {
    // Not performance.now(): it stands still while some machines sleep, and sleep has to be noticed.
    now: () => Date.now(),
    random: () => Math.random(),
    uuid,
    open: (url, protocols) => new WebSocketClass(url, protocols),
    later(callback, ms) {
      const timer = setTimeout(callback, Math.min(ms, LONGEST_TIMER));
      return () => clearTimeout(timer);
    },
    isOnline: () => globalThis.navigator?.onLine !== false,
    watch,
  };
}

// crypto.randomUUID is there on secure origins only.
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * Calls `online`, `offline`, `shown` (the page is looked at again), `hidden` (it may be frozen or discarded
 * any time) and `leaving` (it is reloaded, or gone). Gives a function that stops it.
 */
function watch({ online, offline, shown, hidden, leaving }) {
  const { document } = globalThis;
  if (typeof globalThis.addEventListener !== 'function') return () => {};
  const visibility = () => (document.visibilityState === 'visible' ? shown() : hidden());
  // `pageshow` also comes when a page is taken out of the back-forward cache, its sockets closed.
  const listeners = [
    [globalThis, 'online', online], [globalThis, 'offline', offline],
    [globalThis, 'pageshow', shown], [globalThis, 'pagehide', leaving],
    ...(document ? [[document, 'visibilitychange', visibility], [document, 'resume', shown]] : []),
  ];
  for (const [target, type, listener] of listeners) target.addEventListener(type, listener);
  return () => {
    for (const [target, type, listener] of listeners) target.removeEventListener(type, listener);
  };
}
