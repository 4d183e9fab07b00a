// The messages of a room in the order of their positions, then those that are not sent yet.

/** Entries kept in the page. 1,000: hours of a busy room. Older ones are read again when somebody scrolls to them. */
const MOST = 1_000;

function compare(a, b) {
  const [[epochA, offsetA], [epochB, offsetB]] = [a, b].map((position) => position.split('.').map(Number));
  return epochA - epochB || offsetA - offsetB;
}

/**
 * Entries are `{ kind: 'message', position, key, text, name, session, time, state, error }` and
 * `{ kind: 'gap', position, reason }` (before the message at its position). `state` is set for my own messages: `pending`, `kept`,
 * `reached` or `refused`.
 */
export class Conversation {
  entries = [];
  #known = new Set();
  #byKey = new Map();
  #view;

  /** @param view `added(entry, next)`, `changed(entry)`, `removed(entry)` */
  constructor(view) {
    this.#view = view;
  }

  /** The position of the oldest message here. */
  get first() {
    return this.entries.find(({ kind, position }) => kind === 'message' && position)?.position;
  }

  /** My messages that the server has, newest last. */
  get mine() {
    return this.entries.filter(({ state }) => state === 'kept' || state === 'reached');
  }

  /** Adds a message from the server. Returns `false` if it is here already. */
  take(message, isMine) {
    if (this.#known.has(message.position)) return false;
    const pending = message.key !== undefined ? this.#byKey.get(message.key) : undefined;
    if (pending && isMine) this.#forget(pending);
    const state = pending?.state === 'reached' ? 'reached' : 'kept';
    this.#known.add(message.position);
    this.#put({ kind: 'message', ...message, ...(isMine && { state }) });
    return true;
  }

  gap({ to, reason }) {
    this.#put({ kind: 'gap', position: to, reason });
  }

  /** Adds a message of mine that has no position yet. */
  send(entry) {
    if (this.#byKey.has(entry.key)) return;
    this.#byKey.set(entry.key, entry);
    this.#put(entry);
  }

  /** The server has stored a message of mine, which may have come already. */
  kept(key) {
    const entry = this.#byKey.get(key);
    if (!entry) return;
    entry.state = 'kept';
    this.#view.changed(entry);
  }

  refused(key, error) {
    const entry = this.#byKey.get(key);
    if (!entry) return;
    Object.assign(entry, { state: 'refused', error });
    this.#view.changed(entry);
  }

  /** Removes a refused message and returns it. */
  withdraw(key) {
    const entry = this.#byKey.get(key);
    if (entry) this.#forget(entry);
    return entry;
  }

  /** Everybody in the room has received my messages up to this position. */
  reached(position) {
    for (const entry of this.mine) {
      if (entry.state === 'kept' && entry.position && compare(entry.position, position) <= 0) {
        entry.state = 'reached';
        this.#view.changed(entry);
      }
    }
  }

  /** Removes the oldest entries beyond the limit. */
  trim() {
    while (this.entries.length > MOST) this.#remove(this.entries[0]);
  }

  #put(entry) {
    let index = this.entries.length;
    while (index > 0 && this.#comesBefore(entry, this.entries[index - 1])) index -= 1;
    this.entries.splice(index, 0, entry);
    this.#view.added(entry, this.entries[index + 1]);
  }

  #comesBefore(entry, other) {
    if (!entry.position) return false;
    return !other.position || compare(entry.position, other.position) < 0;
  }

  #forget(entry) {
    this.#byKey.delete(entry.key);
    this.#remove(entry);
  }

  #remove(entry) {
    this.entries.splice(this.entries.indexOf(entry), 1);
    this.#known.delete(entry.position);
    this.#view.removed(entry);
  }
}
