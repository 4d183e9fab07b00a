// Data is any JSON value, or bytes, which are sent as base64.

export function toBase64(bytes) {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
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
