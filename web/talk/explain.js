// Explains each message of the native dialect (docs/protocol.md) with a title and a sentence.

const code = (text) => `“${text}”`;
const since = (value) => {
  if (value === undefined || value === 'now') return 'from now on';
  if (value === 'start') return 'from the oldest message that is kept';
  if (value === 'state') return 'beginning with the newest message of each key';
  if (typeof value === 'object') return `beginning with the newest ${value?.last} that are kept`;
  return `after position ${value}, so that nothing is missed`;
};
const at = (position) => {
  const [epoch, offset] = String(position).split('.');
  return `${position} (number ${offset}, published in the epoch ${epoch})`;
};
const who = ({ user, info, session }) => info?.name ?? user ?? `session ${String(session).slice(0, 6)}…`;
const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;
const target = ({ channel, channels, filter, subscription }) => {
  if (filter !== undefined) return `all channels that match ${code(filter)}`;
  if (Array.isArray(channels)) return `${count(channels.length, 'channel')}, with one message`;
  return channel === undefined ? `the subscription ${subscription}` : `the channel ${code(channel)}`;
};

const FROM_CLIENT = {
  connect: (m) => m.resume
    ? ['Resume', `The newest resume token brings back the session with its subscriptions. ${count(Object.keys(m.positions ?? {}).length, 'position')} newer than the token say which messages have arrived.`]
    : ['Connect', 'The first message of a connection says who it is. The answer contains a token to resume the session with.'],
  subscribe: (m) => ['Subscribe', `To ${target(m)}, ${since(m.since)}${m.presence ? ', with joins and leaves' : ''}${m.echo === false ? ', without its own messages' : ''}.`],
  unsubscribe: (m) => ['Unsubscribe', `From ${target(m)}.`],
  publish: (m) => m.key === undefined
    ? ['Publish', `To ${code(m.channel)}, without a key: it is not sent a second time.`]
    : ['Publish', `To ${code(m.channel)}. The key makes it safe to send it again if the connection breaks before the answer: the server publishes it once.`],
  history: (m) => ['Read history', `Up to ${m.limit} messages of ${code(m.channel)}, ${m.before !== undefined ? `before ${m.before}` : m.since === undefined ? 'the newest' : `after ${m.since}`}, without subscribing.`],
  state: (m) => ['Read state', `The newest message of each key in ${code(m.channel)}.`],
  presence: (m) => ['Ask for members', `Of ${code(m.channel)}.`],
  presence_update: () => ['Update presence', 'Replaces what other members see of this session.'],
  receipts: (m) => ['Ask for receipts', `Whose WebSocket has everything in ${code(m.channel)} up to ${m.position}? The server knows it from its WebSocket pings: each carries a position, and the browser’s pong brings it back.`],
  ack: (m) => ['Acknowledge', m.position === undefined ? `Asks how far the consumer ${code(m.consumer)} has come.` : `The consumer ${code(m.consumer)} has done everything up to ${m.position}; the server stores it.`],
  done: (m) => ['Done', `The message at ${m.position}${m.cumulative ? ' and all before it are' : ' is'} acknowledged.`],
  call: (m) => ['Call', `Calls ${code(m.method)} at the server’s backend.`],
  refresh: () => ['Refresh', 'Gives the session a newer token of the same user, so that the connection stays when the one before expires.'],
  ping: () => ['Ping', 'Checks that the server still answers. A browser does not show a page WebSocket’s own pings, so the client sends this after some silence.'],
};

const FROM_SERVER = {
  welcome: (m) => ['Welcome', `This is the session ${String(m.session).slice(0, 6)}…; others see it under this name. The resume token is encrypted: only servers can read it.`],
  token: () => ['New token', 'Replaces the resume token. It contains the present subscriptions.'],
  restored: () => ['All restored', 'Every subscription of the resumed session has been announced.'],
  subscribed: (m) => [m.by === 'server' ? 'Subscribed by the server' : m.id === undefined ? 'Subscription restored' : 'Subscribed', `The newest message of ${target(m)} is at ${at(m.position)}. ${m.live ? 'Nothing is missing: the next message will be a new one.' : 'Stored messages come first, then “live”.'}`],
  unsubscribed: (m) => ['Unsubscribed', m.code ? `The server ended the subscription: ${m.message}.` : `No more messages of ${target(m)}.`],
  live: (m) => ['Live', `Everything up to ${m.position} has arrived. From here on, messages come as they are published.`],
  catching_up: (m) => ['Catching up', `This connection read too slowly. It gets the messages after ${m.position} from the log, at its own pace.`],
  message: (m) => ['Message', `In ${code(m.channel)}, at ${at(m.position)}${m.previous === undefined ? '' : `, after ${m.previous}`}. The next one must follow it, so a missing message would be noticed.`],
  own: (m) => ['Own message', `This session’s own message at ${m.position}, without its data.`],
  gap: (m) => ['Gap', `The messages after ${m.from} up to ${m.to} do not come (${m.reason}). Nothing is left out without notice.`],
  published: (m) => ['Published', `${m.duplicate ? 'This key was published before, so it was not published again; it is' : 'It is stored'} at ${at(m.position)}.`],
  history: (m) => ['History', `${count(m.messages?.length, 'message')}; the newest of the channel is at ${m.head}.${m.gap ? ` Those before are gone (${m.gap}).` : ''}`],
  state: (m) => ['State', `${count(m.messages?.length, 'value')}, as of ${m.head}.`],
  members: (m) => ['Members', `${count(m.total, 'member')} of ${code(m.channel)}: ${(m.members ?? []).slice(0, 5).map(who).join(', ')}.`],
  join: (m) => ['Join', `${who(m)} joined ${code(m.channel)}, or was there already and shows itself differently.`],
  leave: (m) => ['Leave', `${who(m)} left ${code(m.channel)}. Somebody who loses the connection and comes back within the grace time neither leaves nor joins.`],
  refreshed: () => ['Refreshed', 'The newer token was taken.'],
  expiring: (m) => ['Expiring', `The token that the session stands on expires in ${Math.round(m.expires_in_ms / 1_000)} s.`],
  presence_updated: () => ['Presence updated', 'Other members see the new information.'],
  received: (m) => ['Receipts', `${m.received} of ${m.subscribers} subscribers have the message at ${m.position} and all before it.`],
  acked: (m) => ['Acknowledged', m.position === undefined ? 'This consumer has acknowledged nothing yet.' : `Everything up to ${m.position} is done.`],
  done: () => ['Done', 'The acknowledgement was taken.'],
  called: () => ['Result', 'The backend’s answer to a call.'],
  told: () => ['For this session', 'Sent by the server’s backend to this session alone.'],
  pong: () => ['Pong', 'The server answers.'],
  reconnect: (m) => ['Reconnect', `The server goes away: open a new connection in ${m.after_ms} ms. Each client is told another time, so that they do not all come at once.`],
  closing: (m) => ['Closing', `The server will close this connection: ${m.reason}.`],
  error: (m) => ['Error', `${m.message} (${m.code}). Try again: ${m.retry}.`],
};

/** The fields in which messages of one type differ, on one line. */
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
    const known = direction === 'out' ? FROM_CLIENT : FROM_SERVER;
    const type = String(message.type);
    const unknown = ['Unknown', 'The client does not know this type and ignores it.'];
    const [title, words] = Object.hasOwn(known, type) ? known[type](message) : unknown;
    return { type, id: message.id, title, text: words, brief: brief(message) };
  } catch {
    return { type: '?', title: 'Not understood', text: 'This is not a message of the protocol.', brief: '' };
  }
}
