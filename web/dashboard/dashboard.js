// The dashboard: reads /metrics all the time, and shows one page after the other. The address after # says which.

import { Api, keyIn, repeat } from './api.js';
import { byId } from './dom.js';
import { Reading } from './metrics.js';
import { Plots, overview } from './overview.js';
import { channels } from './channels.js';
import { channel } from './channel.js';
import { people } from './people.js';
import { why } from './why.js';
import { rules } from './rules.js';

const PAGES = { overview, channels, channel, people, why, rules };
const TITLES = { overview: 'Overview', channels: 'Channels', channel: 'Channel', people: 'Sessions', why: 'Why?', rules: 'Rules' };

const EVERY_MS = 2_000;

class App {
  api = new Api();
  plots = new Plots();
  healthReport;
  feedProblem;
  #hasAsked = false;
  #feed = new AbortController();
  #feedListeners = new Set();
  #leaving = new AbortController();

  start() {
    this.#takeKeyFromAddress();
    this.#listenToKeyDialog();
    window.addEventListener('hashchange', () => {
      // The address with a key can be entered in a tab that shows the dashboard already.
      const isNew = this.#takeKeyFromAddress();
      if (isNew) byId('key-dialog').close();
      this.show(true);
      if (isNew) this.#read();
    });
    this.show(false);
    this.#read();
  }

  /** Calls back with the problem of the figures, or nothing, until the signal ends it. */
  onFeed(listener, signal) {
    listener(this.feedProblem);
    this.#feedListeners.add(listener);
    signal.addEventListener('abort', () => this.#feedListeners.delete(listener), { once: true });
  }

  askKey() {
    byId('key-problem').hidden = true;
    byId('key').value = '';
    byId('key-dialog').showModal();
  }

  /** Shows the page of the address. `isMove`: the reader came from another page, and begins at its top. */
  show(isMove) {
    const [name, query] = location.hash.slice(1).split(/\?(.*)/s);
    const page = Object.hasOwn(PAGES, name) ? name : 'overview';
    this.#leaving.abort();
    this.#leaving = new AbortController();
    const made = PAGES[page](this, new URLSearchParams(query), this.#leaving.signal);
    const main = byId('main');
    main.replaceChildren(made);
    document.title = `${TITLES[page]} · Offhook dashboard`;
    for (const link of document.querySelectorAll('nav a')) {
      const isHere = link.hash === `#${page}` || (page === 'channel' && link.hash === '#channels');
      if (isHere) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    if (!isMove) return;
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  /** Reads the figures now, and again and again. */
  #read() {
    this.#feed.abort();
    this.#feed = new AbortController();
    const { signal } = this.#feed;
    repeat(EVERY_MS, signal, async () => {
      const [health, metrics] = await Promise.allSettled([this.api.health(signal), this.api.metrics(signal)]);
      if (signal.aborted) return;
      this.#showHealth(health);
      this.feedProblem = metrics.reason;
      if (metrics.status === 'fulfilled') this.plots.take(new Reading(metrics.value, performance.now()));
      for (const listener of this.#feedListeners) listener(this.feedProblem);
      if (this.feedProblem?.status === 401 && !this.#hasAsked) this.askKey();
      this.#hasAsked = true;
    });
  }

  #showHealth({ status, value }) {
    const shown = byId('health');
    this.healthReport = status === 'fulfilled' ? value : undefined;
    const word = this.healthReport?.status ?? 'unreachable';
    const text = { good: 'healthy', unreachable: 'the server does not answer' }[word] ?? `${word}: ${value?.detail ?? ''}`;
    if (shown.textContent !== text) shown.textContent = text;
    shown.dataset.state = word;
    byId('version').textContent = this.healthReport?.version ?? '';
  }

  /**
   * `offhook serve --dev` prints an address with the key. It is removed from the address and from the tab's history.
   * Returns whether there was one.
   */
  #takeKeyFromAddress() {
    const key = keyIn(location.hash);
    if (key === undefined) return false;
    history.replaceState(null, '', location.pathname);
    this.api.use(key, false);
    return true;
  }

  #listenToKeyDialog() {
    const dialog = byId('key-dialog');
    const use = (key, keep) => {
      this.api.use(key, keep);
      dialog.close();
      this.show(false);
      this.#read();
    };
    byId('key-button').addEventListener('click', () => this.askKey());
    byId('key-cancel').addEventListener('click', () => dialog.close());
    byId('key-forget').addEventListener('click', () => use('', false));
    byId('key-form').addEventListener('submit', async (event) => {
      event.preventDefault();
      const [key, keep] = [byId('key').value, byId('key-keep').checked];
      const problem = await this.#tried(key);
      byId('key-problem').textContent = problem ?? '';
      byId('key-problem').hidden = problem === undefined;
      if (problem === undefined) use(key, keep);
    });
  }

  /** What the server says against a key; nothing if it accepts it, whatever it is for. */
  async #tried(key) {
    if (/[^\x21-\x7e]/.test(key.trim()) || key.trim() === '') return 'a key consists of letters and digits';
    try {
      await new Api(this.api.base, key).get('stats');
      return undefined;
    } catch (error) {
      return error.status === 403 ? undefined : error.message;
    }
  }
}

new App().start();
