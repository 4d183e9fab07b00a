// Socket.IO on Node.js: `node socket.io.js PORT`. Clients that connect with `part=publisher`
// publish; all others are in the room.
const http = require('node:http');
const { Server } = require('socket.io');

const port = Number(process.argv[2]);
const server = http.createServer();
const io = new Server(server, { serveClient: false });
io.on('connection', (socket) => {
  if (socket.handshake.query.part === 'publisher') {
    socket.on('publish', (message) => io.to('bench').emit('message', message));
  } else {
    socket.join('bench');
  }
});
server.listen(port, '127.0.0.1', () => console.log(`127.0.0.1:${port}`));
