// Queues the events of one subscription for an asynchronous iterator.

/** With this many events queued the subscription pauses; later it goes on from the channel's history. 1,000: a second of a very busy channel. */
export const MOST = 1_000;

export class Inbox {
  #events = [];
  #waiting = [];
  #end;
  #owner;
  #handled;

  /** @param owner callbacks `full()` (pause), `empty()` (go on), `handled(event)` and `left()` (the loop ended early) */
  constructor(owner) {
    this.#owner = owner;
  }

  put(event) {
    const reader = this.#waiting.shift();
    if (reader) {
      this.#handled = event;
      reader.resolve({ value: event, done: false });
      return;
    }
    this.#events.push(event);
    if (this.#events.length === MOST) this.#owner.full();
  }

  /** No more events follow. With an error, the reader's loop throws it after the queued events. */
  end(error) {
    this.#end = { error };
    for (const reader of this.#waiting.splice(0)) this.#finish(reader);
  }

  /** For `for await`. Asking for the next event means that the one before was handled. */
  iterator() {
    return {
      next: () => new Promise((resolve, reject) => this.#next({ resolve, reject })),
      return: async () => {
        this.#owner.left();
        return { done: true };
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  #next(reader) {
    if (this.#handled) this.#owner.handled(this.#handled);
    this.#handled = this.#events.shift();
    if (this.#handled) {
      reader.resolve({ value: this.#handled, done: false });
      if (this.#events.length === 0) this.#owner.empty();
    } else if (this.#end) this.#finish(reader);
    else this.#waiting.push(reader);
  }

  #finish({ resolve, reject }) {
    const { error } = this.#end;
    // The error is thrown once.
    this.#end = {};
    if (error) reject(error);
    else resolve({ done: true });
  }
}
