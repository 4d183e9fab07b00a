// WebSocket frames (RFC 6455 §5.2) in both directions: bytes to frames, messages to frames, and the value of
// Sec-WebSocket-Accept. Without a page, so that it can be tested beside `offhook decode`.

const NAMES = { 0: 'continuation', 1: 'text', 2: 'binary', 8: 'close', 9: 'ping', 10: 'pong' };

const CODES = { 1000: 'normal closure', 1001: 'going away', 1002: 'protocol error', 1003: 'unsupported data', 1007: 'invalid payload', 1008: 'policy violation', 1009: 'message too big', 1010: 'an extension is missing', 1011: 'internal error', 1012: 'service restart', 1013: 'try again later' };

/** §5.5: a control frame has at most this many bytes. */
const CONTROL_BYTES = 125;

export const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');

/** Bytes of a text of hexadecimal digits. Spaces and line breaks are ignored; anything else is an error. */
export function bytesOf(text) {
  const digits = text.replace(/0x|[\s,:]/gi, '');
  const strange = /[^0-9a-f]/i.exec(digits);
  if (strange) throw new Error(`“${strange[0]}” is no hexadecimal digit`);
  if (digits.length % 2 === 1) throw new Error(`${digits.length} digits are an odd number; each byte has two`);
  return Uint8Array.from({ length: digits.length / 2 }, (_, index) => Number.parseInt(digits.slice(2 * index, 2 * index + 2), 16));
}

/** A payload with a masking key applied, which also removes it (§5.3). */
export const masked = (payload, key) => payload.map((byte, index) => byte ^ key[index % 4]);

/**
 * The frames in these bytes. Each has its parts, `{ bytes, text }`, and what is wrong with it. `rest` are the bytes of a
 * frame that is not complete.
 */
export function decode(bytes) {
  const frames = [];
  let [at, isOpen] = [0, false];
  while (at < bytes.length) {
    const frame = frameAt(bytes, at, isOpen);
    if (!frame) break;
    if (frame.opcode < 8) isOpen = !frame.fin;
    frames.push(frame);
    at = frame.end;
  }
  return { frames, rest: bytes.slice(at) };
}

function frameAt(bytes, start, isOpen) {
  const left = bytes.length - start;
  if (left < 2) return undefined;
  const [first, second] = bytes.slice(start, start + 2);
  const [fin, rsv, opcode] = [(first & 0x80) !== 0, (first >> 4) & 7, first & 15];
  const [isMasked, short] = [(second & 0x80) !== 0, second & 127];
  const extended = { 126: 2, 127: 8 }[short] ?? 0;
  const header = 2 + extended + (isMasked ? 4 : 0);
  if (left < header) return undefined;
  const lengthBytes = bytes.slice(start + 2, start + 2 + extended);
  const length = extended === 0 ? short : lengthBytes.reduce((sum, byte) => sum * 256 + byte, 0);
  if (left < header + length) return undefined;
  const key = isMasked ? bytes.slice(start + header - 4, start + header) : undefined;
  const raw = bytes.slice(start + header, start + header + length);
  const payload = key ? masked(raw, key) : raw;
  const frame = { fin, rsv, opcode, name: NAMES[opcode] ?? `opcode ${opcode}`, length, key, payload, header, start, end: start + header + length };
  frame.meaning = meaning(frame);
  frame.parts = parts(bytes.slice(start, frame.end), frame, { first, second, lengthBytes, raw });
  frame.broken = broken(frame, { isOpen, extended, lengthBytes });
  return frame;
}

function parts(bytes, frame, { first, second, lengthBytes, raw }) {
  const { fin, rsv, opcode, name, length, key, payload } = frame;
  const flags = [fin ? 'FIN, the last frame of the message' : 'no FIN, more frames follow', ...(rsv === 0 ? [] : [`RSV ${rsv.toString(2).padStart(3, '0')}${rsv === 4 ? ', compressed if permessage-deflate was negotiated' : ''}`])];
  return [
    { bytes: [first], text: `${flags.join('; ')}; opcode ${opcode}, ${name}` },
    { bytes: [second], text: `${key ? 'masked' : 'not masked'}; length ${lengthBytes.length === 0 ? length : `in the next ${lengthBytes.length} bytes`}` },
    ...(lengthBytes.length === 0 ? [] : [{ bytes: lengthBytes, text: `length ${length}` }]),
    ...(key ? [{ bytes: key, text: 'the masking key' }, { bytes: raw, text: 'the payload, masked' }, { bytes: payload, text: `the payload without the mask: ${frame.meaning}` }] : [{ bytes: raw, text: `the payload: ${frame.meaning}` }]),
  ].filter((part) => part.bytes.length > 0);
}

/** What a payload says. */
function meaning({ opcode, payload, rsv }) {
  if (opcode === 8) {
    if (payload.length < 2) return payload.length === 0 ? 'no code' : 'half a code';
    const code = payload[0] * 256 + payload[1];
    const reason = text(payload.slice(2)) ?? 'a reason that is not UTF-8';
    return `code ${code}${CODES[code] ? ` (${CODES[code]})` : ''}${reason && `, “${reason}”`}`;
  }
  if (payload.length === 0) return 'nothing';
  const shown = rsv === 0 && opcode !== 2 ? text(payload) : undefined;
  return shown === undefined ? `${payload.length} bytes` : `“${shown}”`;
}

function text(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** The rules that a frame violates, with their sections of RFC 6455. */
function broken({ fin, rsv, opcode, length, payload }, { isOpen, extended, lengthBytes }) {
  const isControl = opcode >= 8;
  const found = [];
  if (!(opcode in NAMES)) found.push(`§5.2: opcode ${opcode} is reserved`);
  if (isControl && !fin) found.push('§5.5: a control frame cannot be fragmented');
  if (isControl && length > CONTROL_BYTES) found.push(`§5.5: a control frame has at most ${CONTROL_BYTES} bytes`);
  if (isControl && rsv !== 0) found.push('§5.2: a reserved bit is set');
  if (!isControl && (rsv & 3) !== 0) found.push('§5.2: a reserved bit is set that no extension uses');
  if (opcode === 0 && !isOpen) found.push('§5.4: there is no message to continue');
  if ((opcode === 1 || opcode === 2) && isOpen) found.push('§5.4: the message before has not ended');
  if (extended === 8 && (lengthBytes[0] & 0x80) !== 0) found.push('§5.2: the highest bit of a length must be 0');
  if ((extended === 2 && length < 126) || (extended === 8 && length < 65_536)) found.push('§5.2: the length is not written in the fewest bytes');
  if (opcode === 8 && length === 1) found.push('§5.5.1: a close code has two bytes');
  if (opcode === 1 && fin && rsv === 0 && text(payload) === undefined) found.push('§8.1: the text is not UTF-8');
  return found;
}

/**
 * The frames of a text message, as bytes.
 * @param key four bytes, as a client chooses anew for each frame; none for a server
 * @param pieces in how many frames it is sent
 */
export function encode(message, { key, pieces = 1 } = {}) {
  const payload = new TextEncoder().encode(message);
  const count = Math.max(1, Math.min(pieces, payload.length));
  const size = Math.ceil(payload.length / count);
  const frames = [];
  for (let index = 0; index < count; index += 1) {
    const piece = payload.slice(index * size, (index + 1) * size);
    const isLast = (index + 1) * size >= payload.length;
    frames.push(frame((isLast ? 0x80 : 0) | (index === 0 ? 1 : 0), piece, key));
    if (isLast) break;
  }
  return frames;
}

function frame(first, payload, key) {
  const mask = key ? 0x80 : 0;
  let length = [mask | payload.length];
  if (payload.length > 65_535) length = [mask | 127, 0, 0, 0, 0, payload.length >>> 24, (payload.length >>> 16) & 255, (payload.length >>> 8) & 255, payload.length & 255];
  else if (payload.length > 125) length = [mask | 126, payload.length >>> 8, payload.length & 255];
  return Uint8Array.from([first, ...length, ...(key ?? []), ...(key ? masked(payload, key) : payload)]);
}

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** The answer to a Sec-WebSocket-Key (§4.2.2). */
export function accept(key) {
  return btoa(String.fromCharCode(...sha1(new TextEncoder().encode(key.trim() + GUID))));
}

/** SHA-1. A page that is not on a secure origin has no `crypto.subtle`. */
function sha1(message) {
  const rotate = (word, by) => ((word << by) | (word >>> (32 - by))) >>> 0;
  const blocks = Math.ceil((message.length + 9) / 64);
  const padded = new Uint8Array(blocks * 64);
  padded.set(message);
  padded[message.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 4, message.length * 8);
  const state = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0];
  for (let block = 0; block < padded.length; block += 64) {
    const words = Array.from({ length: 16 }, (_, index) => view.getUint32(block + 4 * index));
    for (let index = 16; index < 80; index += 1) words.push(rotate(words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16], 1));
    let [a, b, c, d, e] = state;
    words.forEach((word, index) => {
      const [mixed, constant] = [
        [(b & c) | (~b & d), 0x5a827999], [b ^ c ^ d, 0x6ed9eba1], [(b & c) | (b & d) | (c & d), 0x8f1bbcdc], [b ^ c ^ d, 0xca62c1d6],
      ][Math.floor(index / 20)];
      [a, b, c, d, e] = [(rotate(a, 5) + mixed + e + constant + word) >>> 0, a, rotate(b, 30), c, d];
    });
    [a, b, c, d, e].forEach((word, index) => { state[index] = (state[index] + word) >>> 0; });
  }
  return state.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]);
}
