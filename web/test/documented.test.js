// Runs what README.md, docs/transports.md and the client's README show, unchanged. The client's own examples are in package.test.js.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { connect } from '../../clients/js/src/index.js';
import { stage } from './browser.js';
import { Server } from './server.js';

// Node before 22 has no WebSocket of its own, and pages can't choose their origin.
const { WebSocket } = createRequire(import.meta.url)('ws');

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CLIENT = fileURLToPath(new URL('../../clients/js', import.meta.url));
const README = readFileSync(new URL('../../clients/js/README.md', import.meta.url), 'utf8');

/** A command that the client's README shows. */
function shown(command) {
  assert.ok(README.includes(`\`${command}\``), `the README shows ${command}`);
  return command;
}

test('the page of README.md runs in a page served by Offhook', async (t) => {
  const [, code] = readFileSync(new URL('../../README.md', import.meta.url), 'utf8').match(/```js\n(.+?)\n```/s);
  const { browser, port } = await stage(t);
  const page = await (await browser.newContext({ bypassCSP: true })).newPage();
  const said = page.waitForEvent('console', (message) => message.text().startsWith('message:'));
  await page.goto(`http://127.0.0.1:${port}/examples/`);
  await page.addScriptTag({ type: 'module', content: code });
  assert.equal((await said).text(), 'message: hi');
});

test('the EventSource of docs/transports.md runs in a page served by Offhook', async (t) => {
  const [, code] = readFileSync(new URL('../../docs/transports.md', import.meta.url), 'utf8').match(/```js\n(const events.+?)\n```/s);
  const { browser, port } = await stage(t);
  const page = await (await browser.newContext({ bypassCSP: true })).newPage();
  const shown = page.waitForEvent('console', (message) => message.text().startsWith('shown:'));
  await page.goto(`http://127.0.0.1:${port}/examples/`);
  // The answer starts once both channels are subscribed to.
  const answered = page.waitForResponse((response) => response.url().includes('/sse'));
  await page.addScriptTag({ type: 'module', content: `const show = ({ data }) => console.log('shown:', data.text);\n${code}` });
  await answered;
  const client = connect(`ws://127.0.0.1:${port}/ws`, { WebSocket });
  t.after(() => client.close());
  await client.publish('news', { text: 'hi' });
  assert.equal((await shown).text(), 'shown: hi');
});

test('the package is installed with the command that the README shows', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'offhook-install-'));
  t.after(() => rmSync(directory, { recursive: true }));
  mkdirSync(join(directory, 'clients'));
  symlinkSync(CLIENT, join(directory, 'clients', 'js'));
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }\n');
  await run('bash', ['-c', `${shown('npm install ./clients/js')} --offline --no-audit`], { cwd: directory });
  const { stdout } = await run(process.execPath, ['-e', "import('@offhook/client').then(({ connect }) => console.log(typeof connect))"], { cwd: directory });
  assert.equal(stdout, 'function\n');
});

test('pages of the origin that the README allows can connect', async (t) => {
  const [program, command, ...flags] = shown('offhook serve --origins http://localhost:5173').split(' ');
  assert.deepEqual([program, command], ['offhook', 'serve']);
  const server = await Server.start(flags);
  t.after(() => server.remove());
  const upgrade = (origin) => new Promise((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${server.port}/ws`, 'offhook.v1.json', { origin });
    socket.on('open', () => socket.close(1000));
    socket.on('close', (code) => resolve(code));
    socket.on('unexpected-response', (request, { statusCode }) => {
      request.destroy();
      resolve(statusCode);
    });
    socket.on('error', () => {});
  });
  assert.equal(await upgrade('http://localhost:5173'), 1000);
  assert.equal(await upgrade('http://localhost:5174'), 403);
});

test('the simulation reconnects as the README says', async () => {
  const { stdout } = await run('bash', ['-c', shown('node herd/run.js')], { cwd: CLIENT });
  const rows = [...README.matchAll(/^\| (4 s|10 min) \| (1 s to 30 s|0\.5 s to 10 s)[^|]*\| ([\d. |s]+?) \|$/gm)];
  assert.equal(rows.length, 4);
  const printed = stdout.split('\n').map((line) => line.split('│').map((cell) => cell.replaceAll("'", '').trim()));
  for (const [, outage, waits, times] of rows) {
    const away = { '4 s': '4.0 s', '10 min': '600.0 s' }[outage];
    const row = printed.find((cells) => cells[2] === '2000/s' && cells[3] === away && cells[4] === waits);
    assert.deepEqual(row.slice(5, 8), times.split(' | '), `${outage}, ${waits}`);
  }
});

test('the mutation tests run with the command that the README shows', async () => {
  const command = shown('NODE_PATH=../../.tools/stock/node_modules node mutation/run.js').replace('../../.tools/stock/node_modules', process.env.NODE_PATH);
  const { stdout } = await run('bash', ['-c', `${command} position.js`], { cwd: CLIENT });
  assert.match(stdout, /\d+ mutants: \d+ caught .*, 0 survived/);
});

test('the README’s tests are those of ./test browser', async () => {
  shown('node --test');
  shown('./test browser');
  const { stdout } = await run('./test', ['--help'], { cwd: ROOT });
  assert.match(stdout, /^ {2}browser /m);
});
