// One channel: what is published, its state, its members, and a box to publish.

import { element, field, link, panel, problem, table } from './dom.js';
import { clock, count, data, moment } from './format.js';
import { repeat } from './api.js';
import { follow } from './live.js';

const EVERY_MS = 1_000;
const MEMBERS_EVERY_MS = 3_000;

/** What the list contains at most. */
const MOST = 200;

/** How many pages of the history are read in a row before the list says that it is behind. */
const MOST_PAGES = 10;

export function channel(app, query, signal) {
  const name = query.get('name') ?? '';
  const messages = new Messages(app, name);
  const state = element('div', { id: 'state' });
  const members = element('div', { id: 'members' });
  const source = sourceOf(app, name, messages, signal);
  repeat(MEMBERS_EVERY_MS, signal, async () => {
    await Promise.all([showState(app, name, state, signal), showMembers(app, name, members, signal)]);
  });
  const asked = link('rules', { channel: name, verb: 'publish' }, 'Who may publish here?');
  return element('div', {}, element('h1', { className: 'name' }, name),
    element('p', {}, asked, ' · ', link('why', { channel: name }, 'Why did somebody not get a message?')),
    element('div', { className: 'columns wide-first' },
      panel('Publications', source, messages.element),
      element('div', {}, panel('Publish', publishBox(app, name)), panel('Members', members), panel('State', state))));
}

/** The newest publications, the newest first. */
class Messages {
  /** The positions of what the list shows. */
  #seen = new Set();
  #list = element('ol', { className: 'messages', id: 'messages', 'aria-label': 'Publications, the newest first' });
  #note = element('p', { className: 'quiet' });

  constructor(app, name) {
    [this.app, this.name] = [app, name];
    this.element = element('div', {}, this.#note, this.#list);
  }

  note(text) {
    this.#note.textContent = text;
  }

  fail(error) {
    this.#note.replaceChildren(problem(error, this.app));
  }

  add(message) {
    if (this.#seen.has(message.position)) return;
    this.#seen.add(message.position);
    const shown = this.#shown(message);
    shown.dataset.position = message.position;
    this.#put(shown);
  }

  /** Says that something is missing. */
  gap(reason) {
    this.#put(element('li', { className: 'gap' }, `gap: ${reason}`));
  }

  #put(shown) {
    this.#list.prepend(shown);
    while (this.#list.children.length > MOST) {
      this.#seen.delete(this.#list.lastChild.dataset.position);
      this.#list.lastChild.remove();
    }
  }

  #shown(message) {
    const { position, time, user, session, key, tags } = message;
    const receipts = element('button', { type: 'button', className: 'small' }, 'Who has it?');
    receipts.addEventListener('click', () => this.#count(position, receipts));
    const about = element('p', { className: 'about' },
      element('time', { title: moment(time), dateTime: moment(time) }, clock(time)), ' ',
      user !== undefined ? link('people', { user }, user) : session !== undefined ? link('people', { session }, 'anonymous') : 'by the API', ' ',
      element('code', {}, position), key === undefined ? '' : ` key ${key}`,
      ...Object.entries(tags ?? {}).map(([tag, value]) => element('span', { className: 'tag' }, `${tag}=${value}`)));
    return element('li', {}, about, element('pre', {}, data(message)),
      element('p', { className: 'about' }, receipts, ' ', link('why', { channel: this.name, position }, 'Why did … not get it?')));
  }

  async #count(position, button) {
    try {
      const { received, subscribers } = await this.app.api.get('receipts', { channel: this.name, position });
      button.textContent = `received by ${count(received)} of ${count(subscribers)}`;
    } catch (error) {
      button.textContent = error.message;
    }
  }
}

/** Chooses how publications are followed, and starts with the history. */
function sourceOf(app, name, messages, signal) {
  let current = new AbortController();
  signal.addEventListener('abort', () => current.abort());
  const start = (begin) => {
    current.abort();
    current = new AbortController();
    if (signal.aborted) current.abort();
    begin(app, name, messages, current.signal);
  };
  const option = (value, text) => element('label', { className: 'check' }, element('input', { type: 'radio', name: 'source', value, checked: value === 'history' }), text);
  const made = element('fieldset', { className: 'row', id: 'source' }, element('legend', {}, 'Follow'),
    option('history', 'by reading the history'), option('live', 'by subscribing, which makes this page a member'));
  made.addEventListener('change', ({ target }) => start(target.value === 'live' ? subscribe : readHistory));
  start(readHistory);
  return made;
}

function readHistory(app, name, messages, signal) {
  let since;
  messages.note('');
  repeat(EVERY_MS, signal, async () => {
    try {
      let [read, page, isBehind] = [0, undefined, true];
      for (let pages = 0; isBehind && pages < MOST_PAGES; pages += 1) {
        page = await app.api.get('history', { channel: name, since, limit: since === undefined ? 50 : MOST }, signal);
        if (page.gap && since !== undefined) messages.gap(page.gap);
        page.messages.forEach((message) => messages.add(message));
        read += page.messages.length;
        since = page.messages.at(-1)?.position ?? since ?? page.head;
        isBehind = page.messages.length > 0 && since !== page.head;
      }
      const head = `the newest position is ${page.head}`;
      if (read === 0) messages.note(`The newest position is ${page.head}.`);
      else messages.note(`${count(read)} new; ${head}${isBehind ? '. More is published than this list reads: it is behind.' : ''}`);
    } catch (error) {
      if (signal.aborted) return;
      if (error.code === 'no_history') messages.note('This channel keeps no history. Subscribe to see what is published from now on.');
      else messages.fail(error);
    }
  });
}

async function subscribe(app, name, messages, signal) {
  try {
    const { ws_path: path } = await app.api.get('stats', {}, signal);
    if (!path) throw new Error('this server does not say where its WebSockets are');
    messages.note('Connecting …');
    follow(new URL(path.replace(/^\//, ''), app.api.base), name, messages, signal);
  } catch (error) {
    if (!signal.aborted) messages.fail(error);
  }
}

async function showState(app, name, place, signal) {
  try {
    const { messages, more } = await app.api.get('state', { channel: name }, signal);
    const rows = messages.map((message) => [message.tags?.key ?? '', element('code', {}, data(message, 200)), clock(message.time)]);
    place.replaceChildren(table('State', ['key', 'value', 'time'], rows, 'No value is kept.'), more ? 'There are more.' : '');
  } catch (error) {
    if (signal.aborted) return;
    place.replaceChildren(error.code === 'no_state' ? element('p', { className: 'quiet' }, 'This channel keeps no state.') : problem(error, app));
  }
}

async function showMembers(app, name, place, signal) {
  try {
    const { members, total } = await app.api.get('presence', { channel: name }, signal);
    const rows = members.map(({ session, user, info }) => [
      user === undefined ? 'anonymous' : link('people', { user }, user),
      link('people', { session }, session.slice(0, 8)), info === undefined ? '' : element('code', {}, JSON.stringify(info)),
    ]);
    place.replaceChildren(element('p', { className: 'quiet' }, `${count(total)} in all`), table('Members', ['user', 'session', 'info'], rows, 'Nobody is here.'));
  } catch (error) {
    if (signal.aborted) return;
    place.replaceChildren(error.code === 'no_presence' ? element('p', { className: 'quiet' }, 'This channel has no list of members.') : problem(error, app));
  }
}

/** Publishes text, or JSON if it is an object, a list or a string, as `offhook dial` does. */
function publishBox(app, name) {
  const text = element('textarea', { id: 'data', rows: 3, spellcheck: false });
  const key = element('input', { type: 'text', id: 'state-key', autocomplete: 'off', maxLength: 128 });
  const result = element('p', { role: 'status', id: 'published' });
  const form = element('form', { className: 'stack' }, field('Data: JSON, or text', text),
    field('Tag “key”, for the state (optional)', key), element('div', { className: 'buttons' }, element('button', { type: 'submit', className: 'primary' }, 'Publish')), result);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    result.textContent = 'Publishing …';
    try {
      const tags = key.value === '' ? {} : { tags: { key: key.value } };
      const { position } = await app.api.post('publish', { channel: name, data: parsed(text.value), ...tags });
      result.textContent = `Published at ${position}.`;
      text.value = '';
    } catch (error) {
      result.replaceChildren(problem(error, app));
    }
  });
  text.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    form.requestSubmit();
  });
  return form;
}

export function parsed(text) {
  if (!/^\s*[[{"]/.test(text)) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
