// The state of the connection in words, with the time until the next attempt.

import { byId } from './dom.js';

/** Transports other than WebSocket, as the page names them. */
const OVER = { sse: 'over a stream of events', polling: 'over polls' };

/** `{ state, text, canHurry }` for the states of the client and of the subscription. */
export function describe(connection, subscription, latency, transport, now) {
  const seconds = Math.max(0, Math.ceil((connection.retryAt - now) / 1_000));
  switch (connection.name) {
    case 'open':
      if (subscription === 'waiting' || subscription === 'catching_up') return { state: 'catching-up', text: 'catching up' };
      if (subscription === 'ended') return { state: 'closed', text: 'the room is closed' };
      return { state: 'open', text: ['open', OVER[transport], latency !== undefined && `${latency} ms`].filter(Boolean).join(' · ') };
    case 'connecting':
      return { state: 'connecting', text: connection.attempt > 1 ? 'reconnecting' : 'connecting' };
    case 'waiting':
      return { state: 'waiting', text: seconds > 0 ? `reconnecting in ${seconds} s` : 'reconnecting', canHurry: true };
    case 'offline':
      return { state: 'offline', text: 'offline', canHurry: true };
    default:
      return { state: 'closed', text: connection.error?.code === 'replaced' ? 'open elsewhere' : 'closed' };
  }
}

export class ConnectionView {
  #timer;
  #get;

  /** @param get returns the arguments of `describe` except the time; `hurry` is called when the user wants to connect now */
  constructor(get, hurry) {
    this.#get = get;
    byId('connection-now').addEventListener('click', hurry);
  }

  show() {
    clearTimeout(this.#timer);
    const [connection, subscription, latency, transport = ''] = this.#get();
    const { state, text, canHurry } = describe(connection, subscription, latency, transport, Date.now());
    Object.assign(byId('connection').dataset, { state, transport });
    byId('connection').title = connection.error?.message ?? '';
    // Written only when it changes: each change is read out.
    if (byId('connection-text').textContent !== text) byId('connection-text').textContent = text;
    byId('connection-now').hidden = !canHurry;
    // Again when the next second begins.
    const left = connection.retryAt - Date.now();
    if (left > 0) this.#timer = setTimeout(() => this.show(), left % 1_000 || 1_000);
  }
}
