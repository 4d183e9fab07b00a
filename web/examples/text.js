// A Yjs document whose updates are messages of a durable channel. Updates may arrive twice and in any order: Yjs
// merges them. The channel stores them, and the client sends those that were written offline.

import { atMostEvery, byId, open } from './shared.js';
import { applyUpdate, Doc, encodeStateAsUpdate, mergeUpdates } from './vendor/yjs.js';

const CHANNEL = 'examples-text';
/** Updates within 100 ms are sent as one. */
const EVERY = 100;
/** After so many updates one that has everything: what the channel forgets by then is not missed. */
const WHOLE_AFTER = 500;

const client = open();
const doc = new Doc();
const text = doc.getText('text');
const area = byId('text');
let pending = [];
let updates = 0;

// The document is only in memory, so all updates are read again from the start.
client.forget(CHANNEL);
for (const { channel, data } of client.unsent) if (channel === CHANNEL) applyUpdate(doc, data, 'channel');
const room = client.subscribe(CHANNEL, { since: 'start' });
room.on('message', ({ data }) => {
  updates += 1;
  try {
    applyUpdate(doc, data, 'channel');
  } catch {
    // Anybody may publish to the channel: messages that are not updates are skipped.
  }
});
room.on('subscribed', ({ live }) => live && begin());
room.on('live', () => begin());
room.on('gap', ({ reason }) => say(`Older updates are missing (${reason}); a later update contains everything.`));
client.on('published', () => say(client.unsent.length === 0 ? 'Everything is saved.' : 'Saving.'));

const send = atMostEvery(EVERY, () => {
  if (pending.length === 0) return;
  const isDue = updates >= WHOLE_AFTER;
  const update = isDue ? encodeStateAsUpdate(doc) : mergeUpdates(pending);
  pending = [];
  if (isDue) updates = 0;
  client.publish(CHANNEL, update).catch((error) => say(`Not saved: ${error.message}`));
});

doc.on('update', (update, origin) => {
  if (origin === 'channel') return;
  pending.push(update);
  say(client.state.name === 'open' ? 'Saving.' : 'Stored in this tab until the connection is back.');
  send();
});

text.observe((event, { origin }) => {
  if (origin !== 'area') show(event.delta);
});

area.addEventListener('input', () => {
  const [before, after] = [text.toString(), area.value];
  // The change is between the longest common prefix and the longest common suffix.
  let start = 0;
  while (start < before.length && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < Math.min(before.length, after.length) - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  doc.transact(() => {
    if (before.length - end > start) text.delete(start, before.length - end - start);
    if (after.length - end > start) text.insert(start, after.slice(start, after.length - end));
  }, 'area');
});

/** Shows what others wrote; the caret stays at its letter. */
function show(delta) {
  let [start, end, at] = [area.selectionStart, area.selectionEnd, 0];
  for (const { retain = 0, insert = '', delete: removed = 0 } of delta) {
    at += retain;
    const moved = (caret) => (caret > at ? Math.max(at, caret - removed) + insert.length : caret);
    [start, end] = [moved(start), moved(end)];
    at += insert.length;
  }
  area.value = text.toString();
  area.setSelectionRange(start, end);
}

function begin() {
  area.disabled = false;
  area.placeholder = 'Write something';
  // Only when it differs: setting it would move the caret.
  if (area.value !== text.toString()) area.value = text.toString();
  say('Everything is saved.');
}

function say(words) {
  byId('status').textContent = words;
}
