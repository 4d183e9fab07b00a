// The messages on the page: bubbles, days, gaps, and the divider before new ones.

import { byId, element, icon, linked } from './dom.js';
import { hue, initials } from './identity.js';

/** Messages of one person within 5 minutes are shown as one group. */
const TOGETHER = 5 * 60_000;
/** Within this many pixels of the end, the view follows new messages. */
const NEAR = 80;

const TIME = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const STATES = {
  pending: 'waiting to be sent',
  kept: 'stored by the server',
  reached: 'received by everybody here',
  refused: 'refused',
};
const GAPS = {
  epoch_changed: 'the server’s data was lost or replaced',
  diverged: 'the server restored an older copy of its data',
  evicted_by_size: 'the room does not keep that many',
  evicted_by_age: 'the room does not keep them that long',
  damaged: 'the server’s disk damaged them',
  unknown_position: 'the server lost the newest messages',
  dropped: 'this connection was too slow',
  conflated: 'this connection was too slow',
  state: 'only the newest values are shown',
  restarted: 'the server was restarted',
  permissions: 'you were not allowed to read them',
  unannounced: 'the server did not say why',
};

export class MessagesView {
  #list = byId('messages');
  #log = byId('log');
  #scroller = byId('scroller');
  #newer = byId('newer');
  #nodes = new Map();
  #missed = 0;
  #owner;
  #mark;

  /** @param owner callbacks `top()` (scrolled to the top), `again(key)` (send again) and `isMine(entry)` */
  constructor(owner) {
    this.#owner = owner;
    this.#scroller.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    this.#newer.addEventListener('click', () => this.toEnd());
    // A phone's keyboard makes the view smaller: stay at the end.
    new ResizeObserver(() => this.#follows && this.toEnd()).observe(this.#scroller);
  }

  #follows = true;

  /** Shows another room. Entries after `mark` are new. */
  show(entries, mark) {
    this.#nodes.clear();
    this.#list.replaceChildren();
    this.#mark = mark;
    this.#missed = 0;
    for (const entry of entries) this.#insert(entry);
    for (const entry of entries) this.#arrange(entry);
    this.toEnd();
  }

  added(entry, next) {
    const height = this.#scroller.scrollHeight;
    const isOld = next !== undefined && entry.position !== undefined && next.position !== undefined;
    this.#insert(entry, next);
    this.#arrange(entry);
    if (this.#follows) this.toEnd();
    // Entries above do not move what is being read.
    else if (isOld) this.#scroller.scrollTop += this.#scroller.scrollHeight - height;
    else this.#miss(entry);
  }

  changed(entry) {
    const node = this.#nodes.get(entry);
    node?.replaceWith(this.#remember(entry, this.#bubble(entry)));
    this.#arrange(entry);
  }

  removed(entry) {
    const node = this.#nodes.get(entry);
    const next = node?.nextElementSibling;
    this.#nodes.delete(entry);
    node?.remove();
    if (next?.entry) this.#arrange(next.entry);
  }

  toEnd() {
    this.#follows = true;
    this.#missed = 0;
    this.#newer.hidden = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  /** Whether everything fits on the screen. */
  get fits() {
    return this.#scroller.scrollHeight <= this.#scroller.clientHeight;
  }

  /** Screen readers read new messages, and not those that are loaded. */
  announce(isLive) {
    if (isLive) requestAnimationFrame(() => this.#log.setAttribute('aria-live', 'polite'));
    else this.#log.setAttribute('aria-live', 'off');
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    this.#follows = scrollHeight - scrollTop - clientHeight < NEAR;
    if (this.#follows) this.#newer.hidden = true;
    if (!this.#follows && scrollTop < clientHeight) this.#owner.top();
  }

  #miss(entry) {
    if (this.#owner.isMine(entry)) {
      this.toEnd();
      return;
    }
    this.#missed += 1;
    this.#newer.hidden = false;
    byId('newer-text').textContent = this.#missed === 1 ? '1 new message' : `${this.#missed} new messages`;
  }

  #insert(entry, next) {
    const node = this.#remember(entry, entry.kind === 'gap' ? gap(entry) : this.#bubble(entry));
    this.#list.insertBefore(node, this.#nodes.get(next) ?? null);
  }

  #remember(entry, node) {
    node.entry = entry;
    this.#nodes.set(entry, node);
    return node;
  }

  /** Updates what depends on neighbours: for this entry and for the next. */
  #arrange(entry) {
    const node = this.#nodes.get(entry);
    for (const one of [node, node?.nextElementSibling]) if (one?.entry) this.#arrangeOne(one);
  }

  #arrangeOne(node) {
    const [entry, before] = [node.entry, node.previousElementSibling?.entry];
    const isFirstOfDay = entry.time !== undefined && !isSameDay(before?.time, entry.time);
    const isTogether = !isFirstOfDay && before?.kind === 'message' && before.session === entry.session
      && before.name === entry.name && entry.time - before.time < TOGETHER;
    node.classList.toggle('together', isTogether);
    if (isFirstOfDay) node.dataset.day = dayOf(entry.time);
    else delete node.dataset.day;
    node.classList.toggle('new-from-here', this.#mark !== undefined && before?.position === this.#mark);
  }

  #bubble(entry) {
    const isMine = this.#owner.isMine(entry);
    const time = element('time', { dateTime: new Date(entry.time).toISOString() }, TIME.format(entry.time));
    const foot = element('span', { className: 'foot' }, time, isMine ? tick(entry) : undefined);
    const words = element('p', { className: 'words', dir: 'auto' }, ...linked(entry.text), foot);
    const again = entry.state === 'refused' ? this.#refusal(entry) : undefined;
    return element('li', { className: `message ${isMine ? 'mine' : ''}`, hue: hue(entry.name), dataset: { state: entry.state ?? '' } },
      element('span', { className: 'avatar', attributes: { 'aria-hidden': 'true' } }, initials(entry.name)),
      element('div', { className: 'bubble' }, element('b', { className: 'who' }, entry.name), words, again));
  }

  #refusal({ key, error }) {
    const button = element('button', { className: 'again', type: 'button' }, 'Try again');
    button.addEventListener('click', () => this.#owner.again(key));
    return element('p', { className: 'refusal' }, `${error.message} (${error.code}) `, button);
  }
}

function tick({ state }) {
  const text = element('span', { className: 'hidden' }, `, ${STATES[state]}`);
  const made = element('span', { className: 'tick', title: STATES[state], dataset: { state } }, icon(state), text);
  return made;
}

function gap({ reason }) {
  const why = GAPS[reason] ?? reason;
  return element('li', { className: 'gap' }, element('span', {}, `Some messages are missing here: ${why}.`));
}

function dayOf(time) {
  if (isSameDay(time, Date.now())) return 'Today';
  return isSameDay(time, Date.now() - 86_400_000) ? 'Yesterday' : DAY.format(time);
}

function isSameDay(a, b) {
  return a !== undefined && new Date(a).toDateString() === new Date(b).toDateString();
}
