// Follows one channel with the native dialect (docs/protocol.md), without a token: where the server lets everyone
// subscribe. A page of an application uses the client instead; this one shows what the server sends, and ends with the
// connection.

const SUBPROTOCOL = 'offhook.v1.json';

/** @param shown takes messages, gaps and notes */
export function follow(url, channel, shown, signal) {
  const socket = new WebSocket(String(url).replace(/^http/, 'ws'), SUBPROTOCOL);
  const say = (message) => socket.send(JSON.stringify(message));
  let last = 'the connection could not be opened';
  socket.addEventListener('open', () => say({ type: 'connect', id: 1, lineage: true, info: { name: 'dashboard' } }));
  socket.addEventListener('message', ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === 'welcome') say({ type: 'subscribe', id: 2, channel, since: 'now' });
    else if (message.type === 'subscribed') shown.note(`Subscribed, from ${message.position}.`);
    else if (message.type === 'message') shown.add(message);
    else if (message.type === 'gap') shown.gap(message.reason);
    else if (message.type === 'closing') last = message.reason;
    else if (message.type === 'error' || message.type === 'unsubscribed') {
      last = `${message.code ?? 'unsubscribed'}: ${message.message ?? 'the server ended the subscription'}`;
      socket.close();
    }
  });
  socket.addEventListener('close', ({ code }) => {
    if (!signal.aborted) shown.note(`The subscription has ended (${last}; ${code}).`);
  });
  signal.addEventListener('abort', () => socket.close(1000));
}
