// A real nginx in front of the server, with its default buffering.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { freePort } from './server.js';

const PROGRAM = process.env.NGINX;

export class Nginx {
  #directory = mkdtempSync(join(tmpdir(), 'offhook-nginx-'));
  #process;

  /** @param more directives for the location, such as `proxy_ignore_headers X-Accel-Buffering;` */
  static async to(port, more = '') {
    const nginx = new Nginx();
    nginx.port = await freePort();
    await nginx.#start(port, more);
    return nginx;
  }

  async #start(port, more) {
    const folder = this.#directory;
    const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ');
    writeFileSync(join(folder, 'nginx.conf'), `
      daemon off; master_process off; pid ${folder}/pid; error_log stderr notice; events {}
      http {
        access_log off; ${paths}
        server {
          listen 127.0.0.1:${this.port};
          location / { proxy_pass http://127.0.0.1:${port}; proxy_set_header Host $http_host; ${more} }
        }
      }`);
    this.#process = spawn(PROGRAM, ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', 'stderr'], { stdio: ['ignore', 'ignore', 'pipe'] });
    const said = [];
    const ended = once(this.#process, 'exit').then(([code]) => Promise.reject(new Error(`nginx ended with ${code}: ${said.join(' | ')}`)));
    const listening = new Promise((resolve) => createInterface(this.#process.stderr).on('line', (line) => {
      said.push(line);
      // The notice is printed once it listens.
      if (line.includes('event method')) resolve();
    }));
    await Promise.race([listening, ended]);
    ended.catch(() => {});
  }

  async close() {
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await ended;
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
