// ws on Node.js: `node echo.js ADDR [--max-message BYTES] [--no-deflate] [--cert FILE --key FILE]`.
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const { parseArgs } = require('node:util');
const { WebSocketServer } = require('ws');

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'max-message': { type: 'string', default: String(16 * 1024 * 1024) },
    'no-deflate': { type: 'boolean', default: false },
    cert: { type: 'string' },
    key: { type: 'string' },
  },
});
const { hostname, port } = new URL(`http://${positionals[0]}`);
const server = values.cert
  ? https.createServer({ cert: fs.readFileSync(values.cert), key: fs.readFileSync(values.key) })
  : http.createServer();
const sockets = new WebSocketServer({
  server,
  maxPayload: Number(values['max-message']),
  // Its default leaves messages below 1 KiB uncompressed; the other servers compress them.
  perMessageDeflate: values['no-deflate'] ? false : { threshold: 0 },
});
sockets.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', (message, isBinary) => socket.send(message, { binary: isBinary }));
});
server.listen(Number(port), hostname, () => console.log(positionals[0]));
