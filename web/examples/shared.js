// What every example needs: a connection, and its state on the page.

import { connect, persist } from '../client/index.js';

export const byId = (id) => document.getElementById(id);

const WORDS = { connecting: 'connecting', open: 'connected', waiting: 'connection lost, reconnecting', offline: 'offline', closed: 'closed' };

/** A client whose session and positions outlive a reload of this tab; `#connection` shows its state. */
export function open(options) {
  const name = `examples:${location.pathname}`;
  const client = connect('../ws', { store: persist(sessionStorage, { unsent: true }), name, ...options });
  const show = () => {
    const { name: state, error } = client.state;
    byId('connection').dataset.state = state;
    byId('connection').textContent = error ? `${WORDS[state]}: ${error.message}` : WORDS[state];
  };
  client.on('state', show);
  show();
  return client;
}

const ANIMALS = ['Otter', 'Heron', 'Lynx', 'Wren', 'Badger', 'Newt', 'Hare', 'Kite', 'Seal', 'Stoat', 'Crane', 'Vole'];
const ADJECTIVES = ['Quick', 'Calm', 'Bright', 'Brave', 'Merry', 'Quiet', 'Sunny', 'Wild'];

/** A name for this tab, the same after a reload. */
export function myName() {
  const pick = (list) => list[Math.floor(Math.random() * list.length)];
  const name = sessionStorage.getItem('examples:name') ?? `${pick(ADJECTIVES)} ${pick(ANIMALS)}`;
  sessionStorage.setItem('examples:name', name);
  return name;
}

/** A colour for a session: the same in every tab. */
export const hueOf = (session) => [...session].reduce((sum, character) => (sum * 31 + character.charCodeAt(0)) % 360, 7);

/** Calls `action` at most every `ms`, the last time always. */
export function atMostEvery(ms, action) {
  let timer;
  let isDue = false;
  const run = () => {
    timer = isDue ? setTimeout(run, ms) : undefined;
    if (isDue) action();
    isDue = false;
  };
  return () => {
    isDue = true;
    if (timer === undefined) run();
  };
}
