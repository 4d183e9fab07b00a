// Everyone's pointer. Only the current position matters, so one that cannot be
// sent immediately is dropped. Presence shows who is here.

import { atMostEvery, byId, hueOf, myName, open } from './shared.js';

const CHANNEL = 'examples-live:cursors';
/** 33 ms: 30 positions a second, below the 50 publications that a server takes of one session by default. */
const EVERY = 33;
const STEP = 0.02;

const client = open({ info: { name: myName() } });
const field = byId('field');
const people = new Map();
const cursors = new Map();
let me = { x: 0.5, y: 0.5 };

const room = client.subscribe(CHANNEL, { presence: true });
room.on('subscribed', async () => replacePeople((await client.presence(CHANNEL)).members));
room.on('members', ({ members }) => replacePeople(members));
room.on('join', (member) => {
  people.set(member.session, member);
  showPeople();
});
room.on('leave', ({ session }) => {
  people.delete(session);
  showPeople();
});
room.on('message', ({ session, data }) => {
  if (session !== client.session) place(session, data);
});

const send = atMostEvery(EVERY, () => {
  client.publish(CHANNEL, me, { tags: { key: client.session ?? '' }, queue: false }).catch(() => {});
});

function move(x, y) {
  me = { x: Math.min(1, Math.max(0, x)), y: Math.min(1, Math.max(0, y)) };
  if (client.session) place(client.session, me);
  send();
}

field.addEventListener('pointermove', ({ clientX, clientY }) => {
  const { left, top, width, height } = field.getBoundingClientRect();
  move((clientX - left) / width, (clientY - top) / height);
});
field.addEventListener('keydown', (event) => {
  const step = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
  if (!step) return;
  event.preventDefault();
  move(me.x + step[0], me.y + step[1]);
});

function place(session, { x, y }) {
  let cursor = cursors.get(session);
  if (!cursor) {
    cursor = document.createElement('div');
    cursor.className = 'cursor';
    cursor.dataset.session = session;
    cursor.style.setProperty('--hue', hueOf(session));
    cursor.append(document.createElement('span'));
    field.append(cursor);
    cursors.set(session, cursor);
  }
  cursor.firstChild.textContent = nameOf(session);
  cursor.style.setProperty('--x', Number(x));
  cursor.style.setProperty('--y', Number(y));
}

function nameOf(session) {
  if (session === client.session) return 'you';
  return String(people.get(session)?.info?.name ?? 'somebody');
}

function replacePeople(members) {
  people.clear();
  for (const member of members) people.set(member.session, member);
  showPeople();
}

function showPeople() {
  const items = [...people.keys()].map((session) => {
    const item = document.createElement('li');
    const swatch = document.createElement('span');
    swatch.className = 'swatch';
    swatch.style.setProperty('--hue', hueOf(session));
    item.append(swatch, session === client.session ? `${myName()} (you)` : nameOf(session));
    return item;
  });
  byId('people').replaceChildren(...items);
  for (const [session, cursor] of cursors) {
    cursor.firstChild.textContent = nameOf(session);
    if (people.has(session)) continue;
    cursor.remove();
    cursors.delete(session);
  }
}
