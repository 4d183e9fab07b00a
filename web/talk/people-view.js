// The members of the room, and who is writing.

import { byId, element } from './dom.js';
import { hue, initials } from './identity.js';

/** Names shown. Of the others only their number is. 100: more than anybody reads. */
const MOST = 100;

/** `isAway`: there is no connection, and the members are those of before. */
export function showPeople(members, mySession, myName, isAway) {
  const all = [...members.values()];
  const others = all.filter(({ session }) => session !== mySession).sort((a, b) => a.name.localeCompare(b.name));
  const people = [{ name: myName, isMe: true }, ...others];
  const more = people.length > MOST ? [element('li', { className: 'more' }, `and ${people.length - MOST} more`)] : [];
  byId('people').replaceChildren(...people.slice(0, MOST).map(person), ...more);
  byId('people-count').textContent = people.length;
  byId('people-when').textContent = isAway ? 'Here before' : 'Here now';
  byId('room-about').textContent = about(people.length, isAway);
}

function about(count, isAway) {
  if (isAway) return 'Not connected';
  return count === 1 ? 'Only you are here' : `${count} people are here`;
}

function person({ name, isMe }) {
  return element('li', { hue: hue(name) },
    element('span', { className: 'avatar', attributes: { 'aria-hidden': 'true' } }, initials(name)),
    element('span', { className: 'person' }, name, isMe ? element('small', {}, ' you') : undefined));
}

/** `isAway`: there is no connection, and nobody knows who is writing. */
export function showTyping(names, isAway) {
  const connection = byId('typing');
  document.body.classList.toggle('away', isAway);
  connection.dataset.active = names.length > 0 && !isAway;
  if (isAway) connection.textContent = 'Messages will be sent when reconnected.';
  else if (names.length === 0) connection.textContent = '';
  else if (names.length === 1) connection.textContent = `${names[0]} is writing`;
  else if (names.length === 2) connection.textContent = `${names[0]} and ${names[1]} are writing`;
  else connection.textContent = `${names.length} people are writing`;
}
