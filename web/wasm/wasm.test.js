// The client for wasm32 in Chromium: each function exported by the module is a
// test, run in a page and in a worker.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

import { launch } from '../test/browser.js';

const PACKAGE = process.env.WASM_PACKAGE;

/** Nothing waits for this to pass: what takes longer hangs. */
const WATCHDOG = 60_000;

const TYPES = { js: 'text/javascript', wasm: 'application/wasm', html: 'text/html' };

const WORKER = `
  import init, * as tests from '/offhook_wasm_tests.js';
  onmessage = async ({ data: [name, url] }) => {
    try {
      await init({ module_or_path: '/offhook_wasm_tests_bg.wasm' });
      await tests[name](url);
      postMessage(null);
    } catch (error) {
      postMessage(String(error));
    }
  };
`;

/** The example server `commanded`, which can be killed and started again on its port. */
class Commanded {
  port = 0;

  async start() {
    this.process = spawn(process.env.COMMANDED, [`127.0.0.1:${this.port}`], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(this.process, 'exit').then(([code]) => Promise.reject(new Error(`it ended with ${code}`)));
    ended.catch(() => {});
    const [line] = await Promise.race([once(createInterface(this.process.stdout), 'line'), ended]);
    this.port = Number(line.split(':').at(-1));
  }

  async kill() {
    const ended = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await ended;
  }

  get url() {
    return `ws://127.0.0.1:${this.port}/`;
  }
}

let browser;
let files;
let origin;

before(async () => {
  files = createServer(async (request, response) => {
    const name = request.url === '/' ? 'index.html' : request.url.slice(1);
    response.setHeader('content-type', TYPES[name.split('.').at(-1)] ?? 'text/plain');
    if (name === 'index.html') return response.end('<!doctype html><title>wasm32</title>');
    if (name === 'worker.js') return response.end(WORKER);
    response.end(await readFile(join(PACKAGE, name)).catch(() => ''));
  }).listen(0, '127.0.0.1');
  await once(files, 'listening');
  origin = `http://127.0.0.1:${files.address().port}`;
  browser = await launch();
});

after(async () => {
  await browser?.close();
  files?.close();
});

/** A page, and what went wrong in it. */
async function page(t) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const opened = await context.newPage();
  // A panic of the module becomes an error of the page, and its promise never
  // settles.
  const failed = new Promise((_, reject) => opened.on('pageerror', reject));
  failed.catch(() => {});
  await opened.goto(origin);
  return { opened, failed };
}

const inPage = async ([name, url]) => {
  const tests = await import('/offhook_wasm_tests.js');
  await tests.default({ module_or_path: '/offhook_wasm_tests_bg.wasm' });
  await tests[name](url, globalThis.serverDies);
};

const inWorker = ([name, url]) =>
  new Promise((resolve, reject) => {
    const worker = new Worker('/worker.js', { type: 'module' });
    worker.onmessage = ({ data }) => (data === null ? resolve() : reject(new Error(data)));
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage([name, url]);
  });

const TESTS = [
  'echoes_text_and_bytes_in_order_and_closes_in_order',
  'tells_how_the_server_closed',
  'a_server_that_refuses_and_a_url_that_is_none_are_told_apart',
  'a_server_that_does_not_answer_is_given_up',
  'subprotocols_are_agreed_on',
  'a_message_over_the_limit_ends_the_connection',
  'what_is_never_received_is_held_up_to_a_bound',
  'a_sender_waits_for_a_server_that_does_not_read',
  'dropping_a_connection_closes_it',
  'it_is_a_stream_and_its_senders_are_clones',
  'a_connection_comes_back_after_a_close_that_does_not_say_never',
];

const SERVER_DIES = 'a_connection_comes_back_after_its_server';

for (const [where, run] of Object.entries({ 'a page': inPage, 'a worker': inWorker })) {
  for (const name of TESTS) {
    test(`in ${where}: ${name.replaceAll('_', ' ')}`, { timeout: WATCHDOG }, async (t) => {
      const server = new Commanded();
      await server.start();
      t.after(() => server.kill());
      const { opened, failed } = await page(t);
      await Promise.race([opened.evaluate(run, [name, server.url]), failed]);
    });
  }
}

test(`in a page: ${SERVER_DIES.replaceAll('_', ' ')}`, { timeout: WATCHDOG }, async (t) => {
  const server = new Commanded();
  await server.start();
  t.after(() => server.kill());
  const { opened, failed } = await page(t);
  await opened.exposeFunction('serverDies', async () => {
    await server.kill();
    await server.start();
  });
  await Promise.race([opened.evaluate(inPage, [SERVER_DIES, server.url]), failed]);
});

test('every test that the module has is run', async () => {
  const module = await readFile(join(PACKAGE, 'offhook_wasm_tests.js'), 'utf8');
  const exported = [...module.matchAll(/^export function (\w+)/gm)].map(([, name]) => name);
  const tests = exported.filter((name) => !name.startsWith('__') && name !== 'initSync');
  assert.deepEqual(tests.sort(), [...TESTS, SERVER_DIES].sort());
});
