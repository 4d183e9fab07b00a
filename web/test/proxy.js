// An HTTP proxy in front of the server that interferes with connections like real proxies.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';

export class Proxy {
  #server;
  #port;
  #faults;
  #sockets = new Set();
  #waiting = [];
  #isBusy = false;
  #cutIdle = () => {};
  /** How many upgrades were requested. */
  upgrades = 0;

  /**
   * @param port of the server
   * @param faults `upgrades`: `refuse` answers them with 403, `swallow` accepts them and drops all frames; `buffers`: bytes of a
   *   response that are held back until there are more, or it ends; `idleAfter`: milliseconds after which an idle connection is
   *   cut; `oneAtATime`: `queue` for requests while another one is being answered, or `refuse` for those of a connection
   */
  static async to(port, faults) {
    const proxy = new Proxy();
    proxy.#port = port;
    proxy.#faults = faults;
    proxy.#server = http.createServer((request, response) => proxy.#request(request, response));
    proxy.#server.on('upgrade', (request, socket, head) => proxy.#upgrade(request, socket, head));
    proxy.#server.on('connection', (socket) => proxy.#watch(socket));
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    proxy.port = proxy.#server.address().port;
    return proxy;
  }

  /** Replaces the faults from now on. */
  become(faults) {
    this.#faults = faults;
  }

  /** Waits until a connection is cut because it is idle. */
  idle() {
    return new Promise((resolve) => { this.#cutIdle = resolve; });
  }

  /** Breaks every connection; new ones work. */
  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  close() {
    this.#server.close();
    this.cut();
  }

  #watch(socket) {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {});
    const { idleAfter } = this.#faults;
    if (!idleAfter) return;
    let passed = 0;
    const timer = setInterval(() => {
      const before = passed;
      passed = socket.bytesRead + socket.bytesWritten;
      if (passed > before) return;
      this.#cutIdle();
      socket.destroy();
    }, idleAfter);
    socket.on('close', () => clearInterval(timer));
  }

  async #request(request, response) {
    const { oneAtATime } = this.#faults;
    // A page loads its files concurrently.
    if (oneAtATime === 'queue' || (oneAtATime === 'refuse' && request.url.startsWith('/connection'))) {
      if (oneAtATime === 'refuse' && this.#isBusy) {
        response.writeHead(503).end();
        return;
      }
      await this.#turn();
      response.on('close', () => this.#next());
      if (response.destroyed) {
        this.#next();
        return;
      }
    }
    this.#forward(request, response);
  }

  /** Waits until no other request is being answered. */
  #turn() {
    if (!this.#isBusy) {
      this.#isBusy = true;
      return undefined;
    }
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #next() {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#isBusy = false;
  }

  #forward(request, response) {
    const { method, url, headers } = request;
    const onward = http.request({ host: '127.0.0.1', port: this.#port, method, path: url, headers, agent: false }, (answer) => {
      answer.on('error', () => response.destroy());
      answer.on('aborted', () => response.destroy());
      const { buffers } = this.#faults;
      if (buffers) holdBack(answer, response, buffers);
      else {
        response.writeHead(answer.statusCode, answer.headers);
        response.flushHeaders();
        answer.pipe(response);
      }
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  }

  #upgrade(request, socket, head) {
    this.upgrades += 1;
    const { upgrades } = this.#faults;
    if (upgrades === 'refuse') socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    else if (upgrades === 'swallow') {
      socket.write(accepted(request.headers));
      socket.resume();
    } else this.#tunnel(request, socket, head);
  }

  #tunnel({ method, url, rawHeaders }, socket, head) {
    const far = net.connect(this.#port, '127.0.0.1');
    const lines = [];
    for (let index = 0; index < rawHeaders.length; index += 2) lines.push(`${rawHeaders[index]}: ${rawHeaders[index + 1]}\r\n`);
    far.write(`${method} ${url} HTTP/1.1\r\n${lines.join('')}\r\n`);
    far.write(head);
    far.on('error', () => {});
    socket.pipe(far).pipe(socket);
    socket.on('close', () => far.destroy());
    far.on('close', () => socket.destroy());
  }
}

/** RFC 6455 §4.2.2. */
function accepted({ 'sec-websocket-key': key, 'sec-websocket-protocol': protocols }) {
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  const protocol = protocols ? `Sec-WebSocket-Protocol: ${protocols.split(',')[0]}\r\n` : '';
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${protocol}\r\n`;
}

/** Holds back a response until this many bytes have arrived or it ends, and then passes on all of them. */
function holdBack(answer, response, bytes) {
  let held = [];
  let size = 0;
  const pass = () => {
    if (!response.headersSent) response.writeHead(answer.statusCode, answer.headers);
    for (const piece of held) response.write(piece);
    [held, size] = [[], 0];
  };
  answer.on('data', (piece) => {
    held.push(piece);
    size += piece.length;
    if (size >= bytes) pass();
  });
  answer.on('end', () => {
    pass();
    response.end();
  });
}
