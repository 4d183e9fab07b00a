// Chromium, and the chat in one of its pages.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

// The pinned package is found through NODE_PATH, which `import` ignores.
const { chromium } = createRequire(import.meta.url)('playwright-core');

const FLAGS = [
  '--no-sandbox', // Chromium's sandbox does not work for root.
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-proxy-server',
];

/** Nothing waits for this to pass: what takes longer has failed. */
const PATIENCE = 60_000;

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });

/** With HTTP/3 and WebTransport. */
export const launchWithQuic = () => chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS.filter((flag) => flag !== '--disable-quic') });

/** One person's tab. */
export class Tab {
  /** What the page complained of: a script that failed, something the policy forbade. */
  complaints = [];
  /** The addresses of everything it loaded. */
  requests = [];

  /** Opens the chat in a context of its own, as another machine would. */
  static async open(browser, port, { room = '', ...settings } = {}) {
    return Tab.visit(browser, port, `talk/${room && `#${room}`}`, settings);
  }

  /** Opens any page in a context of its own, and waits until it is `ready`: until its connection is open. */
  static async visit(browser, port, path, { ready = '#connection[data-state="open"]', ...settings } = {}) {
    const tab = new Tab();
    tab.context = await browser.newContext(settings);
    tab.context.setDefaultTimeout(PATIENCE);
    tab.page = await tab.context.newPage();
    tab.page.on('pageerror', (error) => tab.complaints.push(error.message));
    tab.page.on('console', (said) => said.type() === 'error' && tab.complaints.push(said.text()));
    tab.page.on('request', (request) => tab.requests.push(request.url()));
    await tab.page.goto(`http://127.0.0.1:${port}/${path}`);
    await tab.page.waitForSelector(ready);
    return tab;
  }

  /** Waits for a state of the connection: `open`, `waiting`, `offline`, `closed`. */
  async connection(state) {
    await this.page.waitForSelector(`#connection[data-state="${state}"]`);
  }

  async say(text) {
    await this.page.fill('#words', text);
    await this.page.press('#words', 'Enter');
  }

  /** Waits until the newest messages are these, in this order. */
  async hears(...texts) {
    await this.until(([...expected]) => {
      const seen = [...document.querySelectorAll('.message')].map(({ entry }) => entry.text);
      return JSON.stringify(seen.slice(-expected.length)) === JSON.stringify(expected);
    }, texts, async () => `hears ${JSON.stringify(texts)}, not ${JSON.stringify(await this.texts())}`);
  }

  /** Waits for the state of the newest of one's own messages: `pending`, `kept`, `reached`. */
  async tick(state) {
    await this.until((wanted) => [...document.querySelectorAll('.mine')].at(-1)?.dataset.state === wanted, state, () => `ticks ${state}`);
  }

  /** Waits for the names of those who are here, the own one apart. */
  async sees(...names) {
    await this.until((wanted) => {
      const here = [...document.querySelectorAll('#people .person')].slice(1).map((person) => person.textContent);
      return JSON.stringify(here) === JSON.stringify(wanted);
    }, names.sort(), () => `sees ${names}`);
  }

  async texts() {
    return this.page.evaluate(() => [...document.querySelectorAll('.message')].map(({ entry }) => entry.text));
  }

  async name() {
    return this.page.textContent('#me-name');
  }

  async until(condition, argument, failure) {
    try {
      await this.page.waitForFunction(condition, argument);
    } catch (error) {
      assert.fail(`${await failure()}: ${error.message}`);
    }
  }

  /** Nothing went wrong but the connection itself, which is meant to break here. */
  assertNoComplaint() {
    const others = this.complaints.filter((said) => !/WebSocket connection to|ERR_CONNECTION|ERR_INTERNET|ERR_SOCKET_NOT_CONNECTED|ERR_INCOMPLETE_CHUNKED/.test(said));
    assert.deepEqual(others, []);
  }

  close() {
    return this.context.close();
  }
}

/** Runs a scene with tabs and a server, and clears up after it. */
export async function stage(t, { settings, network = false } = {}) {
  const { Server } = await import('./server.js');
  const { Network } = await import('./network.js');
  const server = await Server.start(settings);
  t.after(() => server.remove());
  const between = network ? await Network.to(server.port) : undefined;
  if (between) t.after(() => between.close());
  const browser = await launch();
  t.after(() => browser.close());
  const port = between?.port ?? server.port;
  return {
    server,
    network: between,
    port,
    browser,
    open: (options) => Tab.open(browser, port, options),
    visit: (path, options) => Tab.visit(browser, port, path, options),
  };
}
