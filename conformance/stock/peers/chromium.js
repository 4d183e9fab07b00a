// A real page in Chromium: chromium.js PROGRAM PROFILE ECHO_URL SAME_ORIGIN_URL
// TLS_URL. Prints a line for each check.
'use strict';
const assert = require('node:assert/strict');
const { once } = require('node:events');
const { readFileSync } = require('node:fs');
const http = require('node:http');
const { chromium } = require('playwright-core');

const [program, profile, echoUrl, sameOriginUrl, tlsUrl] = process.argv.slice(2);
const FLAGS = [
  '--no-sandbox', // Chromium's sandbox does not work for root.
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--ignore-certificate-errors',
  '--no-proxy-server',
];

function check(name, actual, expected) {
  assert.deepEqual(actual, expected, `${name}: ${JSON.stringify(actual)}`);
  console.log(`ok ${name}`);
}

function checkConversation(name, seen) {
  check(`${name}: opened`, seen.opened, true);
  check(`${name}: permessage-deflate negotiated`, seen.extensions.startsWith('permessage-deflate'), true);
  check(`${name}: text`, seen.text, 'Grüße, 世界 👋');
  check(`${name}: binary`, seen.binary, [0, 1, 254, 255]);
  check(`${name}: 1 MiB`, seen.long, true);
  check(`${name}: close with 3000`, seen.close, { code: 3000, reason: 'done', wasClean: true });
}

// The status that opened each WebSocket: 101 over HTTP/1.1, 200 over HTTP/2 (RFC 8441 §5).
async function watchStatuses(page) {
  const statuses = [];
  const session = await page.context().newCDPSession(page);
  session.on('Network.webSocketHandshakeResponseReceived', ({ response }) => statuses.push(response.status));
  await session.send('Network.enable');
  return statuses;
}

async function main() {
  const files = http.createServer((_, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end(readFileSync(`${__dirname}/page.html`));
  });
  await once(files.listen(0, '127.0.0.1'), 'listening');
  const context = await chromium.launchPersistentContext(profile, { executablePath: program, args: FLAGS });
  try {
    const page = await context.newPage();
    const statuses = await watchStatuses(page);
    await page.goto(`http://127.0.0.1:${files.address().port}/`);
    const play = (url) => page.evaluate((url) => converse(url), url);

    checkConversation('ws', await play(echoUrl));
    const refusal = page.waitForEvent('console', (said) => said.text().includes('WebSocket'));
    refusal.catch(() => {}); // Awaited below, unless the next check fails.
    check('a page of another origin is refused by default', await play(sameOriginUrl), { opened: false });
    check('by 403', (await refusal).text().split(': ').pop(), '403');
    check('the first was opened over HTTP/1.1', statuses.splice(0), [101]);
    checkConversation('wss', await play(tlsUrl));
    // A browser opens a WebSocket over HTTP/2 only if it already has such a
    // connection.
    await page.evaluate((url) => fetch(url, { mode: 'no-cors', credentials: 'include' }), tlsUrl.replace('wss', 'https'));
    checkConversation('wss again', await play(tlsUrl));
    check('first over HTTP/1.1, then over HTTP/2', statuses, [101, 200]);
  } finally {
    await context.close();
    files.close();
  }
}

main().catch((error) => {
  console.log(`failed ${error.message.replace(/\s+/g, ' ')}`);
  process.exit(1);
});
