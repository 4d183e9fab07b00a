// The rules of channels that apply, and whether somebody may do something.

import { choice, element, field, panel, problem, table } from './dom.js';
import { bytes, count, duration } from './format.js';

const VERBS = ['publish', 'subscribe', 'history', 'presence', 'state', 'call'].map((verb) => [verb, verb]);

export function rules(app, query, signal) {
  const input = (id, more) => element('input', { type: 'text', id, value: query.get(id) ?? '', autocomplete: 'off', spellcheck: false, ...more });
  const [user, channel] = [input('user', { maxLength: 256, placeholder: 'anonymous' }), input('channel', { required: true, maxLength: 200 })];
  const verb = choice(VERBS, query.get('verb'));
  verb.id = 'verb';
  const answer = element('div', { id: 'answer', role: 'status' });
  const form = element('form', { className: 'row' }, field('May user', user), field('do', verb), field('in channel, or call method', channel),
    element('button', { type: 'submit', className: 'primary' }, 'Ask'));
  const ask = async () => {
    try {
      const place = verb.value === 'call' ? { method: channel.value } : { channel: channel.value };
      const { allowed, rule, because } = await app.api.get('explain', { verb: verb.value, user: user.value, ...place }, signal);
      const word = element('strong', {}, allowed ? 'Yes' : 'No');
      answer.replaceChildren(element('p', { className: 'verdict', dataset: { verdict: allowed ? 'receipted' : 'denied' } }, word, `: ${because}${rule === undefined ? '' : ` (rule ${rule})`}`));
    } catch (error) {
      if (!signal.aborted) answer.replaceChildren(problem(error, app));
    }
  };
  form.addEventListener('submit', (event) => { event.preventDefault(); ask(); });
  if (channel.value) ask();

  const list = element('div', { id: 'rule-list' });
  app.api.get('rules', {}, signal).then((all) => list.replaceChildren(listed(all)), (error) => {
    if (!signal.aborted) list.replaceChildren(problem(error, app));
  });
  return element('div', {}, element('h1', {}, 'Rules'), panel('May they?', form, answer),
    panel('Rules of channels', element('p', { className: 'quiet' }, 'The first rule whose pattern matches applies. A channel that matches none does not exist.'), list));
}

function kept({ count: number, bytes: most, age_seconds: age }) {
  if (number === 0 || most === 0) return 'none';
  return [count(number), bytes(most), ...(age === undefined ? [] : [duration(age)])].join(' · ');
}

function listed({ rules: all, calls }) {
  const rows = all.map((rule) => [element('code', {}, rule.pattern), rule.publish, rule.subscribe, rule.presence ? 'yes' : 'no', kept(rule.history), kept(rule.state), rule.slow, rule.notify ? 'yes' : 'no']);
  const made = table('Rules of channels', ['pattern', 'publish', 'subscribe', 'presence', 'history', 'state', 'slow connections', 'backend is told'], rows, 'There are no rules.');
  return element('div', {}, made, element('p', { className: 'quiet' }, `Calls to the backend: ${calls}`));
}
