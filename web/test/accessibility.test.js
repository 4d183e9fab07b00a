// axe-core reports no violations in the chat: on a desktop and a phone, light and dark, in each of its states. With
// SCREENSHOTS=directory, it also takes a screenshot of each.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { test } from 'node:test';

import { stage } from './browser.js';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const SCREENS = {
  desktop: { viewport: { width: 1280, height: 800 } },
  phone: { viewport: { width: 390, height: 760 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
};

/** Everything that a page can show, one after the other; `show(name)` looks at it. */
async function walk({ tab, other, network, show }) {
  await show('empty');
  await other.say('Good morning! The log is at https://example.test/log.');
  await other.say('שלום, מה שלומך היום? זו הודעה ארוכה שנשברת לשתי שורות בטלפון.');
  await tab.say('مرحبا');
  await tab.say('One that goes over several lines, because there is a lot to say about what happened here yesterday and what will happen tomorrow.');
  await tab.tick('reached');
  await show('messages');
  await tab.page.click('#wire-toggle');
  await tab.page.locator('.frame[data-type="published"] summary').last().click();
  await show('wire');
  await tab.page.keyboard.press('Escape');
  network.refuse();
  await tab.connection('waiting');
  await tab.say('while it is away');
  await show('away');
  network.revive();
}

for (const [screen, settings] of Object.entries(SCREENS)) {
  for (const colorScheme of ['light', 'dark']) {
    test(`${screen}, ${colorScheme}: no violations`, async (t) => {
      const { open, network } = await stage(t, { network: true });
      const other = await open();
      const tab = await open({ ...settings, colorScheme, bypassCSP: true, reducedMotion: 'reduce', room: 'tour' });
      await other.page.goto(`${other.page.url()}#tour`);
      await tab.sees(await other.name());
      const violations = [];
      const show = async (name) => {
        if (process.env.SCREENSHOTS) {
          mkdirSync(process.env.SCREENSHOTS, { recursive: true });
          await tab.page.screenshot({ path: join(process.env.SCREENSHOTS, `${screen}-${colorScheme}-${name}.png`) });
        }
        await tab.page.evaluate(axe);
        const found = await tab.page.evaluate(() => globalThis.axe.run());
        violations.push(...found.violations.map(({ id, nodes }) => `${name}: ${id}: ${nodes.map(({ html, any }) => `${html.slice(0, 120)} ${any[0]?.message ?? ''}`).join(' | ')}`));
      };
      await walk({ tab, other, network, show });
      assert.deepEqual(violations, []);
    });
  }
}
