// A page on another port, whose WebSocket the server refuses: a browser reports only 1006 to it, so the client asks over HTTP.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { test } from 'node:test';

import { stage } from './browser.js';

const CLIENT = new URL('../../clients/js/src/', import.meta.url);

/** Serves the client and an empty page, as a development server on a port of its own does; gives its origin. */
async function otherOrigin(t) {
  const server = http.createServer(async (request, response) => {
    const name = request.url.slice(1);
    const isModule = /^[a-z-]+\.js$/.test(name);
    response.setHeader('content-type', isModule ? 'text/javascript' : 'text/html');
    response.end(isModule ? await readFile(new URL(name, CLIENT)) : '<!doctype html><link rel="icon" href="data:,"><title>Elsewhere</title>');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/** A page of that origin, whose client connects to the server; with what it said and asked for. */
async function refusedPage(t, settings) {
  const origin = await otherOrigin(t);
  const { browser, port, server } = await stage(t, { settings: settings?.(origin) });
  const page = await browser.newPage();
  const [errors, asked] = [[], []];
  page.on('console', (said) => said.type() === 'error' && errors.push(said.text()));
  page.on('request', (request) => new URL(request.url()).port === String(port) && asked.push(request.url()));
  await page.goto(origin);
  await page.evaluate(async (url) => {
    const { connect } = await import('/index.js');
    globalThis.states = [];
    globalThis.warnings = [];
    globalThis.client = connect(url, { backoff: { first: 10, cap: 20 } });
    client.on('state', ({ name }) => states.push(name));
    client.on('warning', ({ code, message }) => warnings.push({ code, message }));
  }, `ws://127.0.0.1:${port}/ws`);
  return { origin, page, errors, asked, port, server };
}

test('a page on another port is refused, asks once why, and its error and the console name origin and setting', async (t) => {
  const { origin, page, errors, asked, port } = await refusedPage(t);
  await page.waitForFunction(() => warnings.length > 0);
  // It keeps retrying, and does not ask again.
  await page.waitForFunction(() => states.filter((name) => name === 'waiting').length >= 4);
  const warnings = await page.evaluate(() => globalThis.warnings);
  assert.equal(warnings.length, 1);
  const [{ code, message }] = warnings;
  assert.equal(code, 'unreachable');
  for (const part of ['HTTP 403', origin, 'origins']) assert.ok(message.includes(part), `${part} in ${message}`);
  assert.equal(errors.filter((text) => text === message).length, 1, `${errors}`);
  assert.deepEqual(asked.filter((url) => url.startsWith('http')), [`http://127.0.0.1:${port}/ws`]);
});

test('with the setting that the error names, the same page connects', async (t) => {
  const { page } = await refusedPage(t, (origin) => ['--origins', origin]);
  await page.waitForFunction(() => client.state.name === 'open');
  assert.deepEqual(await page.evaluate(() => globalThis.warnings), []);
});
