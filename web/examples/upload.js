// A file in pieces. `publish` returns a promise for each, so a few may be in flight while the next one waits: this
// gives progress and backpressure. The client sends an unacknowledged piece again; its key prevents a duplicate.

import { byId, open } from './shared.js';

const CHANNEL = 'examples-files';
/** 32 KiB: with base64 below the 64 KiB that a server takes by default. */
const PIECE = 32 * 1024;
/** Pieces on their way: enough for a server that is 100 ms away. */
const IN_FLIGHT = 6;
/** 4 MiB: a quarter of what the channel keeps by default. */
const LARGEST = 4 << 20;

const client = open();
const files = new Map();

client.forget(CHANNEL);
const room = client.subscribe(CHANNEL, { since: 'start' });
room.on('message', ({ data, tags = {} }) => take(tags, data));

byId('file').addEventListener('change', async ({ target }) => {
  const [file] = target.files;
  if (!file) return;
  if (file.size > LARGEST) say(`${file.name} is ${file.size} bytes; the limit here is ${LARGEST}.`);
  else {
    target.disabled = true;
    await send(file).catch((error) => say(`${file.name} was not sent: ${error.message}`));
    target.disabled = false;
    target.value = '';
  }
});

async function send(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const id = await digest(bytes);
  const pieces = Math.max(1, Math.ceil(bytes.length / PIECE));
  const tags = { id, name: file.name.slice(-60), pieces: String(pieces) };
  const under = new Set();
  let done = 0;
  for (let piece = 0; piece < pieces; piece += 1) {
    // The same file has the same keys, so sending it again creates no duplicates.
    const options = { key: `${id}-${piece}`, tags: { ...tags, piece: String(piece) }, unordered: true };
    const sending = client.publish(CHANNEL, bytes.subarray(piece * PIECE, (piece + 1) * PIECE), options);
    const counted = sending.then(() => {
      under.delete(counted);
      done += 1;
      byId('progress').value = done / pieces;
      say(`${file.name}: ${done} of ${pieces} pieces are stored by the server.`);
    });
    under.add(counted);
    if (under.size >= IN_FLIGHT) await Promise.race(under);
  }
  await Promise.all(under);
  say(`${file.name} is stored by the server.`);
}

async function take({ id, name, pieces, piece }, data) {
  const [count, number] = [Number(pieces), Number(piece)];
  // Anybody may publish to the channel.
  if (!id || !(data instanceof Uint8Array) || !(count >= 1 && count <= LARGEST / PIECE && number >= 0 && number < count)) return;
  const file = files.get(id) ?? { name, count, pieces: new Map(), item: undefined };
  files.set(id, file);
  if (file.pieces.size === file.count || file.pieces.has(number)) return;
  file.pieces.set(number, data);
  show(file, `${file.pieces.size} of ${file.count} pieces`);
  if (file.pieces.size < file.count) return;
  const whole = new Blob(Array.from({ length: file.count }, (_, at) => file.pieces.get(at)));
  const isRight = (await digest(await whole.arrayBuffer())) === id;
  show(file, isRight ? `${whole.size} bytes, checked` : 'damaged: the check failed', isRight ? URL.createObjectURL(whole) : undefined);
}

function show(file, words, url) {
  if (!file.item) {
    file.item = document.createElement('li');
    byId('files').prepend(file.item);
    byId('empty').hidden = true;
  }
  const name = document.createElement(url ? 'a' : 'span');
  name.textContent = file.name;
  if (url) Object.assign(name, { href: url, download: file.name });
  file.item.dataset.state = url ? 'whole' : 'coming';
  file.item.replaceChildren(name, `: ${words}`);
}

async function digest(bytes) {
  // crypto.subtle exists only on secure origins, which include localhost.
  if (!crypto.subtle) throw new Error('this page needs https, or localhost');
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function say(words) {
  byId('status').textContent = words;
}
