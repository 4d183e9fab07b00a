import assert from 'node:assert/strict';
import { test } from 'node:test';

import { stage } from './browser.js';

/** Publishes as somebody with another client would: anything, in a loop. */
function publish(tab, channel, messages) {
  return tab.page.evaluate(async ([channel, messages]) => {
    const { connect } = await import('../client/index.js');
    const client = connect('../ws');
    await Promise.all(messages.map((data) => client.publish(channel, data)));
    client.close();
  }, [channel, messages]);
}

const numbered = (count) => Array.from({ length: count }, (_, number) => ({ text: `number ${number}`, name: 'Machine' }));

test('a reload keeps name, session and position: nobody leaves, and new messages are marked', async (t) => {
  const { open } = await stage(t);
  const [ann, bob] = [await open(), await open()];
  const name = await ann.name();
  await bob.page.click('#wire-toggle');
  await ann.say('before');
  await bob.hears('before');
  await ann.tick('reached');
  await ann.page.route('**/talk/talk.js', async (route) => {
    await bob.say('while ann reloads');
    await bob.tick('kept');
    await route.continue();
  });
  await ann.page.reload();
  await ann.hears('before', 'while ann reloads');
  assert.equal(await ann.page.textContent('.new-from-here .words a, .new-from-here .words').then((text) => text.startsWith('while ann reloads')), true);
  await ann.sees(await bob.name());
  await bob.tick('reached');
  assert.equal(await ann.name(), name);
  assert.equal(await bob.page.locator('.frame[data-type="leave"]').count(), 0);
  assert.equal(await ann.page.locator('.message.mine').count(), 1);
});

test('unsent messages survive the page, and are delivered once', async (t) => {
  const { network, open } = await stage(t, { network: true });
  const [ann, bob] = [await open(), await open()];
  // The page always loads, but its WebSocket is blocked at times. An open page
  // keeps its WebSocket class.
  let isAway = false;
  await ann.page.routeWebSocket('**/ws', (socket) => (isAway ? socket.close({ code: 1013 }) : socket.connectToServer()));
  await ann.page.reload();
  await ann.connection('open');
  await ann.say('first');
  await bob.hears('first');
  isAway = true;
  network.cut();
  await ann.connection('waiting');
  await ann.say('from before the reload');
  await ann.tick('pending');
  await ann.page.reload();
  await ann.connection('waiting');
  await ann.tick('pending');
  isAway = false;
  await ann.page.click('#connection-now').catch(() => {});
  await bob.hears('first', 'from before the reload');
  await ann.tick('reached');
  assert.deepEqual(await ann.texts(), ['first', 'from before the reload']);
  assert.deepEqual(await bob.texts(), ['first', 'from before the reload']);
});

test('rooms have addresses, keep their messages apart, and count unread ones', async (t) => {
  const { open } = await stage(t);
  const [ann, bob] = [await open(), await open({ room: 'garden' })];
  await ann.page.fill('#new-room-name', 'Garden');
  await ann.page.press('#new-room-name', 'Enter');
  await ann.sees(await bob.name());
  assert.match(ann.page.url(), /#garden$/);
  await ann.page.click('#rooms a[href="#lobby"]');
  await ann.say('in the lobby');
  // Bob is there as well.
  await ann.tick('reached');
  await bob.say('in the garden');
  await bob.tick('reached');
  assert.equal(await ann.page.textContent('#rooms .badge'), '1 unread');
  assert.match(await ann.page.title(), /^\(1\)/);
  assert.deepEqual(await ann.texts(), ['in the lobby']);
  await ann.page.goBack();
  await ann.hears('in the garden');
  assert.equal(await ann.page.locator('#rooms .badge').count(), 0);
});

test('a new visitor reads earlier messages, back to the first', async (t) => {
  const { open } = await stage(t);
  const ann = await open();
  await publish(ann, 'talk:archive', numbered(130));
  const bob = await open({ room: 'archive' });
  await bob.hears('number 128', 'number 129');
  assert.equal((await bob.texts()).length, 50);
  const scroll = () => bob.page.evaluate(() => document.querySelector('#scroller').scrollTo(0, 0));
  for (const first of ['number 30', 'number 0']) {
    await scroll();
    await bob.until((text) => document.querySelector('.message').entry.text === text, first, async () => `back to ${first}, not ${(await bob.texts())[0]}`);
  }
  assert.deepEqual(await bob.texts(), numbered(130).map(({ text }) => text));
  assert.match(await bob.page.textContent('#edge'), /beginning/);
  await publish(ann, 'talk:archive', [{ text: 'news', name: 'Machine' }]);
  await bob.page.waitForSelector('#newer:not([hidden])');
  await bob.page.click('#newer');
  await bob.page.waitForSelector('#newer', { state: 'hidden' });
});

test('a screen that is not full is filled with earlier messages', async (t) => {
  const { open } = await stage(t);
  const ann = await open();
  await publish(ann, 'talk:archive', numbered(70));
  const bob = await open({ room: 'archive', viewport: { width: 1200, height: 6_000 } });
  await bob.hears(...numbered(70).map(({ text }) => text));
});

test('anything published is shown as text, and loads nothing', async (t) => {
  const { open } = await stage(t);
  const ann = await open();
  const markup = '<img src=x onerror="document.title=1"><script>alert(1)</script>';
  const strange = [null, 7, 'text', [], {}, { text: 5 }, { text: markup, name: { a: 1 } }, { text: '', name: '' }, { text: 'x'.repeat(5_000), name: 'y'.repeat(500) }, { text: 'javascript:alert(1) http://example.test/"onmouseover=1', name: markup }];
  await publish(ann, 'talk:lobby', strange);
  await publish(ann, 'talk-typing:lobby', [null, { isWriting: true }, { isWriting: true, name: markup }]);
  await ann.until((count) => document.querySelectorAll('.message').length === count, strange.length, async () => `all of ${await ann.texts()}`);
  await ann.say('still there');
  await ann.tick('kept');
  assert.equal(await ann.page.locator('.messages img, .messages script, #people img').count(), 0);
  const links = await ann.page.$$eval('.messages a', (all) => all.map(({ href, rel }) => [href, rel]));
  assert.deepEqual(links, [['http://example.test/', 'noopener noreferrer nofollow']]);
  ann.assertNoComplaint();
  const foreign = ann.requests.filter((address) => new URL(address).hostname !== '127.0.0.1');
  assert.deepEqual(foreign, []);
});

test('a new name is a new session, and earlier messages stay', async (t) => {
  const { open } = await stage(t);
  const [ann, bob] = [await open(), await open()];
  await ann.say('as before');
  await bob.hears('as before');
  await ann.page.click('#rename');
  await ann.page.fill('#name', 'Ann of Green Gables');
  await ann.page.press('#name', 'Enter');
  await bob.sees('Ann of Green Gables');
  await ann.connection('open');
  await ann.hears('as before');
  await ann.say('as Ann');
  await bob.hears('as before', 'as Ann');
  assert.equal(await ann.page.locator('.message.mine').count(), 2);
});

test('the frames are shown and explained, and the keyboard is enough', async (t) => {
  const { open } = await stage(t);
  const ann = await open();
  const focused = () => ann.page.evaluate(() => document.activeElement.id);
  assert.equal(await focused(), 'words');
  await ann.page.keyboard.type('one');
  await ann.page.keyboard.press('Shift+Enter');
  await ann.page.keyboard.type('two');
  await ann.page.keyboard.press('Enter');
  await ann.hears('one\ntwo');
  await ann.tick('kept');
  await ann.page.focus('#wire-toggle');
  await ann.page.keyboard.press('Enter');
  assert.equal(await focused(), 'wire-close');
  const titles = await ann.page.$$eval('.frame:not(.small) .frame-title', (all) => all.map(({ textContent }) => textContent));
  for (const title of ['Connect', 'Welcome', 'Subscribe', 'Subscribed', 'Publish', 'Published', 'Message']) assert.ok(titles.includes(title), `${title}: ${titles}`);
  await ann.page.focus('.frame[data-type="publish"]:not(.small) summary');
  await ann.page.keyboard.press('Enter');
  assert.match(await ann.page.textContent('.frame[data-type="publish"]:not(.small) .meaning'), /key makes it safe/);
  await ann.page.keyboard.press('Escape');
  assert.equal(await focused(), 'wire-toggle');
  const log = ann.page.getByRole('log');
  assert.equal(await log.getAttribute('aria-live'), 'polite', 'what is said is read out');
});
