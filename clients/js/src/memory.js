// Keeps positions, unsent publications and the session over a page reload, in an object with the interface of sessionStorage.

/** Channels whose position is kept. 256: twice as many as a session may subscribe to by default. */
const MOST_POSITIONS = 256;
/** Positions change with each message; they are written together after this delay. */
const WRITE_AFTER = 200;

/** For `connect(url, { store: persist(sessionStorage) })`; with `unsent`, unsent publications are kept too. */
export function persist(storage, { unsent = false } = {}) {
  return (name, environment, complain) => new Memory(storage, unsent, name, environment, complain);
}

class Memory {
  #store;
  #keepsUnsent;
  #name;
  #environment;
  #complain;
  #positions;
  #unsent = () => [];
  #isFailing = false;
  // What has to be written.
  #changed = new Set();
  #cancel = () => {};

  /** @param complain is called with the error when the store cannot be read or written; the client goes on without it */
  constructor(store, keepsUnsent, name, environment, complain) {
    this.#store = store;
    this.#keepsUnsent = keepsUnsent;
    this.#name = name;
    this.#environment = environment;
    this.#complain = complain;
    this.#positions = new Map(Object.entries(this.#read('positions') ?? {}));
  }

  position(channel) {
    return this.#positions.get(channel);
  }

  setPosition(channel, position) {
    this.#positions.delete(channel);
    this.#positions.set(channel, position);
    if (this.#positions.size > MOST_POSITIONS) this.#positions.delete(this.#positions.keys().next().value);
    this.#writeSoon('positions');
  }

  forget(channel) {
    if (this.#positions.delete(channel)) this.#writeSoon('positions');
  }

  unsent() {
    const entries = this.#keepsUnsent && this.#read('unsent');
    if (!Array.isArray(entries)) return [];
    const now = this.#environment.now();
    // The system's time may have been set back since: they are given up no later than if they had been sent now.
    return entries.filter((entry) => entry?.message?.channel).map(({ message, sentAt }) => ({ message, sentAt: sentAt > now ? now : sentAt }));
  }

  /** A publication was queued; `get` returns all of them. Written in the same task, before the page can be unloaded. */
  moreUnsent(get) {
    if (!this.#keepsUnsent) return;
    this.#unsent = get;
    this.#changed.add('unsent');
    queueMicrotask(() => this.flush());
  }

  /** A publication was answered. If the page is unloaded before this is written, it is published again with the same key. */
  lessUnsent() {
    if (this.#keepsUnsent) this.#writeSoon('unsent');
  }

  /** Removes the session from the store and returns it. A duplicated tab must not find it: one session has one connection. */
  takeSession() {
    const session = this.#read('session');
    this.#write('session');
    return Array.isArray(session?.channels) ? session : undefined;
  }

  leaveSession(session) {
    this.#write('session', session);
  }

  flush() {
    this.#cancel();
    const changed = [...this.#changed];
    this.#changed.clear();
    if (changed.includes('positions')) this.#write('positions', Object.fromEntries(this.#positions));
    if (changed.includes('unsent')) {
      const entries = this.#unsent();
      this.#write('unsent', entries.length ? entries.map(({ message, sentAt }) => ({ message, sentAt })) : undefined);
    }
  }

  #writeSoon(what) {
    if (this.#changed.size === 0) this.#cancel = this.#environment.later(() => this.flush(), WRITE_AFTER);
    this.#changed.add(what);
  }

  #read(what) {
    try {
      return JSON.parse(this.#store.getItem(`${this.#name}:${what}`) ?? 'null') ?? undefined;
    } catch (error) {
      this.#complain(error);
      return undefined;
    }
  }

  #write(what, value) {
    try {
      if (value === undefined) this.#store.removeItem(`${this.#name}:${what}`);
      else this.#store.setItem(`${this.#name}:${what}`, JSON.stringify(value));
      this.#isFailing = false;
    } catch (error) {
      // A full store stays full: it is said once.
      if (!this.#isFailing) this.#complain(error);
      this.#isFailing = true;
    }
  }
}
