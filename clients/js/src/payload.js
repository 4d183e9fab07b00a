// Data is any JSON value, or bytes, which are sent as base64.

// String.fromCharCode takes characters as arguments, whose number is limited.
const CHUNK = 8_192;

function toBase64(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; at += CHUNK) {
    text += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  }
  return btoa(text);
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** The field of a `publish` that carries the data. */
export function encode(data) {
  if (data instanceof ArrayBuffer) return { base64: toBase64(new Uint8Array(data)) };
  if (ArrayBuffer.isView(data)) {
    return { base64: toBase64(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)) };
  }
  // JSON.stringify would leave the field out, and the server would report it as missing.
  if (JSON.stringify(data) === undefined) throw new TypeError(`data is ${typeof data}, which JSON cannot represent`);
  return { data };
}

/** A message with its bytes decoded. */
export function decode({ base64, ...message }) {
  return base64 === undefined ? message : { ...message, data: fromBase64(base64) };
}
