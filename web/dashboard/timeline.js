// The flight recorder of a connection: what its client asked for and what was decided, as sentences in the order of time.

import { element, link, table } from './dom.js';
import { bytes, clock, count, moment } from './format.js';

const target = (entry) => (entry.filter === undefined ? ` channel ${entry.channel}` : ` filter ${entry.filter}`)
  + (entry.subscription === undefined ? '' : ` (subscription ${entry.subscription})`);
const why = ({ code, detail }) => (code === undefined ? '' : `: ${code}: ${detail}`);

/** For each kind of entry: how serious it is, and the sentence. */
const KINDS = {
  subscribed: ['good', (entry) => `The server opened the subscription to${target(entry)} at ${entry.position}`],
  unsubscribed: ['', (entry) => (entry.code === undefined ? `The client unsubscribed from${target(entry)}` : `The server ended the subscription to${target(entry)}${why(entry)}`)],
  refused: ['bad', (entry) => `The server refused ${entry.verb ? `to ${entry.verb}` : 'a message'}${entry.channel === undefined && entry.filter === undefined ? '' : `,${target(entry)}`}${why(entry)}`],
  gap: ['bad', (entry) => `The client was told of a gap in${target(entry)}: ${entry.reason}, after ${entry.from} up to ${entry.to}`],
  behind: ['wait', (entry) => `The subscription to${target(entry)} fell behind at ${entry.position}, and continues from the history`],
  live: ['good', (entry) => `The subscription to${target(entry)} is live again at ${entry.position}`],
  reconnect: ['wait', (entry) => `The client was asked to reconnect after ${count(entry.after_ms)} ms`],
  closing: ['bad', (entry) => `The server closes the connection: ${entry.reason}`],
  called: ['', (entry) => `The client called the backend’s method ${entry.method}`],
  publishing: ['wait', (entry) => `The client publishes ${bytes(entry.bytes)} to${target(entry)}; the outcome is not known yet`],
  published: ['good', (entry) => `The client published ${bytes(entry.bytes)} to${target(entry)} at ${entry.position}${entry.duplicate ? ', which was a repetition' : ''}`],
  publish_refused: ['bad', (entry) => `The client’s publication to${target(entry)} was refused${why(entry)}`],
};

/** The seriousness and the sentence of an entry; one of a newer server is shown as it is. */
export function sentence(entry) {
  const [kind, text] = KINDS[entry.what] ?? ['', () => JSON.stringify(entry)];
  return [kind, text(entry) + (entry.times > 1 ? ` (${count(entry.times)} times; this was the last)` : '')];
}

/** Everything recorded of a connection in the order of time. */
export function entries(connection) {
  const all = [...connection.decisions, ...connection.messages].sort((a, b) => a.time - b.time);
  const shown = all.map((entry) => [entry.time, ...sentence(entry)]);
  if (connection.ended !== undefined) shown.push([connection.ended, 'bad', `The connection ended: ${connection.end}`]);
  return shown;
}

/** One connection: its verdict, if there is one, its subscriptions, and its timeline. */
export function connectionCard(connection, ...more) {
  const { connection: number, session, user, open, worker, unsent_bytes: unsent } = connection;
  const title = `Connection ${number ?? 'without a number'} of ${user ?? 'an anonymous client'}`;
  const facts = [open ? 'open' : 'ended', `worker ${worker}`, ...(unsent === undefined ? [] : [`${bytes(unsent)} unsent`])];
  const earlier = connection.earlier_decisions ? element('p', { className: 'quiet' }, `${count(connection.earlier_decisions)} earlier decisions were discarded.`) : undefined;
  return element('section', { className: 'panel connection', dataset: { open: String(open) } }, element('h2', {}, title),
    element('p', { className: 'quiet' }, `${facts.join(' · ')} · session `, link('people', { session }, session)),
    connection.verdict === undefined ? undefined : verdict(connection),
    subscriptions(connection), element('h3', {}, 'Timeline'), earlier, timeline(connection), ...more);
}

export const verdict = ({ verdict: word, sentence: text }) => element('p', { className: 'verdict', dataset: { verdict: word } }, element('strong', {}, word.replaceAll('_', ' ')), ` ${text}`);

function subscriptions(connection) {
  const rows = connection.subscriptions.map((one) => [
    one.channel === undefined ? `filter ${one.filter}` : link('channel', { name: one.channel }, one.channel),
    one.subscription === undefined ? '' : String(one.subscription), one.state, one.position ?? '', one.received === undefined ? '' : count(one.received),
  ]);
  const made = table('Subscriptions', ['channel', 'number', 'state', 'sent up to', 'received up to offset'], rows, 'No subscription.');
  return element('div', {}, element('h3', {}, 'Subscriptions'), made, connection.more_subscriptions ? 'There are more.' : '');
}

function timeline(connection) {
  const all = entries(connection);
  if (all.length === 0) return element('p', { className: 'quiet' }, 'Nothing is recorded.');
  return element('ol', { className: 'timeline' }, ...all.map(([time, kind, text]) => element('li', { dataset: { kind } },
    element('time', { dateTime: moment(time), title: moment(time) }, clock(time)), ' ', text)));
}
