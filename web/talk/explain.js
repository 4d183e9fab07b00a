// What each message of the native dialect means (docs/protocol.md), in a title and a sentence.

const code = (text) => `“${text}”`;
const since = (value) => {
  if (value === undefined || value === 'now') return 'from now on';
  if (value === 'start') return 'from the oldest message that is kept';
  if (typeof value === 'object') return `beginning with the newest ${value.last} that are kept`;
  return `after position ${value}, so nothing that came meanwhile is missed`;
};
const at = (position) => {
  const [epoch, offset] = String(position).split('.');
  return `${position}, number ${offset} of the epoch ${epoch}`;
};
const who = ({ user, info, session }) => info?.name ?? user ?? `session ${String(session).slice(0, 6)}…`;

const SAID = {
  connect: (m) => m.resume
    ? ['Resume', `The newest sealed token brings the session back, with its subscriptions. ${Object.keys(m.positions ?? {}).length} positions say up to where messages have come: they are newer than what the token knows.`]
    : ['Connect', 'The first message of a connection: who it is. The answer brings a sealed token to come back with.'],
  subscribe: (m) => ['Subscribe', `To the channel ${code(m.channel)}, ${since(m.since)}${m.presence ? ', with joins and leaves' : ''}.`],
  unsubscribe: (m) => ['Unsubscribe', `From the channel ${code(m.channel)}.`],
  publish: (m) => m.key === undefined
    ? ['Publish', `To ${code(m.channel)}, without a key: it is not sent a second time.`]
    : ['Publish', `To ${code(m.channel)}. The key makes it safe to send it again when the connection breaks before the answer: the server publishes it once.`],
  history: (m) => ['Read history', `Up to ${m.limit} messages of ${code(m.channel)}, ${m.since === undefined ? 'the newest' : `after ${m.since}`}, without subscribing.`],
  presence: (m) => ['Who is here', `Asks for the members of ${code(m.channel)}.`],
  receipts: (m) => ['Who has it', `Asks whose WebSocket has everything of ${code(m.channel)} up to ${m.position}. The server knows it from WebSocket pings: each carries a mark, and the browser’s pong brings it back.`],
  ack: (m) => ['Acknowledge', m.position === undefined ? `Asks up to where the consumer ${code(m.consumer)} has done everything.` : `The consumer ${code(m.consumer)} has done everything up to ${m.position}; the server remembers it.`],
  ping: () => ['Ping', 'Is somebody there? A browser tells no page of WebSocket’s own pings, so the client asks by itself when it has been quiet.'],
};

const HEARD = {
  welcome: (m) => ['Welcome', `This is the session ${String(m.session).slice(0, 6)}…; others see it under this name. The resume token is sealed: only servers can read it.`],
  token: () => ['New token', 'Replaces the resume token: it knows the subscriptions as of now.'],
  subscribed: (m) => [m.id === undefined ? 'Subscription restored' : 'Subscribed', `The newest message of ${code(m.channel)} is at ${at(m.position)}. ${m.live ? 'Nothing is missing: what comes next is new.' : 'Kept messages come first, then “live”.'}`],
  unsubscribed: (m) => ['Unsubscribed', m.code ? `The server ended it: ${m.message}.` : `No more of ${code(m.channel)}.`],
  live: (m) => ['Live', `Everything up to ${m.position} has come; from here on it is as it happens.`],
  catching_up: (m) => ['Catching up', `This connection read too slowly. It gets the rest from the log at its own pace, after ${m.position}.`],
  message: (m) => ['Message', `Of ${code(m.channel)}, at ${at(m.position)}. The next one will be one higher: a hole would be seen at once.`],
  gap: (m) => ['Gap', `The messages after ${m.from} up to ${m.to} do not come (${m.reason}). Nothing is left out without being said.`],
  published: (m) => ['Published', `${m.duplicate ? 'This key had been published before, so it was not published twice; it' : 'It'} stands at ${at(m.position)}, and is as safe as the server promises: on disk.`],
  history: (m) => ['History', `${m.messages?.length} messages; the newest of the channel is at ${m.head}.${m.gap ? ` Those before are gone (${m.gap}).` : ''}`],
  members: (m) => ['Members', `${m.total} ${m.total === 1 ? 'is' : 'are'} in ${code(m.channel)}: ${(m.members ?? []).slice(0, 5).map(who).join(', ')}.`],
  join: (m) => ['Join', `${who(m)} came to ${code(m.channel)}.`],
  leave: (m) => ['Leave', `${who(m)} left ${code(m.channel)}. Who loses the connection and comes back within the grace time neither leaves nor joins.`],
  received: (m) => ['Receipts', `${m.received} of ${m.subscribers} subscribers have the message at ${m.position}, and all before it.`],
  acked: (m) => ['Acknowledged', m.position === undefined ? 'This consumer has acknowledged nothing yet.' : `Everything up to ${m.position} is done.`],
  pong: () => ['Pong', 'Somebody is there.'],
  reconnect: (m) => ['Come back', `The server goes away: open a new connection in ${m.after_ms} ms. Each client is told another time, so that they do not come all at once.`],
  closing: (m) => ['Closing', `The server will close this connection: ${m.reason}.`],
  error: (m) => ['Error', `${m.message} (${m.code}). Try again: ${m.retry}.`],
};

/** What tells one message of a type from the next, in a connection. */
function brief({ channel, data, since, position, ...rest }) {
  const { reason, code: error, key, after_ms: pause, session, resume, live } = rest;
  const said = { data, since: since ?? undefined, position, reason, error, pause, state: live === undefined ? undefined : live ? 'live' : 'behind', resume, session: info(rest) ?? session, key };
  const fields = Object.entries(said).filter(([, value]) => value !== undefined);
  return [channel, ...fields.map(([, value]) => (typeof value === 'string' ? value : JSON.stringify(value)))].filter(Boolean).join('  ');
}

const info = (message) => message.info?.name;

/** `{ type, id, title, text, brief }` for the text of a frame. */
export function explain(direction, text) {
  try {
    const message = JSON.parse(text);
    const known = direction === 'out' ? SAID : HEARD;
    const type = String(message.type);
    const unknown = ['Unknown', 'A newer server may know more: it is ignored.'];
    const [title, words] = Object.hasOwn(known, type) ? known[type](message) : unknown;
    return { type, id: message.id, title, text: words, brief: brief(message) };
  } catch {
    return { type: '?', title: 'Not understood', text: 'Nothing that the protocol knows.', brief: '' };
  }
}
