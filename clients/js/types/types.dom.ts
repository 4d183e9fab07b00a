// As types.ts, for pages: the DOM's types are compatible.

import { connect, persist, ReconnectingWebSocket } from '../src/index.js';

connect(new URL('wss://example.test/ws'), { store: persist(sessionStorage), WebSocket });
connect(async () => new URL('wss://example.test/ws'));

/** What works with a WebSocket works with one that reconnects. */
function use(socket: WebSocket | ReconnectingWebSocket): void {
  socket.onmessage = ({ data }: MessageEvent) => console.log(data);
  socket.onclose = ({ code, wasClean }: CloseEvent) => console.log(code, wasClean);
  socket.send(new Blob(['hi']));
  socket.send(new Uint8Array(1));
  if (socket.readyState === WebSocket.OPEN) socket.close(1000);
}

const socket = new ReconnectingWebSocket('ws://localhost', ['a'], { WebSocket });
socket.addEventListener('message', (event) => console.log(event.data));
use(socket);
