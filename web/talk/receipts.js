// Finds out who has received my messages. The server knows it from the answers to its WebSocket pings.

/** The first question makes the server send pings; the answers are there a moment later. */
const FIRST = 300;
/** The pause grows up to this: somebody who has not received a message after a while is asleep. */
const LONGEST = 15_000;

export class Receipts {
  #client;
  #room;
  #timer;
  #pause = FIRST;

  constructor(client, room) {
    this.#client = client;
    this.#room = room;
  }

  /** I sent a message, or the members changed. */
  watch() {
    this.stop();
    this.#pause = FIRST;
    this.#askLater();
  }

  stop() {
    clearTimeout(this.#timer);
  }

  /** My oldest message that has not reached everybody. */
  get #oldest() {
    return this.#room.conversation.mine.find(({ state, position }) => state === 'kept' && position);
  }

  #askLater() {
    if (!this.#oldest || this.#room.others.length === 0) return;
    this.#timer = setTimeout(() => this.#ask(), this.#pause);
    this.#pause = Math.min(LONGEST, this.#pause * 1.5);
  }

  async #ask() {
    const open = this.#room.conversation.mine.filter(({ state, position }) => state === 'kept' && position);
    // The newest first: usually everybody has everything.
    for (const { position } of open.slice(-1).concat(open.slice(0, 1))) {
      const { received, subscribers } = await this.#client.receipts(this.#room.channel, position).catch(() => ({}));
      if (subscribers > 1 && received === subscribers) {
        this.#room.conversation.reached(position);
        break;
      }
    }
    this.stop();
    this.#askLater();
  }
}
