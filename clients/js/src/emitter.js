/** Event listeners by type. A listener that throws does not keep the others from being called. */
export class Emitter {
  #listeners = new Map();

  /** Calls `listener` for each event of this type. Returns a function that removes it. */
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
        // Reported like an uncaught error; the connection is not affected.
        queueMicrotask(() => { throw error; });
      }
    }
  }
}
