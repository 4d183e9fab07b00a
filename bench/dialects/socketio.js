// Socket.IO on Node.js, with the events of Offhook's dialect that `offhook bench --dialect socketio` uses: `socketio.js PORT`.
const http = require('node:http');
const { Server } = require('socket.io');

const port = Number(process.argv[2]);
const server = http.createServer();
const io = new Server(server, { transports: ['websocket'], serveClient: false });
let offset = 0;
io.on('connection', (socket) => {
  socket.on('subscribe', ({ channel }, done) => {
    socket.join(channel);
    done({ epoch: '1', offset });
  });
  socket.on('publish', ({ channel, data }, done) => {
    offset += 1;
    io.to(channel).emit('publication', { channel, epoch: '1', offset, data });
    done({ epoch: '1', offset });
  });
});
server.listen(port, '127.0.0.1', () => console.log(`listening on ${port}`));
