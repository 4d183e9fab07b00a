// A backend for Offhook with Node's own HTTP server and jose: login, token, publish, webhook, call.
//
//     npm install jose@6.2.18
//     OFFHOOK_URL=http://127.0.0.1:8000 OFFHOOK_API_KEY=ohk_... TOKEN_SECRET=... WEBHOOK_SECRET=... \
//         node backend.mjs 3000

import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import { SignJWT } from 'jose';

const { OFFHOOK_URL, OFFHOOK_API_KEY, TOKEN_SECRET, WEBHOOK_SECRET } = process.env;

// Events received from the server. A real backend would store them in its database.
const events = [];

/** A real backend checks a password here. */
async function logIn({ name }) {
  const token = await new SignJWT({ grants: { 'room/*': 'subscribe' } })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(name)
    .setExpirationTime('10 min')
    .sign(new TextEncoder().encode(TOKEN_SECRET));
  return { token };
}

/** Publishes with the HTTP API. A key in the message makes it safe to repeat the request. */
async function publish(message) {
  const answer = await fetch(`${OFFHOOK_URL}/api/v1/publish`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${OFFHOOK_API_KEY}`, 'Content-Type': 'application/json' },
    body: JSON.stringify(message),
    signal: AbortSignal.timeout(5000),
  });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

/** Whether the request was signed with our secret within the last five minutes. */
function isSigned(headers, body) {
  const stamp = Number(headers['webhook-timestamp']);
  if (!(Math.abs(Date.now() / 1000 - stamp) <= 300)) return false;
  const hmac = createHmac('sha256', WEBHOOK_SECRET).update(`${headers['webhook-id']}.${stamp}.`).update(body);
  const mine = Buffer.from(`v1,${hmac.digest('base64')}`);
  const given = (headers['webhook-signature'] ?? '').split(' ').map((one) => Buffer.from(one));
  return given.some((one) => one.length === mine.length && timingSafeEqual(one, mine));
}

const no = (code, message) => ({ error: { code, message } });

/** Answers a question, a call, or a batch of events. */
function answer(asked) {
  switch (asked.type) {
    case 'publish':
      if (JSON.stringify(asked.data ?? '').includes('rude')) return no('rude', 'Be polite.');
      return { allow: true, tags: { checked: 'yes' } };
    case 'call':
      if (asked.method === 'add') return { data: asked.data.reduce((sum, n) => sum + n, 0) };
      return no('no_method', `there is no method ${asked.method}`);
    case 'events':
      events.push(...asked.events);
      return {};
    default:
      return { allow: false };
  }
}

async function handle(request, body) {
  if (request.method === 'GET') return [200, events];
  if (request.url === '/offhook') {
    if (!isSigned(request.headers, body)) return [401, { error: 'the signature is missing or wrong' }];
    return [200, answer(JSON.parse(body))];
  }
  const action = { '/login': logIn, '/publish': publish }[request.url];
  return action ? [200, await action(JSON.parse(body))] : [404, {}];
}

const server = createServer(async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  const [status, value] = await handle(request, Buffer.concat(parts)).catch((error) => [500, { error: error.message }]);
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(value));
});
server.listen(Number(process.argv[2]), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
