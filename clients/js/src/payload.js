// Data is any JSON value, or bytes. A connection with the subprotocol for CBOR carries bytes as they are, others carry base64.

/** The module that reads and writes CBOR, once it was needed. */
export let cbor;

export async function loadCbor() {
  cbor ??= await import('./cbor.js').catch(() => {});
}

export function toBase64(bytes) {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** The field of a `publish` that carries the data. Bytes become base64 in JSON: on a connection without CBOR, and in a store. */
export function encode(data) {
  if (ArrayBuffer.isView(data) || data instanceof ArrayBuffer) {
    // Until it is loaded, they are sent as base64.
    loadCbor();
    // A copy: the caller may change its own.
    const bytes = new Uint8Array(data.buffer ?? data, data.byteOffset, data.byteLength).slice();
    return { base64: { bytes, length: bytes.length * 4 / 3, toJSON: () => toBase64(bytes) } };
  }
  // JSON.stringify would leave the field out, and the server would report it as missing.
  if (JSON.stringify(data) === undefined) throw new TypeError(`data is ${typeof data}, which JSON cannot represent`);
  return { data };
}

/** A message with its bytes decoded. */
export function decode({ base64, ...message }) {
  return base64 === undefined ? message : { ...message, data: base64.bytes ?? fromBase64(base64) };
}
