// As much of MQTT 3.1.1 as a small device needs: a will, retained messages and
// one subscription, all with QoS 1. Real devices use a library.

/** A string: its length in two bytes, then UTF-8 (§1.5.3). */
const string = (text) => {
  const bytes = new TextEncoder().encode(text);
  return [bytes.length >> 8, bytes.length & 255, ...bytes];
};

const number = (value) => [value >> 8, value & 255];

/** A packet: type and flags, the length of the rest (§2.2.3), and the rest. */
function packet(first, ...parts) {
  const body = parts.flat();
  const length = [];
  let left = body.length;
  do {
    length.push((left & 127) | (left > 127 ? 128 : 0));
    left >>= 7;
  } while (left > 0);
  return new Uint8Array([first, ...length, ...body]);
}

/** The first packet in these bytes and the bytes after it; undefined if it is incomplete. */
function firstPacket(bytes) {
  let [length, at] = [0, 1];
  do {
    if (at >= bytes.length) return undefined;
    length |= (bytes[at] & 127) << (7 * (at - 1));
    at += 1;
  } while (bytes[at - 1] & 128);
  if (bytes.length < at + length) return undefined;
  return { first: bytes[0], body: bytes.subarray(at, at + length), rest: bytes.subarray(at + length) };
}

/** The pause before a lost connection is opened again, and the interval of pings; the keep-alive is twice as long. */
const [PAUSE, PING] = [1_000, 10_000];

export class Device {
  #options;
  #socket;
  #unread = new Uint8Array();
  /** The newest message of each topic that is not acknowledged: a device has little memory. */
  #unacknowledged = new Map();
  #isConnected = false;
  #lastId = 0;
  #pings;
  #retry;

  /** @param options `url`, client id `name`, `will: [topic, text]`, topic `commands`, `onMessage(text)`, `onState(isConnected)` */
  constructor(options) {
    this.#options = options;
    this.#pings = setInterval(() => this.#send(packet(0xc0)), PING);
    this.#open();
  }

  /** Publishes a retained message, now or once there is a connection. */
  publish(topic, text) {
    this.#lastId = (this.#lastId % 65_535) + 1;
    const publish = packet(0x33, string(topic), number(this.#lastId), [...new TextEncoder().encode(text)]);
    this.#unacknowledged.set(topic, { id: this.#lastId, publish });
    this.#send(publish);
  }

  /** Disconnects: the will is not published. */
  end() {
    clearInterval(this.#pings);
    clearTimeout(this.#retry);
    this.#socket.onclose = null;
    this.#send(packet(0xe0));
    this.#socket.close();
  }

  #send(bytes) {
    if (this.#isConnected) this.#socket.send(bytes);
  }

  #open() {
    const { url, name, will } = this.#options;
    this.#socket = new WebSocket(url, 'mqtt');
    this.#socket.binaryType = 'arraybuffer';
    // A session that is not clean, and a retained will with QoS 1 (§3.1.2.3).
    const connect = packet(0x10, string('MQTT'), 4, 0x2c, number(2 * PING / 1_000), string(name), ...will.map(string));
    this.#socket.onopen = () => this.#socket.send(connect);
    this.#socket.onmessage = ({ data }) => this.#receive(new Uint8Array(data));
    this.#socket.onclose = () => {
      this.#setConnected(false);
      this.#unread = new Uint8Array();
      this.#retry = setTimeout(() => this.#open(), PAUSE);
    };
  }

  #setConnected(isConnected) {
    this.#isConnected = isConnected;
    this.#options.onState(isConnected);
  }

  #receive(bytes) {
    this.#unread = new Uint8Array([...this.#unread, ...bytes]);
    for (let found; (found = firstPacket(this.#unread)); this.#unread = found.rest) this.#handle(found.first, found.body);
  }

  #handle(first, body) {
    // CONNACK with the return code 0.
    if (first >> 4 === 2 && body[1] === 0) {
      this.#setConnected(true);
      this.#send(packet(0x82, number(65_535), string(this.#options.commands), 1));
      // §4.4: what was not acknowledged is sent again, with the DUP flag.
      for (const { publish } of this.#unacknowledged.values()) this.#send(publish.with(0, 0x3b));
    }
    // PUBACK.
    if (first >> 4 === 4) {
      const id = (body[0] << 8) | body[1];
      for (const [topic, message] of this.#unacknowledged) if (message.id === id) this.#unacknowledged.delete(topic);
    }
    // PUBLISH with QoS 0 or 1; that with QoS 1 is acknowledged.
    if (first >> 4 === 3) {
      const at = 2 + ((body[0] << 8) | body[1]);
      const isAcknowledged = (first & 6) !== 0;
      this.#options.onMessage(new TextDecoder().decode(body.subarray(isAcknowledged ? at + 2 : at)));
      if (isAcknowledged) this.#send(packet(0x40, [...body.subarray(at, at + 2)]));
    }
  }
}
