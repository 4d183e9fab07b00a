// Finds out why the server refuses a WebSocket. A browser does not tell a page the status of a refused handshake, so the client
// sends an ordinary HTTP request. If the server refuses the page's origin, the answer contains the reason and the setting.

/** Statuses that explain nothing: the endpoint exists and wants a WebSocket (426), or it is busy and will be tried again. */
const SILENT = new Set([426, 429, 503]);

/** The status, and `why`: the server's reason, also logged to the console; `undefined` when HTTP says nothing useful. */
export async function explain(url, { fetch, console } = globalThis, signal) {
  const answer = await fetch(url.replace(/^ws/, 'http'), { credentials: 'omit', cache: 'no-store', signal });
  const isText = answer.headers.get('content-type')?.startsWith('text/plain');
  const { status } = answer;
  if (status < 400 || SILENT.has(status)) return { status };
  const reason = isText ? (await answer.text()).trim().slice(0, 500) : answer.statusText;
  // Without the query, which may contain a token.
  const why = `${url.replace(/\?.*/, '')} refused the WebSocket: HTTP ${status}: ${reason}`;
  console.error(why);
  return { status, why };
}
