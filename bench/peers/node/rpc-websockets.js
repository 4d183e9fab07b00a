// rpc-websockets on Node.js: `node rpc-websockets.js PORT`. The method `publish` emits an event to
// everybody who subscribed to it.
const { Server } = require('rpc-websockets');

const port = Number(process.argv[2]);
const server = new Server({ port, host: '127.0.0.1' });
const rpc = server.of('/rpc');
rpc.event('bench.0');
rpc.register('publish', ([channel, data]) => rpc.emit(channel, data));
server.on('listening', () => console.log(`127.0.0.1:${port}`));
