// The connections of a user or a session, or one connection: subscriptions and timeline of each.

import { choice, element, field, problem } from './dom.js';
import { connectionCard } from './timeline.js';

export const SUBJECTS = [['user', 'User'], ['session', 'Session'], ['connection', 'Connection number']];

/** The kind and the name of whom a page is about, as in its address. */
export function subjectOf(query) {
  const [kind] = SUBJECTS.find(([name]) => query.has(name)) ?? ['user'];
  return [kind, query.get(kind) ?? ''];
}

export function people(app, query, signal) {
  const [kind, name] = subjectOf(query);
  const kinds = choice(SUBJECTS, kind);
  const who = element('input', { type: 'text', id: 'who', value: name, required: true, autocomplete: 'off', spellcheck: false, maxLength: 256 });
  const form = element('form', { className: 'row', role: 'search' }, field('Find by', kinds), field('Name', who), element('button', { type: 'submit', className: 'primary' }, 'Show'));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const wanted = `people?${new URLSearchParams({ [kinds.value]: who.value.trim() })}`;
    if (location.hash === `#${wanted}`) show();
    else location.hash = wanted;
  });
  const found = element('div', { id: 'found' });

  const show = async () => {
    try {
      const answer = await app.api.get('explain/connection', { [kind]: name }, signal);
      const cards = answer.connections.map((one) => connectionCard(one, one.open ? disconnect(app, one.session, show) : undefined));
      found.replaceChildren(...cards, notes(answer));
    } catch (error) {
      if (!signal.aborted) found.replaceChildren(problem(error, app));
    }
  };
  if (name) show();
  return element('div', {}, element('h1', {}, 'Sessions'), form, found);
}

export function notes({ connections, more, recorded }) {
  const texts = [];
  if (connections.length === 0) texts.push('No connection is known: none is open, and no ended one is recorded.');
  if (more) texts.push('There are more connections than are shown.');
  if (recorded === false) texts.push('The flight recorder is switched off (recorder.bytes).');
  return element('p', { className: 'quiet', id: 'notes' }, texts.join(' '));
}

/** Asks again before it disconnects: a click by mistake ends nobody’s session. */
function disconnect(app, session, show) {
  const button = element('button', { type: 'button' }, 'Disconnect this session');
  const result = element('span', { role: 'status' });
  let isSure = false;
  button.addEventListener('blur', () => {
    isSure = false;
    button.textContent = 'Disconnect this session';
  });
  button.addEventListener('click', async () => {
    if (!isSure) {
      isSure = true;
      button.textContent = 'Really disconnect? The client does not come back by itself';
      return;
    }
    try {
      await app.api.post('disconnect', { session });
      await show();
    } catch (error) {
      result.replaceChildren(problem(error, app));
    }
  });
  return element('p', {}, button, ' ', result);
}
