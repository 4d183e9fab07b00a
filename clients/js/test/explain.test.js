import assert from 'node:assert/strict';
import { test } from 'node:test';

import { explain } from '../src/explain.js';

/** A world whose server answers every request in this way; it records what was asked and logged. */
function world(status, text = '', { type = 'text/plain; charset=utf-8', statusText = '' } = {}) {
  const seen = { asked: [], logged: [] };
  const fetch = async (url, options) => {
    seen.asked.push([url, options]);
    return { status, statusText, headers: new Map([['content-type', type]]), text: async () => text };
  };
  return { ...seen, fetch, console: { error: (line) => seen.logged.push(line) } };
}

test('the server’s own words are the reason, and are logged', async () => {
  const { signal } = new AbortController();
  const refused = world(403, 'origin http://localhost:3000 may not connect; add it to `origins`\n');
  const { status, why } = await explain('wss://example.test/ws', refused, signal);
  assert.equal(status, 403);
  assert.equal(why, 'wss://example.test/ws refused the WebSocket: HTTP 403: origin http://localhost:3000 may not connect; add it to `origins`');
  assert.deepEqual(refused.logged, [why]);
  assert.deepEqual(refused.asked, [['https://example.test/ws', { credentials: 'omit', cache: 'no-store', signal }]]);
});

test('an HTML page is not quoted, and long words are truncated', async () => {
  const { why: page } = await explain('ws://example.test/ws', world(404, '<html>', { type: 'text/html', statusText: 'Not Found' }));
  assert.equal(page, 'ws://example.test/ws refused the WebSocket: HTTP 404: Not Found');
  const { why: long } = await explain('ws://a/', world(400, 'x'.repeat(5_000)));
  assert.equal(long.length, 'ws://a/ refused the WebSocket: HTTP 400: '.length + 500);
});

test('a token in the address is not told', async () => {
  const refused = world(403, 'no');
  const { why } = await explain('wss://example.test/ws?token=secret', refused);
  assert.equal(why, 'wss://example.test/ws refused the WebSocket: HTTP 403: no');
  assert.deepEqual([refused.logged, refused.asked[0][0]], [[why], 'https://example.test/ws?token=secret']);
});

test('an answer without a content type is not quoted', async () => {
  const bare = { ...world(403), fetch: async () => ({ status: 403, statusText: 'Forbidden', headers: new Map() }) };
  assert.match((await explain('ws://a/', bare)).why, /HTTP 403: Forbidden$/);
});

for (const status of [200, 304, 399, 426, 429, 503]) {
  test(`${status} explains nothing`, async () => {
    const seen = world(status, 'words');
    assert.deepEqual(await explain('ws://a/', seen), { status });
    assert.deepEqual(seen.logged, []);
  });
}
