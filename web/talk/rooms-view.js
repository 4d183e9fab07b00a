// The list of visited rooms, and the room that the address names.

import { byId, element } from './dom.js';

const FIRST = 'lobby';
/** Rooms in the list. 20: each has two subscriptions, and a session may have 128. */
const MOST = 20;
const KEY = 'talk:rooms';

/** The room that the address names. */
export function roomOfAddress() {
  let name = FIRST;
  try {
    name = decodeURIComponent(location.hash.slice(1));
  } catch {
    // An incomplete escape: go to the first room.
  }
  return tidyRoom(name);
}

/** Makes a name fit for a channel: no control characters, no `*`, and at most 200 bytes with the prefix. */
export function tidyRoom(name) {
  const tidy = name.replace(/[\p{Cc}*#\s]+/gu, '-').replace(/^-+|-+$/g, '').toLowerCase();
  return [...tidy].slice(0, 40).join('') || FIRST;
}

export function goTo(name) {
  location.hash = encodeURIComponent(tidyRoom(name));
}

export function knownRooms() {
  const kept = JSON.parse(sessionStorage.getItem(KEY) ?? '[]');
  return [FIRST, ...kept.filter((name) => name !== FIRST)];
}

/** Adds a room to the list and returns the list. */
export function rememberRoom(name) {
  const others = knownRooms().filter((known) => known !== name && known !== FIRST);
  const names = name === FIRST ? [FIRST, ...others] : [FIRST, ...others.slice(-(MOST - 2)), name];
  sessionStorage.setItem(KEY, JSON.stringify(names));
  return names;
}

/** `rooms`: `{ name, unread }`. */
export function showRooms(rooms, current) {
  const row = ({ name, unread }) => {
    const badge = unread > 0 ? element('span', { className: 'badge' }, String(unread), element('span', { className: 'hidden' }, ' unread')) : undefined;
    const attributes = name === current ? { 'aria-current': 'page' } : {};
    return element('li', {}, element('a', { href: `#${encodeURIComponent(name)}`, attributes }, element('span', { className: 'room' }, name), badge));
  };
  byId('rooms').replaceChildren(...rooms.map(row));
}

export function onNewRoom() {
  byId('new-room').addEventListener('submit', (event) => {
    event.preventDefault();
    const input = byId('new-room-name');
    if (input.value.trim() !== '') goTo(input.value.trim());
    input.value = '';
  });
}
