// Makes the blocks of bytes on a page editable: what is typed is explained frame by frame. Without this script, a block
// shows its bytes.

import { accept, bytesOf, decode, encode, hex } from './frames.js';

/** What is explained at most. 64 KiB: longer input is a capture, for `offhook decode`. */
const MOST = 65_536;

/** The bytes of a long part that are shown. */
const SHOWN = 32;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function field(label, control) {
  return element('label', {}, label, control);
}

/** Explains the bytes in a text field, now and whenever it changes. */
function explained(input, output) {
  const show = () => {
    try {
      const bytes = bytesOf(input.value.slice(0, 3 * MOST));
      const { frames, rest } = decode(bytes);
      output.replaceChildren(...frames.map(shown), ...(rest.length > 0 ? [element('p', {}, `${rest.length} bytes remain: the next frame is not complete.`)] : []));
    } catch (error) {
      output.replaceChildren(element('p', { className: 'broken' }, error.message));
    }
  };
  input.addEventListener('input', show);
  show();
}

function shown(frame, index) {
  const rows = frame.parts.map(({ bytes, text }) => element('tr', {},
    element('td', {}, element('code', {}, hex(bytes.slice(0, SHOWN)) + (bytes.length > SHOWN ? ' …' : ''))), element('td', {}, text)));
  const broken = frame.broken.map((rule) => element('p', { className: 'broken' }, `✗ RFC 6455 ${rule}`));
  const overhead = `${frame.header} bytes of header for ${frame.length} of payload`;
  return element('div', { className: 'frame' }, element('p', {}, element('strong', {}, `Frame ${index + 1}: ${frame.name}`), ` (${overhead})`),
    element('div', { className: 'scroll' }, element('table', {}, element('tbody', {}, ...rows))), ...broken);
}

/** A block of bytes. */
function frames(block) {
  const input = element('textarea', { value: block.textContent.trim(), rows: 2, spellcheck: false, autocomplete: 'off' });
  const output = element('div', { className: 'frames' });
  explained(input, output);
  return element('div', { className: 'try' }, field('Bytes, in hexadecimal', input), output);
}

/** A message that is turned into frames. */
function message(block) {
  const input = element('input', { type: 'text', value: block.textContent.trim(), maxLength: 70_000, autocomplete: 'off' });
  const client = element('input', { type: 'checkbox', checked: true });
  const pieces = element('input', { type: 'number', min: 1, max: 20, value: 1 });
  const total = element('p', {});
  const bytes = element('textarea', { rows: 2, spellcheck: false, readOnly: true });
  const output = element('div', { className: 'frames' });
  const show = () => {
    const key = client.checked ? crypto.getRandomValues(new Uint8Array(4)) : undefined;
    const made = encode(input.value, { key, pieces: Number(pieces.value) || 1 });
    const length = made.reduce((sum, one) => sum + one.length, 0);
    total.textContent = `${made.length} ${made.length === 1 ? 'frame' : 'frames'}, ${length} bytes`;
    bytes.value = made.map(hex).join('\n').slice(0, 3 * MOST);
    output.replaceChildren(...made.slice(0, 20).map((one, index) => shown(decode(one).frames[0], index)));
  };
  for (const control of [input, client, pieces]) control.addEventListener('input', show);
  show();
  return element('div', { className: 'try' }, field('Message', input), field('sent by a client, which masks it', client), field('in how many frames', pieces), total, field('Bytes', bytes), output);
}

/** A key of a handshake. */
function handshake(block) {
  const input = element('input', { type: 'text', value: block.textContent.trim(), maxLength: 100, autocomplete: 'off', spellcheck: false });
  const output = element('code', {});
  const show = () => { output.textContent = accept(input.value); };
  input.addEventListener('input', show);
  show();
  return element('div', { className: 'try' }, field('Sec-WebSocket-Key', input), element('p', {}, 'Sec-WebSocket-Accept: ', output));
}

for (const [language, make] of Object.entries({ frames, message, key: handshake })) {
  for (const block of document.querySelectorAll(`pre > code.language-${language}`)) block.parentElement.replaceWith(make(block));
}
