// This file is not run: tsc checks that such programs have the right types, and
// that mistakes are found.

import { connect, OffhookError, persist, ReconnectingWebSocket } from '../src/index.js';
import type { Client, Gap, Message, Position, State } from '../src/index.js';

declare const storage: import('../src/index.js').Storage;
declare const console: { log(...what: unknown[]): void };

interface Said {
  text: string;
}

const client: Client = connect(() => '/ws', { token: async () => 'jwt', store: persist(storage, { unsent: true }), info: { name: 'Ann' } });

export async function read(): Promise<void> {
  const room = client.subscribe<Said>('chat', { since: { last: 50 }, presence: true });
  for await (const event of room) {
    if (event.type === 'message') show(event.data.text, event.position);
    else if (event.type === 'gap') warn(event.reason);
    // @ts-expect-error: a gap has no data
    else show(event.data);
  }
  // @ts-expect-error: the text is no number
  room.on('message', ({ data }) => data.text * 2);
  const stop: () => void = room.on('gap', (gap: Gap) => warn(gap.reason));
  stop();
  room.on('ended', ({ error }) => error?.retry === 'later');
  // @ts-expect-error: there is no such event
  room.on('massage', () => {});
}

export async function write(): Promise<Position> {
  await client.publish('chat', new Uint8Array(3), { tags: { lang: 'en' }, queue: false });
  // @ts-expect-error: JSON can not say a function
  await client.publish('chat', () => {});
  const { position, duplicate } = await client.publish('chat', { text: 'hi', parts: [1, null] }, { key: 'a1' });
  return duplicate ? '' : position;
}

export async function ask(): Promise<void> {
  const { messages, gap } = await client.history('chat', { before: '17.3', limit: 10 });
  const first: Omit<Message, 'type' | 'channel'> | undefined = messages[0];
  const { members, total } = await client.presence('chat');
  const { received, subscribers } = await client.receipts('chat', first?.position ?? '17.1');
  const cursor: Position | undefined = await client.ack('chat', 'billing');
  show(gap, members[0]?.info, total, received, subscribers, cursor);
}

export async function more(): Promise<void> {
  const sensors = client.subscribe<number>({ filter: 'sensors/+' }, { since: 'state' });
  sensors.on('message', ({ data, channel, at }) => show(data + 1, channel, at));
  client.subscribe('private/7', { token: async (channel) => `token for ${channel}` });
  const jobs = client.subscribe('jobs', { window: 10 });
  jobs.on('message', (message) => {
    if ((message.redelivered ?? 0) < 5) jobs.done(message, { cumulative: true });
  });
  client.on('told', (data) => show(data));
  for (const one of client.subscribe<Said>(['a', 'b'], { echo: false })) one.on('own', ({ position }) => show(position));
  const { messages, more } = await client.readState('prices', { limit: 10 });
  await client.setInfo({ away: true });
  const { done } = await client.call<{ done: boolean }>('orders.cancel', { order: 7 }, { deadline: 5_000 });
  client.forget({ filter: 'sensors/+' });
  // @ts-expect-error: a store is made by persist()
  connect('/ws', { store: storage });
  show(messages, more, done);
}

client.on('state', (state: State) => {
  if (state.name === 'waiting') show(state.retryAt);
  if (state.name === 'closed' && state.error instanceof OffhookError) show(state.error.code);
  // @ts-expect-error: an open connection is tried again at no time
  if (state.name === 'open') show(state.retryAt);
});

const raw = new ReconnectingWebSocket('ws://localhost', ['a'], { heartbeat: { message: 'ping' } });
raw.onmessage = ({ data }) => show(data);
raw.addEventListener('close', ({ code, reason }) => show(code + 1, reason.length));
raw.addEventListener('waiting', ({ retryAt }) => show(retryAt + 1));
raw.send('hi');

function show(...what: unknown[]): void {
  console.log(...what);
}

function warn(reason: string): void {
  console.log(reason);
}
