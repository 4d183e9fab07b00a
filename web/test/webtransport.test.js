// WebTransport in Chromium: by the page of the protocol alone, and with the client, whose session changes between transports.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { launchWithQuic } from './browser.js';
import { Server } from './server.js';

/** A server with a certificate of its own, and a page of it. */
async function stage(t) {
  const server = await Server.start(['--dev-tls']);
  t.after(() => server.remove());
  assert.ok(server.certificate, 'the hash is printed');
  const browser = await launchWithQuic();
  t.after(() => browser.close());
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(`https://127.0.0.1:${server.port}/talk/`);
  return { server, page };
}

test('a page speaks WebTransport by the page of the protocol alone', async (t) => {
  const { server, page } = await stage(t);
  const heard = await page.evaluate(async (hash) => {
    const value = Uint8Array.from(atob(hash), (c) => c.charCodeAt(0));
    const transport = new WebTransport(new URL('/ws', location.href), { serverCertificateHashes: [{ algorithm: 'sha-256', value }] });
    await transport.ready;
    const control = await transport.createBidirectionalStream();
    const writer = control.writable.getWriter();
    const send = (message) => {
      const text = new TextEncoder().encode(JSON.stringify(message));
      const framed = new Uint8Array(4 + text.length);
      new DataView(framed.buffer).setUint32(0, text.length);
      framed.set(text, 4);
      return writer.write(framed);
    };
    const reading = (stream) => {
      const reader = stream.getReader();
      let held = new Uint8Array();
      const take = async (length) => {
        while (held.length < length) {
          const { value: more, done } = await reader.read();
          if (done) throw new Error('the end');
          held = Uint8Array.from([...held, ...more]);
        }
        const taken = held.slice(0, length);
        held = held.slice(length);
        return taken;
      };
      const number = async () => new DataView((await take(4)).buffer).getUint32(0);
      const message = async () => JSON.parse(new TextDecoder().decode(await take(await number())));
      return { number, message };
    };
    const answers = reading(control.readable);
    const hear = async (source, type) => {
      for (;;) {
        const message = await source.message();
        if (message.type === type) return message;
      }
    };
    await send({ type: 'connect', id: 1, lineage: true });
    await hear(answers, 'welcome');
    await send({ type: 'subscribe', id: 2, channel: 'room', stream: true });
    const { stream } = await hear(answers, 'subscribed');
    await send({ type: 'publish', id: 3, channel: 'room', data: 'hello' });
    const own = reading((await transport.incomingUnidirectionalStreams.getReader().read()).value);
    const number = await own.number();
    const { data } = await hear(own, 'message');
    transport.close();
    return { isTheSame: number === stream, data };
  }, server.certificate);
  assert.deepEqual(heard, { isTheSame: true, data: 'hello' });
});

/** Connects with these transports, publishes, and returns everything heard since the position that the page stored. */
const visit = (page, hash, wanted, texts) => page.evaluate(async ({ hash: sha256, name, said }) => {
  const { connect, persist } = await import('/client/index.js');
  const value = Uint8Array.from(atob(sha256), (c) => c.charCodeAt(0));
  const webtransport = { serverCertificateHashes: [{ algorithm: 'sha-256', value }] };
  const transports = name === 'webtransport' ? [{ webtransport }, 'websocket'] : ['websocket'];
  const client = connect('/ws', { transports, store: persist(sessionStorage), name: 'changing' });
  globalThis.client = client;
  const heard = [];
  const gaps = [];
  const subscription = client.subscribe('room', { since: 'start' });
  const all = new Promise((resolve) => {
    subscription.on('message', ({ data }) => {
      heard.push(data);
      if (data === said.at(-1)) resolve();
    });
  });
  subscription.on('gap', ({ reason }) => gaps.push(reason));
  for (const text of said) await client.publish('room', text);
  await all;
  return { transport: client.transport, session: client.session, heard, gaps };
}, { hash, name: wanted, said: texts });

test('a session changes from a WebSocket to WebTransport and back, and nothing is lost or repeated', async (t) => {
  const { server, page } = await stage(t);
  const heard = [];
  const gaps = [];
  const sessions = new Set();
  const said = [];
  for (const [round, wanted] of ['websocket', 'webtransport', 'websocket', 'webtransport'].entries()) {
    const texts = ['a', 'b', 'c'].map((part) => `${round}${part}`);
    said.push(...texts);
    const visited = await visit(page, server.certificate, wanted, texts);
    assert.equal(visited.transport, wanted);
    heard.push(...visited.heard);
    gaps.push(...visited.gaps);
    sessions.add(visited.session);
    await page.reload();
  }
  assert.deepEqual(heard, said);
  assert.deepEqual(gaps, []);
  assert.equal(sessions.size, 1, 'it is one session');
});

test('without WebTransport, the client that prefers it uses a WebSocket', async (t) => {
  const { server, page } = await stage(t);
  await page.evaluate(() => { globalThis.WebTransport = class { constructor() { throw new Error('UDP is blocked'); } }; });
  const texts = ['a', 'b'];
  const visited = await visit(page, server.certificate, 'webtransport', texts);
  assert.equal(visited.transport, 'websocket');
  assert.deepEqual(visited.heard, texts);
});
