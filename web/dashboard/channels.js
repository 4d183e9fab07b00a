// Channels with subscribers, searched by the beginning of their names.

import { element, field, link, problem, table } from './dom.js';
import { count } from './format.js';

const PAGE = 100;

/** People type faster than this between two letters. */
const TYPING_MS = 200;

export function channels(app, query, signal) {
  const search = element('input', { type: 'search', id: 'search', value: query.get('prefix') ?? '', autocomplete: 'off', spellcheck: false, maxLength: 200 });
  const open = element('button', { type: 'submit' }, 'Open this channel');
  const form = element('form', { className: 'row', role: 'search' }, field('Name begins with', search), open);
  const found = element('div', { id: 'found', 'aria-live': 'polite' });
  const more = element('button', { type: 'button', hidden: true }, 'More');
  let [all, next, asked] = [[], undefined, 0];

  const load = async (after) => {
    const request = (asked += 1);
    try {
      const page = await app.api.get('channels', { prefix: search.value, after, limit: PAGE }, signal);
      if (request !== asked) return;
      all = after === undefined ? page.channels : [...all, ...page.channels];
      next = page.next;
      found.replaceChildren(listed(all));
    } catch (error) {
      if (signal.aborted || request !== asked) return;
      next = undefined;
      found.replaceChildren(problem(error, app));
    }
    more.hidden = next === undefined;
  };
  let timer;
  search.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      history.replaceState(null, '', `#channels${search.value && `?${new URLSearchParams({ prefix: search.value })}`}`);
      load();
    }, TYPING_MS);
  });
  signal.addEventListener('abort', () => clearTimeout(timer));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (search.value) location.hash = `channel?${new URLSearchParams({ name: search.value })}`;
  });
  more.addEventListener('click', () => load(next));
  load();
  return element('div', {}, element('h1', {}, 'Channels'), form,
    element('p', { className: 'quiet' }, 'Channels with subscribers are listed. Any other channel can be opened by its whole name.'), found, more);
}

function listed(channels) {
  const rows = channels.map(({ channel, members }) => [link('channel', { name: channel }, channel), count(members)]);
  return table('Channels', ['channel', 'members'], rows, 'No channel with subscribers has such a name.');
}
