// graphql-ws, graphql-http's audits and graphql's own tools, unmodified: graphql.js PORT. Prints a line for each check; the line `kill` makes the caller kill and restart the server.
'use strict';
const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { createClient } = require('graphql-ws');
const { serverAudits } = require('graphql-http');
const { buildClientSchema, getIntrospectionQuery, parse, printSchema, validate } = require('graphql');
const WebSocket = require('ws');

const [port] = process.argv.slice(2);
const url = `ws://127.0.0.1:${port}/graphql`;
const http = `http://127.0.0.1:${port}/graphql`;
const ok = (what) => console.log(`ok ${what}`);

const patient = { shouldRetry: () => true, retryAttempts: 100, retryWait: () => new Promise((resolve) => setTimeout(resolve, 100)) };
const open = (options = {}) => createClient({ url, webSocketImpl: WebSocket, ...patient, ...options });

// One result of a query or a mutation.
const once = async (client, query, variables) => {
  for await (const result of client.iterate({ query, variables })) return result;
};

// The results of a subscription, and a promise of so many.
function watch(client, payload) {
  const results = [];
  const errors = [];
  const waiting = [];
  const arrived = () => waiting.splice(0).forEach((resolve) => resolve());
  const stop = client.subscribe(payload, {
    next: (result) => {
      results.push(result);
      arrived();
    },
    error: (error) => {
      errors.push(error);
      arrived();
    },
    complete: arrived,
  });
  const until = async (seen) => {
    while (!seen()) await new Promise((resolve) => waiting.push(resolve));
  };
  return { results, errors, stop, until };
}

const publish = 'mutation($channel: String!, $data: JSON!, $key: String) { publish(channel: $channel, data: $data, key: $key) { epoch offset duplicate } }';

/** Runs an example of a page; only the address differs. */
function example(page, name, ...values) {
  const text = readFileSync(join(__dirname, '../../../docs', page), 'utf8');
  const block = text.match(new RegExp(`\`\`\`js ${name}\\n([^]*?)\`\`\``))[1].replaceAll('8000', port);
  return new Function(...values.map(([parameter]) => parameter), block)(...values.map(([, value]) => value));
}

async function basics() {
  let session;
  const client = open({ on: { connected: (_socket, payload) => (session = payload.session) } });
  const query = 'subscription($name: String!) { message: channel(name: $name) { data offset at { epoch offset } } }';
  const seen = watch(client, { query, variables: { name: 'room' } });
  // Answered after the subscription began.
  assert.deepEqual(await once(client, '{ __typename }'), { data: { __typename: 'Query' } });
  assert.match(session, /^[0-9a-f]{32}$/);
  ok('graphql-ws: connects');
  const first = await once(client, publish, { channel: 'room', data: { text: 'Grüße', list: [1, null] }, key: 'one' });
  assert.equal(first.data.publish.offset, '1');
  await seen.until(() => seen.results.length === 1);
  assert.deepEqual(seen.results[0].data.message.data, { text: 'Grüße', list: [1, null] });
  ok('graphql-ws: publishes and receives');
  const again = await once(client, publish, { channel: 'room', data: 1, key: 'one' });
  assert.deepEqual(again.data.publish, { ...first.data.publish, duplicate: true });
  ok('graphql-ws: publishes once under a key');
  const many = await once(
    client,
    'query Q($with: Boolean!) { a: history(channel: "room", limit: 1) { ...H } presence(channel: "room") @include(if: $with) { total } b: history(channel: "room") @skip(if: $with) { ...H } channels { channels { name } } } fragment H on History { more messages { __typename data } }',
    { with: true },
  );
  assert.deepEqual(many.data, {
    a: { more: false, messages: [{ __typename: 'Message', data: { text: 'Grüße', list: [1, null] } }] },
    presence: { total: 1 },
    channels: { channels: [{ name: 'room' }] },
  });
  ok('graphql-ws: variables, aliases, fragments and directives');
  const wrong = watch(client, { query: '{ history(channel: "room") { nothing } ' });
  await wrong.until(() => wrong.errors.length === 1);
  assert.match(wrong.errors[0][0].message, /syntax/);
  const refused = await once(client, '{ history(channel: "") { more } __typename }');
  assert.deepEqual(refused.data, { history: null, __typename: 'Query' });
  assert.deepEqual(refused.errors[0].path, ['history']);
  ok('graphql-ws: errors of documents and of fields');
  const patterns = watch(client, { query: 'subscription { filter(pattern: "rooms/+") { channel data } }' });
  const members = watch(client, { query: 'subscription { presence(channel: "room") { event total } }' });
  await members.until(() => members.results.length === 1);
  assert.deepEqual(members.results[0].data.presence, { event: 'MEMBERS', total: 1 });
  const other = open();
  const theirs = watch(other, { query, variables: { name: 'room' } });
  await members.until(() => members.results.some(({ data }) => data.presence.event === 'JOIN'));
  await once(client, publish, { channel: 'rooms/a', data: 'a' });
  await patterns.until(() => patterns.results.length === 1);
  assert.deepEqual(patterns.results[0].data.filter, { channel: 'rooms/a', data: 'a' });
  ok('graphql-ws: filters and presence');
  theirs.stop();
  await other.dispose();
  seen.stop();
  await once(client, publish, { channel: 'room', data: 'not for it' });
  assert.equal(seen.results.length, 1);
  ok('graphql-ws: a completed subscription gets nothing more');
  patterns.stop();
  members.stop();
  await client.dispose();
}

async function ids() {
  const client = open({ generateID: () => 'same' });
  for (let n = 0; n < 20; n++) assert.equal((await once(client, '{ __typename }')).data.__typename, 'Query');
  ok('graphql-ws: an id is used again and again');
  await client.dispose();
  const closes = [];
  const twice = open({ generateID: () => 'same', shouldRetry: () => false, on: { closed: ({ code }) => closes.push(code) } });
  const query = 'subscription { channel(name: "room") { id } }';
  const [one, two] = [watch(twice, { query }), watch(twice, { query })];
  await Promise.all([one.until(() => one.errors.length), two.until(() => two.errors.length)]);
  assert.deepEqual(closes, [4409]);
  ok('graphql-ws: an id of an active operation closes with 4409');
  const bad = new WebSocket(url, 'graphql-transport-ws');
  const code = await new Promise((resolve) => {
    bad.on('open', () => bad.send(JSON.stringify({ type: 'subscribe', id: '1', payload: { query } })));
    bad.on('close', resolve);
  });
  assert.equal(code, 4401);
  ok('an operation before connection_init closes with 4401');
}

async function introspection() {
  const client = open();
  const { data } = await once(client, getIntrospectionQuery({ specifiedByUrl: true, directiveIsRepeatable: true, schemaDescription: true, inputValueDeprecation: true }));
  const schema = buildClientSchema(data);
  const page = readFileSync(join(__dirname, '../../../docs/dialects/graphql.md'), 'utf8');
  const [, shown] = page.match(/```graphql\n([^]*?)\n```/);
  for (const type of shown.match(/^(type|input|enum|scalar) \w+/gm)) assert.ok(printSchema(schema).includes(type), type);
  assert.deepEqual(validate(schema, parse('subscription { channel(name: "a") { data } }')), []);
  assert.equal(validate(schema, parse('{ nothing }')).length, 1);
  ok("graphql: a client's schema is built by introspection");
  await client.dispose();
}

async function audits() {
  const all = serverAudits({ url: http });
  let passed = 0;
  for (const { id, name, fn } of all) {
    const result = await fn();
    if (result.status !== 'ok') console.log(`failed: graphql-http ${id} ${name}: ${result.reason}`);
    else passed += 1;
  }
  assert.equal(passed, all.length);
  ok(`graphql-http: ${passed} of ${all.length} audits`);
}

// The server is killed in the middle.
async function killed() {
  const { publish: tell } = example('migrate/from-graphql-ws.md', 'server');
  const page = example('migrate/from-graphql-ws.md', 'client', ['require', require]);
  await once(page.client, '{ __typename }');
  await tell('before', 'k1');
  await page.until(1);
  const client = open();
  const { data } = await once(client, '{ history(channel: "messages", limit: 0) { epoch offset } }');
  const back = new Promise((resolve) => page.client.on('connected', resolve));
  console.log('kill');
  await client.dispose();
  const helper = open();
  await once(helper, '{ __typename }');
  await tell('after one', 'k2');
  await tell('after two', 'k3');
  await back;
  ok('graphql-ws: connects again after the server was killed');
  await page.until(3);
  assert.deepEqual(page.messages, ['before', 'after one', 'after two']);
  ok('docs/migrate/from-graphql-ws.md: the example misses nothing over a kill of the server');
  const query = 'subscription($since: Since) { channel(name: "messages", since: $since) { data } }';
  const late = watch(helper, { query, variables: { since: data.history } });
  await late.until(() => late.results.length === 2);
  assert.deepEqual(late.results.map((result) => [result.data.channel.data.text, result.errors]), [['after one', undefined], ['after two', undefined]]);
  ok('graphql-ws: a position from before the kill continues without a gap');
  await page.client.dispose();
  await helper.dispose();
}

async function main() {
  await basics();
  await ids();
  await introspection();
  await audits();
  await killed();
  console.log('done');
  process.exit(0);
}

main().catch((error) => {
  console.log(String(error.stack ?? error).replaceAll('\n', ' '));
  process.exit(1);
});
