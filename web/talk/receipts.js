// Whose WebSocket has my messages: asked of the server, which knows it from the answers to its pings.

/** Asking lets the server ping those who are not known to have it; soon after it knows. */
const FIRST = 300;
/** Then less and less often: who has not got it after a while is asleep. */
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

  /** Something of mine is new, or who is here changed. */
  watch() {
    this.stop();
    this.#pause = FIRST;
    this.#askLater();
  }

  stop() {
    clearTimeout(this.#timer);
  }

  /** The oldest of mine that has not reached everybody. */
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
    // The newest first: most of the time everybody has everything.
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
