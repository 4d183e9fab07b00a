// Data is any JSON value, or bytes, which travel in base64.

// String.fromCharCode takes its characters as arguments, and there is a limit on those.
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

/** The fields of a `publish` that carry the data. */
export function encode(data) {
  if (data instanceof ArrayBuffer) return { base64: toBase64(new Uint8Array(data)) };
  if (ArrayBuffer.isView(data)) {
    return { base64: toBase64(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)) };
  }
  // JSON.stringify leaves such a field out, and the server would say that it is missing.
  if (JSON.stringify(data) === undefined) throw new TypeError(`data is ${typeof data}: nothing that JSON can say`);
  return { data };
}

/** A message as its reader sees it: bytes are bytes. */
export function decode({ base64, ...message }) {
  return base64 === undefined ? message : { ...message, data: fromBase64(base64) };
}
