// The chat: one connection, its rooms, and the page, which shows one of them.

import { connect, persist } from '../client/index.js';
import { Composer } from './composer.js';
import { byId } from './dom.js';
import { hue, initials, myName, rename } from './identity.js';
import { describe, ConnectionView } from './connection-view.js';
import { MessagesView } from './messages-view.js';
import { showPeople, showTyping } from './people-view.js';
import { channelOf, Room } from './room.js';
import { knownRooms, onNewRoom, rememberRoom, roomOfAddress, showRooms } from './rooms-view.js';
import { WireView } from './wire-view.js';

let client;
let current;
const rooms = new Map();

const wire = new WireView();
const messages = new MessagesView({
  top: () => current.readBack(),
  again: (key) => current.sayAgain(key),
  isMine: ({ state }) => state !== undefined,
});
const composer = new Composer({
  say: (text) => current.say(text),
  writes: () => current.typing.writes(),
});
const connection = new ConnectionView(() => [client.state, current.state, client.latency, client.transport], () => client.reconnect());

/** Connects under my name. The connection under the name before has been closed. */
function begin() {
  client = connect('../ws', { store: persist(sessionStorage, { unsent: true }), info: { name: myName() } });
  client.on('frame', (frame) => wire.frame(frame));
  client.on('latency', () => connection.show());
  client.on('warning', ({ message }) => wire.note('A warning', message));
  client.on('state', (state) => connectionChanged(state));
  client.on('published', (answer) => roomOf(answer.channel)?.kept(answer));
  client.on('refused', ({ channel, key, error }) => roomOf(channel)?.refused(key, error));
  for (const name of knownRooms()) if (!rooms.has(name)) rooms.set(name, newRoom(name));
  showMe();
  enter();
}

function newRoom(name) {
  // The page shows only the current room.
  const ifShown = (show) => (...what) => current?.name === name && show(...what);
  return new Room(name, client, myName(), {
    added: ifShown((entry, next) => {
      messages.added(entry, next);
      showEdge();
    }),
    changed: ifShown((entry) => messages.changed(entry)),
    removed: ifShown((entry) => messages.removed(entry)),
    people: ifShown(() => showCurrentPeople()),
    typing: ifShown(() => showCurrentTyping()),
    connection: ifShown(() => showConnection()),
    edge: ifShown(() => showEdge()),
    heard: () => heard(name),
  });
}

/** Shows the room that the address names. */
function enter() {
  const name = roomOfAddress();
  for (const known of rememberRoom(name)) if (!rooms.has(known)) rooms.set(known, newRoom(known));
  forgetOtherThan(knownRooms());
  current = rooms.get(name);
  current.unread = 0;
  byId('room-name').textContent = name;
  byId('words').placeholder = `Message ${name}`;
  messages.announce(false);
  messages.show(current.conversation.entries, current.mark);
  showCurrentPeople();
  showCurrentTyping();
  showAllRooms();
  showEdge();
  showConnection();
  openSide(false);
}

function forgetOtherThan(names) {
  for (const [name, room] of rooms) {
    if (names.includes(name)) continue;
    room.leave();
    rooms.delete(name);
  }
}

function heard(name) {
  const room = rooms.get(name);
  room.conversation.trim();
  if (room === current && document.visibilityState === 'visible') return;
  room.unread += 1;
  showAllRooms();
}

function showAllRooms() {
  const all = [...rooms.values()];
  showRooms(all, current.name);
  const unread = all.reduce((sum, room) => sum + room.unread, 0);
  document.title = `${unread > 0 ? `(${unread}) ` : ''}${current.name} · talk`;
}

function showEdge() {
  const { edge } = current;
  byId('first-run').hidden = edge !== 'empty';
  byId('edge').textContent = { begin: 'This is the beginning of the room.' }[edge] ?? '';
  // On a large screen nothing can be scrolled, so fill it with older messages.
  if (current.state === 'live' && messages.fits) current.readBack();
}

function showCurrentPeople() {
  showPeople(current.members, client.session, current.me, isAway());
}

function showCurrentTyping() {
  showTyping(current.typing.names, isAway());
}

/** Whether the connection was lost, so that nobody knows who is here. */
function isAway() {
  return ['waiting', 'offline', 'closed'].includes(client.state.name) || client.state.attempt > 1;
}

function showConnection() {
  connection.show();
  messages.announce(current.state === 'live');
}

function showMe() {
  const name = myName();
  byId('me-name').textContent = name;
  byId('me-avatar').textContent = initials(name);
  byId('me-avatar').style.setProperty('--hue', hue(name));
}

function roomOf(channel) {
  return [...rooms.values()].find(({ name }) => channelOf(name) === channel);
}

function connectionChanged(state) {
  if (state.name === 'open') for (const room of rooms.values()) room.opened();
  const { text } = describe(state, 'live', undefined, client.transport, Date.now());
  wire.note('The connection', state.error?.message ?? (state.name === 'open' && state.resumed ? 'open again, with the same session' : text));
  showConnection();
  showCurrentPeople();
  showCurrentTyping();
}

function openSide(isOpen) {
  document.body.classList.toggle('side-is-open', isOpen);
  document.querySelector('.chat').inert = isOpen;
  byId('side-open').setAttribute('aria-expanded', String(isOpen));
  if (isOpen) byId('side-close').focus();
}

function askForName() {
  byId('name').value = myName();
  byId('name-dialog').returnValue = '';
  byId('name-dialog').showModal();
  byId('name').select();
}

byId('rename').addEventListener('click', askForName);
byId('name-cancel').addEventListener('click', () => byId('name-dialog').close());
byId('name-dialog').addEventListener('close', () => {
  const name = byId('name').value.trim();
  if (byId('name-dialog').returnValue !== 'save' || name === '' || name === myName()) return;
  rename(name);
  // The name belongs to the session: end it, and begin another at the same positions.
  for (const room of rooms.values()) room.leave();
  rooms.clear();
  client.close();
  begin();
});
byId('side-open').addEventListener('click', () => openSide(true));
byId('side-close').addEventListener('click', () => openSide(false));
byId('side').addEventListener('keydown', ({ key }) => key === 'Escape' && openSide(false));
document.addEventListener('pointerdown', ({ target }) => {
  if (document.body.classList.contains('side-is-open') && !byId('side').contains(target)) openSide(false);
});
addEventListener('hashchange', enter);
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState !== 'visible') return;
  current.unread = 0;
  showAllRooms();
});

onNewRoom();
begin();
if (matchMedia('(pointer: fine)').matches) composer.focus();
