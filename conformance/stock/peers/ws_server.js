// node's `ws` as an echo server. Prints where it listens, and how each
// connection was closed.
'use strict';
const { WebSocketServer } = require('ws');

const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: true });
server.on('listening', () => console.log(`listening on ${server.address().port}`));
server.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => {
    if (String(data) === 'close') socket.close(4001, 'as asked');
    else socket.send(data, { binary: isBinary });
  });
  socket.on('close', (code, reason) => console.log(`closed ${code} ${reason}`));
});
