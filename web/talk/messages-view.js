// The conversation on the page: bubbles, days, gaps, the divider before what is new.

import { byId, element, icon, linked } from './dom.js';
import { hue, initials } from './identity.js';

/** What one person says within 5 minutes stands together. */
const TOGETHER = 5 * 60_000;
/** Within so many pixels of the end one reads what comes. */
const NEAR = 80;

const TIME = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const STATES = {
  pending: 'waits to be sent',
  kept: 'kept by the server',
  reached: 'has reached everybody here',
  refused: 'was refused',
};
const GAPS = {
  epoch_changed: 'the server’s memory is a new one',
  evicted_by_size: 'they were more than this room keeps',
  evicted_by_age: 'they were older than this room keeps',
  damaged: 'the server’s disk has damaged them',
  unknown_position: 'the server has lost what came last',
  dropped: 'this connection was too slow',
  conflated: 'this connection was too slow',
  unannounced: 'nobody knows why',
};

export class MessagesView {
  #list = byId('messages');
  #scroller = byId('scroller');
  #newer = byId('newer');
  #nodes = new Map();
  #missed = 0;
  #owner;
  #mark;

  /** @param owner `top()`: somebody reads back; `again(key)`; `isMine(entry)` */
  constructor(owner) {
    this.#owner = owner;
    this.#scroller.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    this.#newer.addEventListener('click', () => this.toEnd());
    // The keyboard of a phone makes the room smaller: who was at the end stays there.
    new ResizeObserver(() => this.#follows && this.toEnd()).observe(this.#scroller);
  }

  #follows = true;

  /** Another room, with what is known of it; `mark` is where one was. */
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
    // What is put in above does not move what is read.
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

  /** Whether there is nothing to scroll. */
  get fits() {
    return this.#scroller.scrollHeight <= this.#scroller.clientHeight;
  }

  /** Screen readers hear what is said, not what is loaded. */
  announce(isLive) {
    if (isLive) requestAnimationFrame(() => this.#list.setAttribute('aria-live', 'polite'));
    else this.#list.setAttribute('aria-live', 'off');
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

  /** What depends on the neighbours: its own, and the next one's. */
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
