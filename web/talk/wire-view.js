// The panel that shows every message of the connection.

import { byId, element } from './dom.js';
import { explain } from './explain.js';

/** Messages kept. 300: some minutes of a busy room. */
const MOST = 300;
/** Characters shown of a long message. */
const LONGEST = 4_000;

const TIME = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23' });

export class WireView {
  #panel = byId('wire');
  #list = byId('frames');
  #toggle = byId('wire-toggle');
  #frames = [];
  // The ids of background requests, to recognise their answers.
  #asked = new Set();

  constructor() {
    this.#toggle.addEventListener('click', () => this.open(this.#panel.hidden));
    byId('wire-close').addEventListener('click', () => this.open(false));
    byId('wire-small').addEventListener('change', () => this.#list.classList.toggle('with-small', byId('wire-small').checked));
    byId('wire-clear').addEventListener('click', () => this.#clear());
    this.#panel.addEventListener('keydown', ({ key }) => key === 'Escape' && this.open(false));
  }

  open(isOpen) {
    if (isOpen === !this.#panel.hidden) return;
    this.#panel.hidden = !isOpen;
    this.#toggle.setAttribute('aria-expanded', String(isOpen));
    if (isOpen) {
      this.#list.replaceChildren(...this.#frames.map(row));
      this.#list.scrollTop = this.#list.scrollHeight;
      byId('wire-close').focus();
    } else {
      this.#toggle.focus();
    }
  }

  frame({ direction, text, bytes }) {
    if (bytes) {
      const words = `A binary message of ${bytes.byteLength} bytes, in CBOR: it contains data that is not JSON.`;
      this.#put({ direction, type: 'binary', json: '', time: Date.now(), title: 'Bytes', text: words, brief: '' });
      return;
    }
    const frame = { direction, json: text, time: Date.now(), ...explain(direction, text) };
    this.#put({ ...frame, small: isSmall(frame, this.#asked) });
  }

  /** Something that happened to the connection itself. */
  note(title, text) {
    const last = this.#frames.at(-1);
    if (last?.direction !== 'connection' || last.text !== text) this.#put({ direction: 'connection', type: 'connection', time: Date.now(), title, text });
  }

  #put(frame) {
    this.#frames.push(frame);
    if (this.#frames.length > MOST) this.#frames.shift();
    if (this.#panel.hidden) return;
    const isAtEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 60;
    this.#list.append(row(frame));
    while (this.#list.childElementCount > MOST) this.#list.firstElementChild.remove();
    if (isAtEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }

  #clear() {
    this.#frames = [];
    this.#asked.clear();
    this.#list.replaceChildren();
  }
}

const ARROWS = { out: ['→', 'sent'], in: ['←', 'received'], connection: ['•', 'connection'] };

/** Background messages: pings, receipts, and who is writing, with their answers. */
function isSmall({ type, id, json }, asked) {
  const isIt = ['ping', 'pong', 'receipts', 'received'].includes(type) || json.includes('"channel":"talk-typing:') || asked.has(id);
  if (isIt && id !== undefined) asked.add(id);
  return isIt;
}

function row(frame) {
  const [arrow, word] = ARROWS[frame.direction];
  const head = [
    element('span', { className: 'arrow', attributes: { 'aria-label': word } }, arrow),
    element('span', { className: 'frame-title' }, frame.title),
    element('time', {}, TIME.format(frame.time)),
  ];
  const classes = `frame ${frame.direction}${frame.small ? ' small' : ''}`;
  if (frame.direction === 'connection') return element('li', { className: classes }, element('p', {}, ...head), element('small', {}, frame.text));
  const details = element('details', {},
    element('summary', {}, ...head, element('code', { className: 'brief' }, frame.brief.slice(0, 120))),
    element('p', { className: 'meaning' }, frame.text),
    element('pre', {}, pretty(frame)));
  // The explanation of the last message would open below the panel's edge.
  details.addEventListener('toggle', () => details.open && details.scrollIntoView({ block: 'nearest' }));
  return element('li', { className: classes, dataset: { type: frame.type } }, details);
}

function pretty({ json }) {
  let text = json;
  try {
    text = JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    // Shown as it is.
  }
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}
