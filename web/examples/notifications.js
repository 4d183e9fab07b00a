// Reading does not need Offhook's client: this is all of it.

const CHANNEL = 'examples-notifications';

const byId = (id) => document.getElementById(id);
const events = new EventSource(`../sse?channel=${CHANNEL}&since=last:20`);

events.onmessage = ({ data }) => add(JSON.parse(data).data.text);
events.addEventListener('gap', ({ data }) => add(`Some are missing: ${JSON.parse(data).reason.replaceAll('_', ' ')}`));
events.addEventListener('subscribed', () => show('open', 'connected'));
events.onerror = () => {
  if (events.readyState === EventSource.CLOSED) show('closed', 'closed: the server refused it');
  else show('waiting', 'connection lost, reconnecting');
};

function add(text) {
  const entry = document.createElement('li');
  entry.textContent = text;
  byId('list').append(entry);
  byId('empty').hidden = true;
}

function show(state, words) {
  byId('connection').dataset.state = state;
  byId('connection').textContent = words;
}

// A backend would send notifications, with one request to the HTTP API. A page
// has no key for that, so the client of the other examples is used instead.

let backend;

byId('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = byId('words').value;
  byId('words').value = '';
  const { connect } = await import('../client/index.js');
  backend ??= connect('../ws');
  await backend.publish(CHANNEL, { text });
});
