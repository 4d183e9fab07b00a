// The chat works behind proxies that block WebSockets or long responses, and no message is lost or repeated.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';

import { connect } from '../../clients/js/src/index.js';
import { stage, Tab } from './browser.js';
import { Nginx } from './nginx.js';
import { Proxy } from './proxy.js';
import { Server } from './server.js';

const { WebSocket } = createRequire(import.meta.url)('ws');

/** Waits for the transport of an open connection. */
const uses = (tab, transport) => tab.page.waitForSelector(`#connection[data-state="open"][data-transport="${transport}"]`);

/** Checks that both have all these messages, each once, in the same order. */
async function bothHear(ann, bob, texts) {
  const wanted = JSON.stringify([...texts].sort());
  for (const tab of [ann, bob]) {
    await tab.until((all) => JSON.stringify([...document.querySelectorAll('.message')].map(({ entry }) => entry.text).sort()) === all, wanted, async () => `${wanted}, not ${await tab.texts()}`);
  }
  assert.deepEqual(await ann.texts(), await bob.texts());
}

/** Ann is behind a proxy, Bob is not. */
async function behind(t, proxy, transport) {
  const { server, browser } = await stage(t);
  const between = await proxy(server.port);
  t.after(() => between.close());
  const ann = await Tab.open(browser, between.port);
  await uses(ann, transport);
  const bob = await Tab.open(browser, server.port);
  return { ann, bob, between, server, browser };
}

/** Both send several messages at a time. */
async function talk(ann, bob, said, rounds) {
  for (const round of rounds) {
    for (const [tab, name] of [[ann, 'ann'], [bob, 'bob']]) {
      for (const part of ['a', 'b', 'c']) {
        const text = `${name} ${round}${part}`;
        said.push(text);
        await tab.say(text);
      }
    }
    if (round % 2 === 0) await bothHear(ann, bob, said);
  }
  await bothHear(ann, bob, said);
}

const behindProxy = (faults) => (port) => Proxy.to(port, faults);

for (const [title, proxy, transport] of [
  ['refuses upgrades', behindProxy({ upgrades: 'refuse' }), 'sse'],
  ['accepts upgrades and drops all frames', behindProxy({ upgrades: 'swallow' }), 'sse'],
  ['refuses upgrades and buffers responses', behindProxy({ upgrades: 'refuse', buffers: 64 * 1024 }), 'polling'],
  ['answers one request after another', behindProxy({ upgrades: 'refuse', oneAtATime: 'queue' }), 'polling'],
  ['refuses a request while another one is being answered', behindProxy({ upgrades: 'refuse', oneAtATime: 'refuse' }), 'polling'],
  ['is an nginx without upgrades', (port) => Nginx.to(port), 'sse'],
  ['is an nginx without upgrades that buffers everything', (port) => Nginx.to(port, 'proxy_ignore_headers X-Accel-Buffering;'), 'polling'],
]) {
  test(`the chat works behind a proxy that ${title}: ${transport}`, async (t) => {
    const { ann, bob, between } = await behind(t, proxy, transport);
    const said = [];
    await talk(ann, bob, said, [0, 1, 2]);
    await ann.sees(await bob.name());
    if (!between.cut) return;
    // All connections break while both send messages.
    between.cut();
    await talk(ann, bob, said, [3, 5, 6]);
    // Only polls acknowledge what has arrived.
    if (transport === 'polling') await bob.tick('reached');
    assert.match(await ann.page.textContent('#connection-text'), transport === 'sse' ? /over a stream of events/ : /over polls/);
  });
}

test('the client in Node uses polling behind a proxy that queues requests', async (t) => {
  const server = await Server.start();
  t.after(() => server.remove());
  const between = await Proxy.to(server.port, { upgrades: 'refuse', oneAtATime: 'queue' });
  t.after(() => between.close());
  const [ann, bob] = [between.port, server.port].map((port) => connect(`ws://127.0.0.1:${port}/ws`, { WebSocket }));
  t.after(() => [ann, bob].forEach((client) => client.close()));
  const heard = [ann, bob].map((client) => {
    const texts = [];
    client.subscribe('room', { since: 'start' }).on('message', ({ data }) => texts.push(data));
    return texts;
  });
  const said = [];
  for (let number = 0; number < 20; number += 1) {
    said.push(number);
    await (number % 2 === 0 ? ann : bob).publish('room', number);
  }
  assert.equal(ann.transport, 'polling');
  // The answer to a request arrives after all earlier messages.
  for (const client of [ann, bob]) await client.history('room');
  assert.deepEqual(heard, [said, said]);
});

// After a poll was cut off, later ones wait less.
for (const [transport, cuts, faults] of [['websocket', 2, {}], ['sse', 2, { upgrades: 'refuse' }], ['polling', 0, { upgrades: 'refuse', buffers: 64 * 1024 }]]) {
  test(`idle connections are cut off over ${transport}: the chat continues`, async (t) => {
    const { ann, bob, between } = await behind(t, behindProxy({ ...faults, idleAfter: 3_000 }), transport);
    const said = [];
    await between.idle();
    for (const round of [0, 2, 4]) {
      for (let cut = 0; cut < cuts; cut += 1) await between.idle();
      await talk(ann, bob, said, [round]);
    }
    assert.equal(await ann.page.getAttribute('#connection', 'data-transport'), transport);
  });
}

test('the next page begins with the transport that worked, and returns to a WebSocket that gets through, with its session', async (t) => {
  const { ann, bob, between } = await behind(t, behindProxy({ upgrades: 'refuse' }), 'sse');
  const said = [];
  await talk(ann, bob, said, [0]);
  const { upgrades } = between;
  await ann.page.reload();
  await uses(ann, 'sse');
  assert.equal(between.upgrades, upgrades, 'no WebSocket was tried before');
  between.become({});
  // Both send messages continuously while the transport changes.
  for (let round = 2; await ann.page.getAttribute('#connection', 'data-transport') !== 'websocket'; round += 2) await talk(ann, bob, said, [round]);
  await talk(ann, bob, said, [1]);
  await ann.page.reload();
  await uses(ann, 'websocket');
  await bob.say('the end');
  await ann.hears('the end');
  // The new page begins with the newest messages.
  const texts = await ann.texts();
  assert.deepEqual(texts, (await bob.texts()).slice(-texts.length));
});
