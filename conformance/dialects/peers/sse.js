// eventsource, unmodified: sse.js ORIGIN. Prints a line for each check; the line `kill` makes the caller kill and restart the server.
'use strict';
const assert = require('node:assert/strict');
const { EventSource } = require('eventsource');

const [origin] = process.argv.slice(2);
const ok = (what) => console.log(`ok ${what}`);
const next = (events, name) => new Promise((resolve) => events.addEventListener(name, resolve, { once: true }));

async function main() {
  // A second client, used only to publish.
  const { connect } = await import('../../../clients/js/src/index.js');
  const publisher = connect(`${origin.replace('http', 'ws')}/ws`, { WebSocket: require('ws').WebSocket });

  const events = new EventSource(`${origin}/sse?channel=room&channel=other`);
  const heard = [];
  let arrived = () => {};
  events.onmessage = ({ data, lastEventId }) => {
    heard.push({ ...JSON.parse(data), id: lastEventId });
    arrived();
  };
  events.addEventListener('gap', ({ data }) => heard.push({ data: `gap: ${data}` }));
  const until = async (count) => {
    while (heard.length < count) await new Promise((resolve) => (arrived = resolve));
  };
  const first = await next(events, 'subscribed');
  assert.equal(JSON.parse(first.data).channel, 'room');
  assert.notEqual(first.lastEventId, '');
  ok('eventsource: the first event has a name, data and an id');
  await publisher.publish('room', { text: 'Grüße' });
  await publisher.publish('other', 1);
  await until(2);
  assert.deepEqual(heard.map(({ channel, data }) => [channel, data]), [['room', { text: 'Grüße' }], ['other', 1]]);
  assert.ok(heard[1].id.length <= 128);
  ok('eventsource: receives the publications of two channels');

  const lost = next(events, 'error');
  console.log('kill');
  await lost;
  await publisher.publish('other', 2);
  await publisher.publish('room', 3);
  await until(4);
  assert.deepEqual(heard.slice(2).map(({ data }) => data).sort(), [2, 3]);
  ok('eventsource: reconnects after a kill, without missing or repeating an event');
  events.close();

  const refused = new EventSource(`${origin}/sse?channel=no*channel`);
  const error = await next(refused, 'error');
  assert.equal(error.code, 400);
  assert.equal(refused.readyState, EventSource.CLOSED);
  ok('eventsource: it does not reconnect after a refusal that is final');
  publisher.close();
  console.log('done');
}

main().catch((error) => {
  console.log(`failed ${error.stack.replaceAll('\n', ' | ')}`);
  process.exit(1);
});
