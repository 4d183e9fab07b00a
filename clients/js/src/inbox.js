// The events of one subscription between the connection and a reader that takes them one by one.

/** Above this many events the subscription pauses, and reads on from the channel's history later. */
export const MOST = 1_000;

export class Inbox {
  #events = [];
  #waiting = [];
  #end;
  #owner;
  #handled;

  /** @param owner `full()` and `empty()` say when to pause and go on, `handled(event)`, `left()` */
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

  /** Nothing more comes; with an error the reader's loop throws it after what is still here. */
  end(error) {
    this.#end = { error };
    for (const reader of this.#waiting.splice(0)) this.#finish(reader);
  }

  /** What `for await` uses. Whoever asks for the next event has handled the one before. */
  iterator() {
    return {
      next: () => new Promise((resolve, reject) => this.#next({ resolve, reject })),
      return: async () => {
        this.#owner.left();
        return { value: undefined, done: true };
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
    // The second time the loop is over anyway.
    this.#end = {};
    if (error) reject(error);
    else resolve({ value: undefined, done: true });
  }
}
