// `offhook serve`, which can be killed and restarted on the same port and data.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const PROGRAM = process.env.OFFHOOK;

export class Server {
  /** With `--dev-tls`: the hash of the certificate. */
  certificate;
  #directory = mkdtempSync(join(tmpdir(), 'offhook-browser-'));
  #process;
  #said = [];
  #settings;

  /** @param settings flags besides those for the address and the data */
  constructor(settings = []) {
    this.#settings = settings;
  }

  static async start(settings) {
    const server = new Server(settings);
    server.port = await freePort();
    await server.start();
    return server;
  }

  /** Serves when this has ended. */
  async start() {
    const address = ['--listen', `127.0.0.1:${this.port}`, '--data', join(this.#directory, 'data')];
    this.#process = spawn(PROGRAM, ['serve', ...address, ...this.#settings], { stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = once(this.#process, 'exit').then(([code]) => Promise.reject(new Error(`it ended with ${code}: ${this.#said.join(' | ')}`)));
    createInterface(this.#process.stderr).on('line', (line) => this.#said.push(line));
    const lines = createInterface(this.#process.stdout);
    lines.on('line', (line) => { this.certificate = /^ *certificate +(\S+)/.exec(line)?.[1] ?? this.certificate; });
    const listening = new Promise((resolve) => lines.on('line', (line) => line.includes('Ctrl-C stops it') && resolve()));
    await Promise.race([listening, ended]);
    ended.catch(() => {});
  }

  /** No goodbye to anybody. */
  kill() {
    return this.#end('SIGKILL');
  }

  /** A graceful stop. */
  stop() {
    return this.#end('SIGTERM');
  }

  async remove() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #end(signal) {
    const ended = once(this.#process, 'exit');
    this.#process.kill(signal);
    await ended;
  }
}

export async function freePort() {
  const probe = net.createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}
