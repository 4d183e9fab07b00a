// The network between a page and the server: forwards bytes, cuts or refuses
// connections, or drops everything.

import { once } from 'node:events';
import net from 'node:net';

export class Network {
  #server;
  #pairs = new Set();
  #isDead = false;
  #isRefusing = false;

  static async to(port) {
    const network = new Network();
    network.#server = net.createServer((near) => network.#accept(near, port)).listen(0, '127.0.0.1');
    await once(network.#server, 'listening');
    network.port = network.#server.address().port;
    return network;
  }

  /** Every connection breaks; new ones are fine. */
  cut() {
    for (const pair of this.#pairs) for (const end of pair) end.destroy();
  }

  /** Everything is dropped from now on, and neither side is notified. */
  die() {
    this.#isDead = true;
    for (const pair of this.#pairs) for (const end of pair) end.pause();
  }

  /** Every connection breaks, and there is no new one. */
  refuse() {
    this.#isRefusing = true;
    this.cut();
  }

  /** As before; what was open stays dead, as it does when an address has changed. */
  revive() {
    this.#isDead = this.#isRefusing = false;
  }

  close() {
    this.#server.close();
    this.cut();
  }

  #accept(near, port) {
    if (this.#isRefusing) {
      near.destroy();
      return;
    }
    const far = net.connect(port, '127.0.0.1');
    const pair = [near, far];
    this.#pairs.add(pair);
    for (const [from, to] of [pair, [far, near]]) {
      from.on('data', (bytes) => to.write(bytes));
      // The other end is told, unless everything is dropped.
      from.on('close', () => {
        this.#pairs.delete(pair);
        if (!this.#isDead) to.destroy();
      });
      from.on('error', () => {});
    }
    if (this.#isDead) for (const end of pair) end.pause();
  }
}
