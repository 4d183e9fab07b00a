// Why a client did or did not receive a publication.

import { choice, element, field, problem } from './dom.js';
import { connectionCard, verdict } from './timeline.js';
import { SUBJECTS, notes, subjectOf } from './people.js';
import { moment } from './format.js';

export function why(app, query, signal) {
  const [kind, name] = subjectOf(query);
  const kinds = choice(SUBJECTS, kind);
  const text = (id, value, more) => element('input', { type: 'text', id, value: value ?? '', autocomplete: 'off', spellcheck: false, ...more });
  const who = text('who', name, { required: true, maxLength: 256 });
  const channel = text('channel', query.get('channel'), { required: true, maxLength: 200 });
  const position = text('position', query.get('position'), { pattern: '[0-9]+\\.[0-9]+', placeholder: '1700000000000000.42' });
  const key = text('key-of', query.get('key'), { maxLength: 128 });
  const form = element('form', { className: 'row' }, field('Who', kinds), field('Name', who), field('did not get, in channel', channel),
    field('the publication at position', position), field('or with key', key), element('button', { type: 'submit', className: 'primary' }, 'Explain'));
  const found = element('div', { id: 'found', 'aria-live': 'polite' });
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const asked = Object.entries({ [kinds.value]: who.value.trim(), channel: channel.value, position: position.value.trim(), key: key.value });
    const wanted = `why?${new URLSearchParams(asked.filter(([, value]) => value !== ''))}`;
    if (location.hash === `#${wanted}`) show();
    else location.hash = wanted;
  });

  const show = async () => {
    try {
      const about = { [kind]: name, channel: channel.value, position: position.value, key: key.value };
      const answer = await app.api.get('explain/delivery', about, signal);
      const { publication } = answer;
      const facts = publication && `${publication.state.replaceAll('_', ' ')} · ${publication.position}${publication.time === undefined ? '' : ` · ${moment(publication.time)}`}`;
      const whole = element('section', { className: 'panel' }, element('h2', {}, 'Verdict'), verdict(answer), element('p', { className: 'quiet' }, facts ?? ''));
      const isUnproven = answer.verdict === 'delivered';
      if (isUnproven) whole.append(again(show));
      found.replaceChildren(whole, ...answer.connections.map((one) => connectionCard(one)), answer.connections.length > 0 ? notes(answer) : '');
    } catch (error) {
      if (!signal.aborted) found.replaceChildren(problem(error, app));
    }
  };
  if (name && channel.value) show();
  return element('div', {}, element('h1', {}, 'Why did … not get …?'), form, found);
}

/** The server has asked the client for a receipt meanwhile. */
function again(show) {
  const button = element('button', { type: 'button' }, 'Ask again, for a receipt');
  button.addEventListener('click', show);
  return button;
}
