// The first page: plots of the last minutes, dialects and transports in use, slow connections and busy channels.

import { element, link, panel, problem, table } from './dom.js';
import { bytes, count, duration, rate as perSecond, seconds } from './format.js';
import { quantile, rate } from './metrics.js';
import { Plot } from './plot.js';
import { repeat } from './api.js';

/** The period of the latencies: long enough for some values on a quiet server. */
const PERIOD_MS = 10_000;

const LISTS_EVERY_MS = 4_000;

const rates = (...names) => (older, newer) => names.map((name) => rate(older, newer, name));
const gauges = (...names) => (_, newer) => names.map((name) => newer.value(name));
const quantiles = (name) => (_, newer, period) => [0.5, 0.99].map((share) => quantile(period, newer, name, share));

function memory(_, newer) {
  const parts = ['unsent', 'unfinished', 'channel'].map((part) => newer.value(`offhook_${part}_bytes`));
  const used = parts.includes(undefined) ? undefined : parts.reduce((sum, part) => sum + part);
  return [newer.value('process_resident_memory_bytes'), used];
}

const PLOTS = [
  ['Connections', count, undefined, gauges('offhook_connections')],
  ['Publications', perSecond, undefined, rates('offhook_published')],
  ['Deliveries', perSecond, undefined, rates('offhook_deliveries')],
  ['Delivered data', (value) => `${bytes(value)}/s`, undefined, rates('offhook_delivered_bytes')],
  ['Publish to write', seconds, ['median', '99 %'], quantiles('offhook_publish_to_write_seconds')],
  ['Publish to fsync', seconds, ['median', '99 %'], quantiles('offhook_publish_to_fsync_seconds')],
  ['Event loop delay', seconds, ['median', '99 %'], quantiles('offhook_event_loop_delay_seconds')],
  ['Memory', bytes, ['process', 'of the budget'], memory],
  ['Disk', bytes, undefined, gauges('offhook_disk_bytes')],
  ['Trouble', perSecond, ['gaps', 'refusals'], rates('offhook_gaps', 'offhook_refused')],
];

/** The plots. They are filled from the start of the page, whichever page is shown. */
export class Plots {
  #plots = PLOTS.map(([title, format, lines, values]) => ({ plot: new Plot(title, format, lines), values }));
  #readings = [];
  #listeners = new Set();

  take(reading) {
    const older = this.#readings.at(-1);
    this.#readings = [...this.#readings.filter(({ at }) => at >= reading.at - PERIOD_MS), reading];
    const period = this.#readings[0] === reading ? undefined : this.#readings[0];
    for (const { plot, values } of this.#plots) plot.push(reading.at, ...values(older, reading, period));
    for (const listener of this.#listeners) listener(reading);
  }

  get newest() {
    return this.#readings.at(-1);
  }

  get elements() {
    return this.#plots.map(({ plot }) => plot.element);
  }

  get summary() {
    return this.#plots.flatMap(({ plot }) => plot.summary);
  }

  /** Calls back with each reading until the signal ends it. */
  listen(listener, signal) {
    this.#listeners.add(listener);
    signal.addEventListener('abort', () => this.#listeners.delete(listener), { once: true });
  }
}

export function overview(app, _, signal) {
  const facts = element('p', { className: 'facts', id: 'facts' });
  const trouble = element('div', { id: 'feed-problem' });
  const figures = element('details', { className: 'panel', id: 'figures' }, element('summary', {}, 'The plots as a table'), element('div', {}));
  const clients = element('div', { id: 'clients' });
  const lists = element('div', { className: 'columns', id: 'lists' });

  const show = (reading) => {
    facts.textContent = factsOf(app.healthReport, reading);
    clients.replaceChildren(clientsTable(reading));
    if (figures.open) figures.lastChild.replaceChildren(table('The plots', ['figure', 'now', 'least', 'most'], app.plots.summary, 'There are no figures yet.'));
  };
  figures.addEventListener('toggle', () => app.plots.newest && show(app.plots.newest));
  if (app.plots.newest) show(app.plots.newest);
  app.plots.listen(show, signal);
  app.onFeed((error) => trouble.replaceChildren(...(error ? [problem(error, app)] : [])), signal);

  repeat(LISTS_EVERY_MS, signal, async () => {
    try {
      const top = await app.api.get('top', {}, signal);
      lists.replaceChildren(busiest(top.busiest), ...(top.slowest ? [slowest(top.slowest)] : []));
    } catch (error) {
      // Without a key, the figures of an address for operators are shown all the same.
      if (!signal.aborted) lists.replaceChildren(app.feedProblem?.status === error.status ? '' : problem(error, app));
    }
  });
  return element('div', {}, element('h1', {}, 'Overview'), trouble, facts,
    element('div', { className: 'plots' }, ...app.plots.elements), figures,
    element('section', { className: 'panel' }, element('h2', {}, 'Dialects and transports in use'), clients), lists);
}

function factsOf(health, reading) {
  if (!health) return '';
  const facts = [`up for ${duration(health.uptime_seconds)}`, `${count(health.workers)} workers`, `${count(health.sockets)} sockets`,
    `memory ${health.memory}`, `${count(health.channels)} channels on disk`];
  const descriptors = reading.value('process_open_fds');
  if (descriptors !== undefined) facts.push(`${count(descriptors)} of ${count(reading.value('process_max_fds'))} descriptors`);
  return facts.join(' · ');
}

function clientsTable(reading) {
  const used = reading.all('offhook_clients').filter(({ value }) => value > 0);
  const rows = used.sort((a, b) => b.value - a.value).map(({ labels, value }) => [labels.dialect ?? '', labels.transport ?? '', count(value)]);
  return table('Dialects and transports', ['dialect', 'transport', 'connections'], rows, 'Nobody is connected.');
}

function busiest(channels) {
  const rows = channels.map((one) => [link('channel', { name: one.channel }, one.channel), perSecond(one.publishes_per_second)]);
  return panel('Busiest channels', table('Busiest channels', ['channel', 'publications'], rows, 'Nothing was published in the last seconds.'));
}

function slowest(connections) {
  const rows = connections.map((one) => [
    one.connection === undefined ? link('people', { session: one.session }, one.session.slice(0, 8)) : link('people', { connection: one.connection }, String(one.connection)),
    one.user ?? 'anonymous', bytes(one.unsent_bytes), count(one.subscriptions_behind),
  ]);
  return panel('Slowest connections', table('Slowest connections', ['connection', 'user', 'unsent', 'subscriptions behind'], rows, 'Every connection keeps up.'));
}
