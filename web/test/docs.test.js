// The documentation as the server shows it: its pages, its search, the explanation of frames, and what axe-core says. With
// SCREENSHOTS=directory, it takes screenshots.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';

import { stage } from './browser.js';
import { accept, bytesOf, decode, encode, hex } from '../docs/frames.js';
import { excerpt, found } from '../docs/search.js';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const SCREENS = {
  desktop: { viewport: { width: 1280, height: 800 } },
  phone: { viewport: { width: 390, height: 760 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
};

/** What the program says about frames of a client. Its exit code is 1 if a rule is broken. */
function decoded(digits) {
  try {
    return execFileSync(process.env.OFFHOOK, ['decode', '--json', '--from', 'client'], { input: digits, encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'] });
  } catch ({ status, stdout }) {
    assert.equal(status, 1);
    return stdout;
  }
}

const framesOf = (json) => json.trim().split('\n').map((line) => JSON.parse(line)).filter(({ type }) => type === 'frame');

test('frames are explained as by the program, which knows the same opcodes, lengths and masks', () => {
  const key = [1, 2, 3, 4];
  const messages = ['', 'Hello', 'héllo wörld', 'x'.repeat(125), 'x'.repeat(126), 'x'.repeat(65_535), 'x'.repeat(65_536)];
  for (const message of messages) {
    const bytes = encode(message, { key })[0];
    const [ours] = decode(bytes).frames;
    const [theirs] = framesOf(decoded(hex(bytes)));
    assert.deepEqual([ours.opcode, ours.fin, ours.rsv, ours.length], [theirs.opcode, theirs.fin, theirs.rsv, theirs.length], message.slice(0, 20));
    assert.deepEqual([ours.broken, theirs.broken], [[], []]);
    assert.equal(new TextDecoder().decode(ours.payload), message);
  }
  const pieces = encode('Hello', { key, pieces: 3 });
  assert.equal(pieces.length, 3);
  assert.deepEqual(framesOf(decoded(pieces.map(hex).join(' '))).map(({ opcode, fin }) => [opcode, fin]), [[1, false], [0, false], [0, true]]);
});

test('where one of the two sees a broken rule, so does the other', () => {
  const key = '00 00 00 00';
  const cases = ['83 80', '8b 80', '09 80', '89 fe 00 7e', '80 80', '01 81', '81 fe 00 05', '88 81', '81 81', 'c9 80', 'a1 80', '91 80', '88 80', '89 80', '82 80'];
  for (const start of cases) {
    const header = bytesOf(start);
    const length = header.length > 2 ? header[2] * 256 + header[3] : header[1] & 127;
    const digits = `${start} ${key} ${'ff '.repeat(length)}`;
    const second = start === '01 81' ? ` ${digits}` : '';
    const ours = decode(bytesOf(digits + second)).frames.flatMap(({ broken }) => broken);
    const theirs = framesOf(decoded(digits + second)).flatMap(({ broken }) => broken);
    assert.equal(ours.length > 0, theirs.length > 0, `${digits}: ${ours} / ${JSON.stringify(theirs)}`);
  }
});

test('bytes that are no frame, or not all of one, are not an error', () => {
  for (const length of [0, 1, 2, 5, 13]) assert.deepEqual(decode(bytesOf('81 ff 00 00 00 00 00 00 ff ff 01 02 03 04'.slice(0, 3 * length))).frames, []);
  assert.throws(() => bytesOf('8g'), /no hexadecimal digit/);
  assert.throws(() => bytesOf('81 8'), /odd/);
  const { frames, rest } = decode(bytesOf('89 00 81'));
  assert.deepEqual([frames.length, hex(rest)], [1, '81']);
  for (let round = 0; round < 300; round += 1) {
    const bytes = new Uint8Array(randomBytes(round));
    for (const frame of decode(bytes).frames) assert.doesNotMatch(JSON.stringify(frame.parts.map(({ text }) => text)), /undefined|NaN/);
  }
});

test('the accept value is that of RFC 6455 and of any SHA-1', () => {
  assert.equal(accept('dGhlIHNhbXBsZSBub25jZQ=='), 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
  for (const length of [0, 1, 19, 20, 27, 28, 60, 100, 200]) {
    const key = 'k'.repeat(length);
    assert.equal(accept(key), createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64'), length);
  }
});

test('the search needs all words, and prefers headings', () => {
  const sections = [['Server', 'Memory', 'server.html#memory', 'the budget'], ['Server', 'Other', 'server.html#other', 'memory and budget, memory'], ['Tools', 'dial', 'tools.html#dial', 'talk']];
  assert.deepEqual(found(sections, 'memory BUDGET').map(([, heading]) => heading), ['Memory', 'Other']);
  assert.deepEqual(found(sections, 'memory dial'), []);
  assert.deepEqual(found(sections, ' '), []);
  assert.match(excerpt(`${'a '.repeat(200)}needle${' b'.repeat(200)}`, 'needle'), /^… .*needle.* …$/);
});

test('pages are found by the search, which works with the keyboard, and shows what it finds as text', async (t) => {
  const { visit } = await stage(t);
  const reader = await visit('docs/', { ready: '#search:not([hidden])' });
  await reader.page.fill('#query', 'flight recorder');
  await reader.page.locator('#results a', { hasText: 'flight recorder' }).first().waitFor();
  await reader.page.press('#query', 'Enter');
  await reader.page.keyboard.press('Enter');
  await reader.page.waitForURL('**/docs/*.html#*');
  await reader.page.fill('#query', '<img src=x onerror=alert(1)>');
  await reader.page.locator('#results h1', { hasText: '<img' }).waitFor();
  await reader.page.press('#query', 'Escape');
  assert.equal(await reader.page.isVisible('article'), true);
  assert.equal(await reader.page.locator('#results img').count(), 0);
  assert.deepEqual(reader.complaints, []);
  assert.deepEqual(reader.requests.filter((address) => new URL(address).hostname !== '127.0.0.1'), []);
});

test('frames, messages and keys can be typed on the page that explains them', async (t) => {
  const { visit } = await stage(t);
  const reader = await visit('docs/how-websocket-works.html', { ready: '.try' });
  const box = (text) => reader.page.locator('.try', { hasText: text }).first();
  await box('Sec-WebSocket-Key').getByText('s3pPLMBiTxaQ9kYGzzhZRbK+xOo=').waitFor();
  await box('Bytes, in hexadecimal').getByText('“Hello”').first().waitFor();
  await box('Bytes, in hexadecimal').locator('textarea').fill('c1 zz');
  await box('Bytes, in hexadecimal').getByText('no hexadecimal digit').waitFor();
  await box('Bytes, in hexadecimal').locator('textarea').fill('83 00');
  await box('Bytes, in hexadecimal').getByText('opcode 3 is reserved').waitFor();
  const message = box('in how many frames');
  await message.locator('input[type="text"]').fill('<b>hi</b>');
  await message.locator('input[type="number"]').fill('3');
  await message.getByText('3 frames, 27 bytes').waitFor();
  await message.locator('input[type="checkbox"]').uncheck();
  await message.getByText('3 frames, 15 bytes').waitFor();
  assert.equal(await reader.page.locator('.try b').count(), 0);
  assert.deepEqual(reader.complaints, []);
});

for (const [screen, settings] of Object.entries(SCREENS)) {
  for (const colorScheme of ['light', 'dark']) {
    test(`${screen}, ${colorScheme}: axe reports no violations in the documentation, and nothing is wider than the screen`, async (t) => {
      const { visit } = await stage(t);
      const reader = await visit('docs/', { ready: '#search:not([hidden])', ...settings, colorScheme, bypassCSP: true });
      const violations = [];
      for (const name of ['index', 'how-websocket-works', 'configuration', 'protocol', 'features', 'dialects/mqtt', 'CHANGELOG', 'clients/js/index']) {
        await reader.page.goto(reader.page.url().replace(/docs\/.*/, `docs/${name}.html`));
        await reader.page.waitForSelector('#search:not([hidden])');
        if (process.env.SCREENSHOTS) {
          mkdirSync(process.env.SCREENSHOTS, { recursive: true });
          await reader.page.screenshot({ path: join(process.env.SCREENSHOTS, `docs-${screen}-${colorScheme}-${name.replaceAll('/', '-')}.png`) });
        }
        await reader.page.evaluate(axe);
        const seen = await reader.page.evaluate(() => globalThis.axe.run());
        violations.push(...seen.violations.map(({ id, nodes }) => `${name}: ${id}: ${nodes.slice(0, 3).map(({ html, any }) => `${html.slice(0, 120)} ${any[0]?.message ?? ''}`).join(' | ')}`));
        const tooWide = await reader.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (tooWide > 0) violations.push(`${name}: ${tooWide} pixels wider than the screen`);
      }
      assert.deepEqual(violations, []);
    });
  }
}
