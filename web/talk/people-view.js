// Who is here, and who is writing.

import { byId, element } from './dom.js';
import { hue, initials } from './identity.js';

/** Names shown; of the others only how many. */
const MOST = 100;

/** `isAway`: there is no line, and this is who was here. */
export function showPeople(members, mySession, myName, isAway) {
  const all = [...members.values()];
  const others = all.filter(({ session }) => session !== mySession).sort((a, b) => a.name.localeCompare(b.name));
  const people = [{ name: myName, isMe: true }, ...others];
  const more = people.length > MOST ? [element('li', { className: 'more' }, `and ${people.length - MOST} more`)] : [];
  byId('people').replaceChildren(...people.slice(0, MOST).map(person), ...more);
  byId('people-count').textContent = people.length;
  document.body.classList.toggle('away', isAway);
  if (isAway) byId('room-about').textContent = 'What you write now is sent when the line is back.';
  else byId('room-about').textContent = people.length === 1 ? 'Only you are here. Open this page in a second tab.' : `${people.length} people are here`;
}

function person({ name, isMe }) {
  return element('li', { hue: hue(name) },
    element('span', { className: 'avatar', attributes: { 'aria-hidden': 'true' } }, initials(name)),
    element('span', { className: 'person' }, name, isMe ? element('small', {}, ' you') : undefined));
}

export function showTyping(names) {
  const line = byId('typing');
  line.dataset.active = names.length > 0;
  if (names.length === 0) line.textContent = '';
  else if (names.length === 1) line.textContent = `${names[0]} is writing`;
  else if (names.length === 2) line.textContent = `${names[0]} and ${names[1]} are writing`;
  else line.textContent = `${names.length} people are writing`;
}
