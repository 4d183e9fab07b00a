// The dashboard against the real server: what it shows, what it asks for, and what hostile names and data do to it. The
// test with axe-core takes screenshots with SCREENSHOTS=directory.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';

import { stage } from './browser.js';
import { freePort } from './server.js';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const KEY = 'ohk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG';
const HASH = createHash('sha256').update(KEY).digest('hex');
const SETTINGS = ['--api-keys', `* sha256:${HASH}`];

const SCREENS = {
  desktop: { viewport: { width: 1280, height: 800 } },
  phone: { viewport: { width: 390, height: 760 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
};

/** A server with a key, somebody who chats, and the dashboard with the key. */
async function scene(t, { page = '', settings = [], ...options } = {}) {
  const made = await stage(t, { settings: [...SETTINGS, ...settings] });
  const board = await made.visit(`dashboard/#key=${KEY}`, { ready: '.plot', ...options });
  if (page) await go(board, page);
  return { ...made, board };
}

/** Goes to a page of the dashboard, as a link does. */
async function go(board, page) {
  await board.page.evaluate((hash) => { location.hash = hash; }, page);
}

/** A request of a backend. */
async function api(port, path, body) {
  const answer = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`, { method: 'POST', headers: { Authorization: `Bearer ${KEY}`, 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
}

/** Nothing went wrong. That the server refuses something, such as the history of a channel that has none, is shown, not a complaint. */
function assertNoComplaint(board) {
  assert.deepEqual(board.complaints.filter((said) => !said.startsWith('Failed to load resource')), []);
}

/** Waits until an element has a text. */
const shows = (tab, selector, text) => tab.page.locator(selector, { hasText: text }).first().waitFor();

/** A client that subscribes to channels, and stays. */
async function client(tab, ...channels) {
  return tab.page.evaluate(async (names) => {
    const { connect } = await import('../client/index.js');
    const connection = connect('../ws');
    await Promise.all(connection.subscribe(names).map((one) => new Promise((resolve) => { one.on('subscribed', resolve); })));
    globalThis.kept = connection;
  }, channels);
}

test('without a key, the page asks for one; a wrong one is refused; the right one is forgotten by a reload, unless it is kept', async (t) => {
  const { visit } = await stage(t, { settings: SETTINGS });
  const board = await visit('dashboard/', { ready: 'dialog[open]' });
  const stored = () => board.page.evaluate(() => JSON.stringify({ ...sessionStorage, ...localStorage }));
  const enter = async (key) => {
    await board.page.fill('#key', key);
    await board.page.press('#key', 'Enter');
  };
  await enter('ohk_wrong');
  await shows(board, '#key-problem', /key/);
  await enter(KEY);
  await shows(board, '#facts', /workers/);
  assert.equal(await stored(), '{}');
  await board.page.reload();
  await board.page.waitForSelector('dialog[open]');
  await board.page.check('#key-keep');
  await enter(KEY);
  await shows(board, '#facts', /workers/);
  assert.match(await stored(), new RegExp(KEY));
  await board.page.reload();
  await shows(board, '#facts', /workers/);
  await board.page.click('#key-button');
  await board.page.click('#key-forget');
  await board.page.waitForSelector('dialog[open], .problem');
  assert.equal(await stored(), '{}');
});

test('a key in the address is used and removed from it, and nothing but the server is contacted', async (t) => {
  const { board } = await scene(t);
  await shows(board, '#facts', /workers/);
  assert.doesNotMatch(board.page.url(), /ohk_/);
  assert.deepEqual(board.requests.filter((address) => new URL(address).hostname !== '127.0.0.1' || address.includes(KEY)), []);
  assertNoComplaint(board);
});

test('a key in the address of a page that is open already is used and removed, too', async (t) => {
  const { visit } = await stage(t, { settings: SETTINGS });
  const board = await visit('dashboard/', { ready: 'dialog[open]' });
  // Before the first figures, a pointer over a plot is no error.
  await board.page.evaluate(() => document.querySelector('.plot svg').dispatchEvent(new PointerEvent('pointermove')));
  await go(board, `key=${KEY}`);
  await shows(board, '#facts', /workers/);
  assert.doesNotMatch(board.page.url(), /ohk_/);
  await go(board, 'key=%');
  await board.page.waitForSelector('.problem');
  assert.doesNotMatch(board.page.url(), /key=/);
  assertNoComplaint(board);
});

test('the page is smaller than 100 KB, with everything that it loads', async (t) => {
  const { browser, port } = await stage(t, { settings: SETTINGS });
  const context = await browser.newContext();
  const page = await context.newPage();
  const sizes = [];
  page.on('response', (response) => sizes.push(response.body().then((body) => [new URL(response.url()).pathname, body.length], () => ['', 0])));
  await page.goto(`http://127.0.0.1:${port}/dashboard/#key=${KEY}`);
  await page.waitForSelector('#lists section');
  const files = (await Promise.all(sizes)).filter(([path]) => path.startsWith('/dashboard/'));
  assert.ok(files.length > 10, 'it has loaded its modules');
  const total = files.reduce((sum, [, size]) => sum + size, 0);
  assert.ok(total < 100_000, `${total} bytes`);
});

test('the plots show what happens, and the dialects who is connected', async (t) => {
  const { board, open } = await scene(t);
  const ann = await open();
  await shows(board, '#clients td', 'native json');
  await shows(board, '#clients td', 'websocket');
  const connections = board.page.locator('.plot', { hasText: 'Connections' });
  await connections.locator('strong', { hasText: '1' }).waitFor();
  await ann.say('hello');
  await ann.tick('kept');
  const published = board.page.locator('.plot', { hasText: 'Publications' }).locator('svg');
  await board.until(() => / 0\/s to (?!0\/s)\S+\/s /.test([...document.querySelectorAll('.plot svg')][1].getAttribute('aria-label')), undefined,
    async () => `a rate in ${await published.getAttribute('aria-label')}`);
  await board.page.click('#figures summary');
  await shows(board, '#figures td', 'Publish to write, 99 %');
  await shows(board, '#lists td', 'talk:lobby');
  assertNoComplaint(board);
});

test('names and data of clients are shown as the text that they are', async (t) => {
  const { board, port, open } = await scene(t);
  const markup = '<img src=x onerror=alert(1)><script>alert(2)</script>';
  const name = `room/${markup}?#&%2e\u202e`;
  const tab = await open();
  await client(tab, name);
  await api(port, 'publish', { channel: name, data: { text: markup }, key: markup, tags: { [markup]: markup, key: markup } });
  await go(board, 'channels');
  await shows(board, '#found a', markup);
  await board.page.locator('#found a', { hasText: markup }).click();
  await shows(board, '#messages pre', markup);
  assert.equal(await board.page.textContent('h1'), name);
  await shows(board, '#state td', markup);
  await shows(board, '#members td', 'anonymous');
  await board.page.locator('#messages a', { hasText: 'Why did' }).click();
  assert.equal(await board.page.inputValue('#channel'), name);
  await board.page.fill('#who', markup);
  await board.page.press('#who', 'Enter');
  await shows(board, '.verdict', 'not connected');
  assert.equal(await board.page.locator('main img, main script').count(), 0);
  assertNoComplaint(board);
});

test('channels are searched by the beginning of their names, page after page', async (t) => {
  const { board, open } = await scene(t);
  const tab = await open();
  await client(tab, ...Array.from({ length: 120 }, (_, number) => `many/${String(number).padStart(3, '0')}`), 'other');
  await go(board, 'channels');
  await shows(board, '#found a', 'many/000');
  await board.page.fill('#search', 'oth');
  await board.until(() => document.querySelectorAll('#found tbody tr').length === 1, undefined, () => 'one channel');
  assert.match(board.page.url(), /prefix=oth$/);
  await board.page.fill('#search', 'many/');
  await board.until(() => document.querySelectorAll('#found tbody tr').length === 100, undefined, () => 'one page of channels');
  await board.page.getByRole('button', { name: 'More' }).click();
  await board.until(() => document.querySelectorAll('#found tbody tr').length === 120, undefined, () => 'all channels');
  await board.page.fill('#search', 'never seen');
  await shows(board, '#found', 'No channel');
  await board.page.press('#search', 'Enter');
  await shows(board, 'h1', 'never seen');
});

test('one channel is followed, and published to, with its members, state and receipts', async (t) => {
  const { board, open, port } = await scene(t, { page: 'channel?name=prices' });
  const tab = await open();
  await client(tab, 'prices');
  await shows(board, '#members td', 'anonymous');
  await api(port, 'publish', { channel: 'prices', data: 'from a backend' });
  await shows(board, '#messages pre', 'from a backend');
  await board.page.fill('#data', '{"bid":3}');
  await board.page.fill('#state-key', 'BTC');
  await board.page.press('#data', 'Control+Enter');
  await shows(board, '#published', /Published at \d+\.2/);
  await shows(board, '#messages pre', '{"bid":3}');
  await shows(board, '#state td', 'BTC');
  const texts = await board.page.$$eval('#messages pre', (all) => all.map(({ textContent }) => textContent));
  assert.deepEqual(texts, ['{"bid":3}', '"from a backend"']);
  await board.page.getByRole('button', { name: 'Who has it?' }).first().click();
  await shows(board, '#messages button', /received by \d of 1/);
});

test('a channel without history is followed by subscribing to it', async (t) => {
  const { board, port } = await scene(t, { page: 'channel?name=examples-live:x' });
  await shows(board, '.quiet', 'keeps no history');
  await board.page.check('input[value="live"]');
  await shows(board, '.quiet', 'Subscribed');
  await api(port, 'publish', { channel: 'examples-live:x', data: 'now or never' });
  await shows(board, '#messages pre', 'now or never');
  await go(board, 'channels');
  await board.until(() => !document.querySelector('#messages'), undefined, () => 'the other page');
  assertNoComplaint(board);
});

test('the sessions of a user have a timeline, and can be ended', async (t) => {
  const { board, open } = await scene(t);
  const ann = await open();
  await ann.say('hello');
  await ann.tick('kept');
  await go(board, 'channel?name=talk:lobby');
  await board.page.locator('#members a').first().click();
  await shows(board, '.timeline li', /published .* to channel talk:lobby/);
  await shows(board, '.connection td', 'live');
  const button = board.page.getByRole('button', { name: /isconnect/ });
  await button.click();
  await button.click();
  await ann.connection('closed');
  await shows(board, '.timeline li', 'The connection ended');
});

test('it explains why somebody did not get a message', async (t) => {
  const { board, open, port } = await scene(t);
  const { position } = await api(port, 'publish', { channel: 'elsewhere', data: 'for nobody' });
  const ann = await open({ room: 'garden' });
  await go(board, 'channel?name=talk:garden');
  await board.page.locator('#members a').first().click();
  await shows(board, '.connection h2', 'Connection');
  const session = new URLSearchParams(new URL(board.page.url()).hash.split('?')[1]).get('session');
  await go(board, `why?session=${session}&channel=elsewhere&position=${position}`);
  await shows(board, '.verdict', /never subscribed/);
  await ann.say('in the garden');
  await ann.tick('kept');
  await board.page.fill('#channel', 'talk:garden');
  await board.page.fill('#position', position.replace(/\.\d+$/, '.1'));
  await board.page.press('#position', 'Enter');
  await shows(board, '.verdict', /receipted|delivered|own/);
});

test('the rules are shown, and whether somebody may do something', async (t) => {
  const { board } = await scene(t, { page: 'rules', settings: ['--channels', '[{ pattern = "news/*", publish = "nobody" }, { pattern = "*" }]'] });
  await shows(board, '#rule-list td', 'news/*');
  await shows(board, '#rule-list td', 'nobody');
  await board.page.fill('#user', 'ann');
  await board.page.fill('#channel', 'news/today');
  await board.page.press('#channel', 'Enter');
  await shows(board, '#answer', 'No: only the server');
  await board.page.selectOption('#verb', 'subscribe');
  await board.page.press('#channel', 'Enter');
  await shows(board, '#answer', 'Yes: everyone may (rule news/*)');
});

test('at the address for operators, the figures need no key', async (t) => {
  const admin = await freePort();
  const { browser } = await stage(t, { settings: [...SETTINGS, '--admin-listen', `127.0.0.1:${admin}`] });
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${admin}/`);
  await page.locator('#facts', { hasText: 'workers' }).waitFor();
  await page.locator('.problem', { hasText: 'key' }).first().waitFor();
  assert.equal(await page.locator('dialog[open]').count(), 0);
});

test('a server that goes away is noticed, and its return', async (t) => {
  const { board, server } = await scene(t);
  await shows(board, '#health', 'healthy');
  await server.stop();
  await shows(board, '#health', 'does not answer');
  await server.start();
  await shows(board, '#health', 'healthy');
});

test('the keyboard is enough', async (t) => {
  const { board } = await scene(t);
  await board.page.keyboard.press('Tab');
  assert.equal(await board.page.evaluate(() => document.activeElement.className), 'skip');
  await board.page.focus('nav a[href="#rules"]');
  await board.page.keyboard.press('Enter');
  await shows(board, 'h1', 'Rules');
  assert.equal(await board.page.evaluate(() => document.activeElement.id), 'main');
  assert.equal(await board.page.getAttribute('nav a[href="#rules"]', 'aria-current'), 'page');
  await board.page.focus('#key-button');
  await board.page.keyboard.press('Enter');
  assert.equal(await board.page.evaluate(() => document.activeElement.id), 'key');
  await board.page.keyboard.press('Escape');
  assert.equal(await board.page.locator('dialog[open]').count(), 0);
});

/** Each page of the dashboard with something to see; `show(name)` looks at it. */
async function walk({ board, ann, port, show }) {
  await api(port, 'publish', { channel: 'talk:tour', data: { bid: 3 }, tags: { key: 'BTC' } });
  await ann.say('hello');
  await ann.tick('kept');
  await shows(board, '#clients td', 'native json');
  await shows(board, '#lists td', 'talk:tour');
  await board.page.click('#figures summary');
  await show('overview');
  await go(board, 'channels?prefix=talk');
  await shows(board, '#found a', 'talk:tour');
  await show('channels');
  await go(board, 'channel?name=talk:tour');
  await shows(board, '#messages pre', 'hello');
  await shows(board, '#members td', 'anonymous');
  await shows(board, '#state td', 'BTC');
  await show('channel');
  await board.page.locator('#members a').first().click();
  await shows(board, '.timeline li', 'published');
  await show('sessions');
  await go(board, `why?${new URL(board.page.url()).hash.split('?')[1]}&channel=talk:tour&position=1.9`);
  await shows(board, '.verdict, .problem', /./);
  await show('why');
  await go(board, 'rules?user=ann&channel=talk:tour&verb=publish');
  await shows(board, '#rule-list td', '*');
  await shows(board, '#answer', 'Yes');
  await show('rules');
  await board.page.click('#key-button');
  await show('key');
}

for (const [screen, settings] of Object.entries(SCREENS)) {
  for (const colorScheme of ['light', 'dark']) {
    test(`${screen}, ${colorScheme}: axe reports no violations, and nothing is wider than the screen`, async (t) => {
      const { board, open, port } = await scene(t, { ...settings, colorScheme, bypassCSP: true, reducedMotion: 'reduce' });
      const ann = await open({ room: 'tour' });
      const violations = [];
      const show = async (name) => {
        if (process.env.SCREENSHOTS) {
          mkdirSync(process.env.SCREENSHOTS, { recursive: true });
          await board.page.screenshot({ path: join(process.env.SCREENSHOTS, `dashboard-${screen}-${colorScheme}-${name}.png`), fullPage: true });
        }
        await board.page.evaluate(axe);
        const found = await board.page.evaluate(() => globalThis.axe.run());
        violations.push(...found.violations.map(({ id, nodes }) => `${name}: ${id}: ${nodes.map(({ html, any }) => `${html.slice(0, 120)} ${any[0]?.message ?? ''}`).join(' | ')}`));
        const tooWide = await board.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (tooWide > 0) violations.push(`${name}: ${tooWide} pixels wider than the screen`);
      };
      await walk({ board, ann, port, show });
      assert.deepEqual(violations, []);
    });
  }
}
