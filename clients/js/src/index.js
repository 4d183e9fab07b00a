export { Client, connect } from './client.js';
export { OffhookError } from './errors.js';
export { ReconnectingWebSocket } from './reconnecting-websocket.js';
export { persist } from './memory.js';
