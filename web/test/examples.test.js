// The examples, each with a connection that is cut in the middle.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';

import { connect } from '../../clients/js/src/index.js';
import { stage } from './browser.js';

const require = createRequire(import.meta.url);
const { WebSocket } = require('ws');

const PATIENCE = 60_000;
const EXAMPLES = ['ticker', 'cursors', 'tokens', 'text', 'upload', 'game', 'notifications', 'iot'];

/** Tries again with each frame that the page draws, until it holds. */
async function eventually(tab, holds) {
  const until = Date.now() + PATIENCE;
  for (;;) {
    try {
      return await holds();
    } catch (error) {
      if (Date.now() > until) throw error;
      await tab.page.evaluate(() => new Promise((resolve) => { requestAnimationFrame(resolve); }));
    }
  }
}

async function together(t, name, settings) {
  const scene = await stage(t, { network: true, settings });
  const [a, b] = [await scene.visit(`examples/${name}.html`), await scene.visit(`examples/${name}.html`)];
  t.after(() => [a, b].forEach((tab) => tab.assertNoComplaint()));
  const cut = async () => {
    const lost = Promise.all([a, b].map((tab) => tab.page.waitForFunction(() => document.querySelector('#connection').dataset.state !== 'open')));
    scene.network.cut();
    await lost;
    await Promise.all([a.connection('open'), b.connection('open')]);
  };
  return { ...scene, a, b, cut };
}

/** Everything that a channel has, read by another client. */
async function everything(t, port, channel) {
  const client = connect(`ws://127.0.0.1:${port}/ws`, { WebSocket });
  t.after(() => client.close());
  const messages = [];
  for (let since = 'start'; ;) {
    const page = await client.history(channel, { since, limit: 500 });
    messages.push(...page.messages);
    if (page.messages.length === 0 || page.messages.at(-1).position === page.head) return messages;
    since = page.messages.at(-1).position;
  }
}

test('ticker: prices continue after a loss, and when the market closes both tabs have the same', async (t) => {
  const { a, b, cut } = await together(t, 'ticker');
  const rows = (tab) => tab.page.locator('#prices').innerText();
  await a.page.click('#market');
  await eventually(b, async () => assert.equal((await rows(b)).split('\n').length, 8));
  const before = await rows(b);
  await cut();
  await eventually(b, async () => assert.notEqual(await rows(b), before));
  await a.page.click('#market');
  await eventually(b, async () => assert.equal(await b.page.textContent('#rate'), '0'));
  await eventually(b, async () => assert.equal(await rows(b), await rows(a)));
});

test('cursors: seen in the other tab, by mouse and by keyboard, after a loss, and gone with its tab', async (t) => {
  const { a, b, cut } = await together(t, 'cursors', ['--limits-presence-grace', '1s']);
  const seen = () => b.page.$eval('.cursor', ({ style }) => [style.getPropertyValue('--x'), style.getPropertyValue('--y')].map(Number));
  const near = async (x, y) => {
    const [left, top] = await seen();
    assert.ok(Math.abs(left - x) < 0.01 && Math.abs(top - y) < 0.01, `${left} ${top}`);
  };
  await eventually(b, async () => assert.equal(await b.page.locator('#people li').count(), 2));
  const { x, y, width, height } = await a.page.locator('#field').boundingBox();
  await a.page.mouse.move(x + width * 0.25, y + height * 0.5);
  await eventually(b, () => near(0.25, 0.5));
  await cut();
  await a.page.focus('#field');
  await a.page.keyboard.press('ArrowRight');
  await a.page.keyboard.press('ArrowDown');
  await eventually(b, () => near(0.27, 0.52));
  await a.close();
  await eventually(b, async () => assert.equal(await b.page.locator('.cursor').count(), 0));
  assert.equal(await b.page.locator('#people li').count(), 1);
});

test('tokens: a reload and a loss in the middle, no token lost or doubled, and two tabs agree', async (t) => {
  const { a, b, cut, port } = await together(t, 'tokens');
  const tokens = (tab) => tab.page.$eval('.answer', ({ dataset }) => Number(dataset.tokens));
  const reaches = (tab, count) => eventually(tab, async () => assert.ok((await tokens(tab)) >= count));
  await a.page.fill('#question', 'What is a position?');
  await a.page.press('#question', 'Enter');
  await reaches(b, 5);
  await a.page.reload();
  await reaches(a, 12);
  await cut();
  await reaches(b, 20);
  await a.page.reload();
  for (const tab of [a, b]) await tab.page.waitForSelector('.answer[data-state="whole"]');
  const stream = (await everything(t, port, 'examples-tokens')).map(({ data }) => data).filter(({ token }) => token !== undefined);
  assert.deepEqual(stream.map(({ number }) => number), stream.map((_, number) => number));
  const text = stream.map(({ token }) => token).join('');
  assert.match(text, /^Each message in a channel has a position, and .* with the reason\.$/);
  for (const tab of [a, b]) assert.equal(await tab.page.textContent('.answer p'), text);
  assert.equal(await b.page.textContent('.answer h2'), 'What is a position?');
});

test('text: what both tabs write while they are offline is merged, and a later tab reads it back', async (t) => {
  const { a, b, network, visit } = await together(t, 'text');
  const value = (tab) => tab.page.inputValue('#text');
  const write = async (tab, at, text) => {
    await tab.page.$eval('#text', (area, caret) => { area.focus(); area.setSelectionRange(caret, caret); }, at);
    await tab.page.keyboard.type(text);
  };
  for (const tab of [a, b]) await tab.page.waitForSelector('#text:enabled');
  await write(a, 0, 'middle');
  await eventually(b, async () => assert.equal(await value(b), 'middle'));
  network.refuse();
  for (const tab of [a, b]) await tab.page.waitForFunction(() => document.querySelector('#connection').dataset.state !== 'open');
  await write(a, 6, ' end 😀');
  await write(b, 0, 'start ');
  assert.deepEqual([await value(a), await value(b)], ['middle end 😀', 'start middle']);
  network.revive();
  for (const tab of [a, b]) await eventually(tab, async () => assert.equal(await value(tab), 'start middle end 😀'));
  assert.equal(await b.page.$eval('#text', ({ selectionStart }) => selectionStart), 'start '.length);
  await b.page.reload();
  const late = await visit('examples/text.html');
  for (const tab of [b, late]) await eventually(tab, async () => assert.equal(await value(tab), 'start middle end 😀'));
});

test('upload: continues after a loss, with progress, and the copy in the other tab is checked', async (t) => {
  const { a, b, cut, port } = await together(t, 'upload');
  const buffer = Buffer.from(Array.from({ length: 700_001 }, (_, at) => (at * 7919) % 251));
  const done = () => a.page.$eval('#progress', ({ value }) => value);
  await a.page.setInputFiles('#file', { name: 'noise.bin', mimeType: 'application/octet-stream', buffer });
  await eventually(a, async () => assert.ok((await done()) > 0));
  await cut();
  await b.page.waitForSelector('#files li[data-state="whole"]');
  assert.equal(await b.page.innerText('#files li'), 'noise.bin: 700001 bytes, checked');
  await eventually(a, async () => assert.equal(await a.page.textContent('#status'), 'noise.bin is stored by the server.'));
  assert.equal(await done(), 1);
  const pieces = await everything(t, port, 'examples-files');
  assert.deepEqual(pieces.map(({ tags }) => Number(tags.piece)).sort((one, two) => one - two), Array.from({ length: 22 }, (_, number) => number));
});

test('game: a coin is collected before and after a loss, by pointer and by keys, and both tabs agree whose they are', async (t) => {
  const { a, b, cut } = await together(t, 'game');
  const scores = async (tab) => (await tab.page.locator('#scores li').allInnerTexts()).map((score) => score.replace(' (you)', ''));
  const coin = (tab) => tab.page.$eval('#field', ({ dataset }) => Object.fromEntries(Object.entries(dataset).map(([name, value]) => [name, Number(value)])));
  const walk = async (tab) => {
    const place = await coin(tab);
    const box = await tab.page.locator('#field').boundingBox();
    await tab.page.mouse.move(box.x + place.x / 600 * box.width, box.y + place.y / 400 * box.height);
    await tab.page.mouse.down();
    await eventually(tab, async () => assert.ok((await coin(tab)).coin > place.coin));
    await tab.page.mouse.up();
  };
  for (const tab of [a, b]) await eventually(tab, async () => assert.equal((await coin(tab)).others, 1));
  await walk(a);
  await cut();
  await walk(b);
  await walk(a);
  await eventually(b, async () => {
    const [ofA, ofB] = [await scores(a), await scores(b)];
    assert.deepEqual(ofA.sort(), ofB.sort());
    assert.equal(ofA.map((score) => Number(score.split(': ')[1])).reduce((sum, coins) => sum + coins), 3);
  });
});

test('notifications: an EventSource that is cut comes back and misses nothing', async (t) => {
  const { a, b, cut } = await together(t, 'notifications');
  const list = (tab) => tab.page.locator('#list li').allInnerTexts();
  const send = async (tab, words) => {
    await tab.page.fill('#words', words);
    await tab.page.press('#words', 'Enter');
  };
  await send(a, 'one');
  await eventually(b, async () => assert.deepEqual(await list(b), ['one']));
  await cut();
  await send(b, 'two');
  for (const tab of [a, b]) await eventually(tab, async () => assert.deepEqual(await list(tab), ['one', 'two']));
});

test('iot: a device that speaks MQTT is seen after a loss, takes commands of another tab, and its will is published when its tab is closed', async (t) => {
  const { a, b, cut, visit } = await together(t, 'iot');
  const kitchen = (tab) => tab.page.locator('[data-room="kitchen"]');
  const is = (tab, state) => eventually(tab, async () => assert.equal(await kitchen(tab).getAttribute('data-device'), state));
  const celsius = async (tab) => {
    const text = await kitchen(tab).locator('td').nth(2).innerText();
    assert.match(text, /^\d+\.\d °C$/);
    return text;
  };
  await a.page.click('#device');
  for (const tab of [a, b]) await is(tab, 'online');
  const before = await celsius(b);
  await cut();
  await a.page.waitForFunction(() => document.querySelector('#mqtt').textContent === 'connected');
  await is(b, 'online');
  await eventually(b, async () => assert.notEqual(await celsius(b), before));
  await kitchen(b).locator('button').click();
  for (const tab of [a, b]) await eventually(tab, async () => assert.equal(await kitchen(tab).locator('button').innerText(), 'on'));
  await a.close();
  await is(b, 'offline');
  await is(await visit('examples/iot.html'), 'offline');
});

test('every file of an example is at most 150 lines', () => {
  for (const name of readdirSync(new URL('../examples', import.meta.url)).filter((name) => /\.(html|js)$/.test(name))) {
    const lines = readFileSync(new URL(`../examples/${name}`, import.meta.url), 'utf8').split('\n').length;
    assert.ok(lines <= 150, `${name}: ${lines}`);
  }
});

/** What somebody does on each page before it is looked at. */
const PLAYED = {
  index: () => {},
  async ticker(page) {
    await page.click('#market');
    await page.waitForFunction(() => document.querySelectorAll('#prices tr').length > 0);
    await page.click('#market');
  },
  async cursors(page) {
    await page.focus('#field');
    await page.keyboard.press('ArrowRight');
  },
  async tokens(page) {
    await page.fill('#question', 'What is a position?');
    await page.press('#question', 'Enter');
    await page.waitForSelector('.answer[data-state="whole"]');
  },
  async text(page) {
    await page.waitForSelector('#text:enabled');
    await page.fill('#text', 'Written by two tabs at once.');
  },
  async upload(page) {
    await page.setInputFiles('#file', { name: 'noise.bin', mimeType: 'application/octet-stream', buffer: Buffer.alloc(70_000, 7) });
    await page.waitForSelector('#files li[data-state="whole"]');
  },
  game: (page) => page.waitForFunction(() => document.querySelector('#field').dataset.coin !== undefined),
  async notifications(page) {
    await page.fill('#words', 'Your order has shipped.');
    await page.press('#words', 'Enter');
    await page.waitForSelector('#list li');
  },
  async iot(page) {
    await page.click('#device');
    await page.waitForSelector('[data-device="online"] button:enabled');
    await page.click('[data-room="kitchen"] button');
    await page.waitForSelector('[data-room="kitchen"] button[aria-pressed="true"]');
  },
};

const SCREENS = { desktop: { width: 1280, height: 800 }, phone: { width: 360, height: 740 } };

for (const colorScheme of ['light', 'dark']) {
  for (const [screen, viewport] of Object.entries(SCREENS)) {
    test(`axe finds nothing on any page, as it opens and as it is used: ${screen}, ${colorScheme}`, async (t) => {
      const { browser, port } = await stage(t);
      const context = await browser.newContext({ colorScheme, viewport, bypassCSP: true });
      const page = await context.newPage();
      const look = async (name) => {
        await page.evaluate(readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8'));
        const found = await page.evaluate(async () => (await globalThis.axe.run()).violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]));
        assert.deepEqual(found, [], name);
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} is wider than ${viewport.width}`);
      };
      for (const [name, play] of Object.entries(PLAYED)) {
        await page.goto(`http://127.0.0.1:${port}/examples/${name}.html`);
        if (name !== 'index') await page.waitForSelector('#connection[data-state="open"]');
        await look(name);
        await play(page);
        if (process.env.SCREENSHOTS) {
          mkdirSync(process.env.SCREENSHOTS, { recursive: true });
          await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}-${screen}-${colorScheme}.png`) });
        }
        await look(`${name}, used`);
      }
    });
  }
}

test('every example is tested', () => assert.deepEqual(Object.keys(PLAYED), ['index', ...EXAMPLES]));
