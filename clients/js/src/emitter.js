/** Who listens to what. A listener that throws spoils nothing for the others. */
export class Emitter {
  #listeners = new Map();

  /** Calls `listener` for each event of this type; gives a function that stops it. */
  on(type, listener) {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
    return () => this.off(type, listener);
  }

  off(type, listener) {
    this.#listeners.get(type)?.delete(listener);
  }

  emit(type, event) {
    for (const listener of [...(this.#listeners.get(type) ?? [])]) {
      try {
        listener(event);
      } catch (error) {
        // Its own stack shows whose it is; the connection must go on.
        reportError(error);
      }
    }
  }
}

function reportError(error) {
  if (typeof globalThis.reportError === 'function') globalThis.reportError(error);
  else queueMicrotask(() => { throw error; });
}
