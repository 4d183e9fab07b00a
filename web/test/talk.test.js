import assert from 'node:assert/strict';
import { test } from 'node:test';

import { stage } from './browser.js';

test('two pages talk: names, members, typing indicators, and receipts', async (t) => {
  const { open } = await stage(t, { settings: ['--limits-presence-grace', '1s'] });
  const [ann, bob] = [await open(), await open()];
  const [annsName, bobsName] = [await ann.name(), await bob.name()];
  await ann.sees(bobsName);
  await bob.sees(annsName);
  await ann.page.type('#words', 'hel');
  await bob.until((text) => document.querySelector('#typing').textContent.startsWith(text), annsName, () => 'ann is writing');
  await ann.say('hello');
  await bob.hears('hello');
  await bob.until(() => document.querySelector('#typing').textContent === '', undefined, () => 'nobody is writing');
  await bob.say('hi');
  await ann.hears('hello', 'hi');
  await ann.tick('reached');
  await bob.tick('reached');
  assert.equal(await bob.page.textContent('.message .who'), annsName);
  await ann.close();
  await bob.sees();
  bob.assertNoComplaint();
});

test('alone, a message is stored and has reached nobody', async (t) => {
  const { open } = await stage(t);
  const ann = await open();
  await ann.say('echo');
  await ann.tick('kept');
  const bob = await open();
  await bob.hears('echo');
  await ann.tick('reached');
});

test('the server is killed and restarted: nothing is lost or repeated', async (t) => {
  const { server, open } = await stage(t);
  const [ann, bob] = [await open(), await open()];
  await ann.say('before');
  await bob.hears('before');
  await server.kill();
  await ann.connection('waiting');
  await bob.connection('waiting');
  await ann.say('one while it is dead');
  await ann.say('two while it is dead');
  await bob.say('three from the other side');
  await ann.tick('pending');
  assert.match(await ann.page.textContent('#connection-text'), /^reconnecting/);
  assert.match(await ann.page.textContent('#typing'), /will be sent when reconnected/);
  await server.start();
  await ann.page.click('#connection-now').catch(() => {});
  await ann.connection('open');
  await bob.connection('open');
  const all = (texts) => JSON.stringify([...texts].sort());
  const expected = ['before', 'one while it is dead', 'three from the other side', 'two while it is dead'];
  for (const tab of [ann, bob]) {
    await tab.until((wanted) => JSON.stringify([...document.querySelectorAll('.message')].map(({ entry }) => entry.text).sort()) === wanted, all(expected), async () => `all of ${await tab.texts()}`);
  }
  assert.deepEqual(await ann.texts(), await bob.texts());
  await ann.tick('reached');
  const order = (await bob.texts()).filter((text) => text.includes('dead'));
  assert.deepEqual(order, ['one while it is dead', 'two while it is dead']);
  await bob.say('after');
  await ann.hears('after');
  for (const tab of [ann, bob]) tab.assertNoComplaint();
});

test('a server that stops says when to reconnect, and the page does', async (t) => {
  const { server, open } = await stage(t);
  const [ann, bob] = [await open(), await open()];
  await ann.page.click('#wire-toggle');
  await server.stop();
  await ann.page.waitForSelector('.frame[data-type="reconnect"]');
  await ann.connection('waiting');
  await bob.say('meanwhile');
  await server.start();
  await ann.hears('meanwhile');
  await bob.tick('reached');
});

test('the network drops everything silently: the page notices, shows it, and recovers', async (t) => {
  const { network, open, server } = await stage(t, { network: true });
  const ann = await open();
  const bob = await open();
  await ann.say('before');
  await bob.hears('before');
  network.die();
  await ann.context.setOffline(true);
  await ann.connection('offline');
  await ann.say('from the tunnel');
  await ann.tick('pending');
  network.revive();
  await ann.context.setOffline(false);
  await ann.connection('open');
  await ann.tick('kept');
  // Bob's connection is dead as well, so make his client check it.
  await bob.page.evaluate(() => dispatchEvent(new Event('online')));
  await bob.hears('before', 'from the tunnel');
  assert.deepEqual(await bob.texts(), ['before', 'from the tunnel']);
  assert.ok(server.port !== network.port);
});

test('a connection that is cut again and again delivers everything once and in order', async (t) => {
  const { network, open } = await stage(t, { network: true });
  const [ann, bob] = [await open(), await open()];
  const expected = [];
  for (let number = 0; number < 12; number += 1) {
    const text = `message ${number}`;
    expected.push(text);
    await ann.say(text);
    if (number % 3 === 2) network.cut();
  }
  await bob.hears(...expected);
  await ann.hears(...expected);
  assert.deepEqual(await bob.texts(), expected);
});
