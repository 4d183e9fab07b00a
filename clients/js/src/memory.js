// What outlives the page: positions, what was not sent yet, and the session. Kept in whatever has the
// interface of sessionStorage.

/** Channels whose position is kept. 256: twice what a session may subscribe to. */
const MOST_POSITIONS = 256;
/** What changes with each message is written this much later, all at once. */
const WRITE_AFTER = 200;

export class Memory {
  #store;
  #name;
  #environment;
  #complain;
  #positions;
  #unsent = () => [];
  // What is to be written.
  #changed = new Set();
  #isUrgent = false;

  /** @param complain is told why something could not be kept: a full or forbidden store is no reason to stop */
  constructor(store, name, environment, complain) {
    this.#store = store;
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
    const entries = this.#read('unsent');
    return Array.isArray(entries) ? entries : [];
  }

  /** Something is on its way now: `get` gives all that is. Written before anything else can happen. */
  moreUnsent(get) {
    this.#unsent = get;
    this.#changed.add('unsent');
    if (this.#isUrgent) return;
    this.#isUrgent = true;
    queueMicrotask(() => {
      this.#isUrgent = false;
      this.flush();
    });
  }

  /** Something has arrived. What is written too late is published again, with its key. */
  lessUnsent() {
    this.#writeSoon('unsent');
  }

  /** Takes the session, so that a copy of the page finds none: two connections cannot have one session. */
  takeSession() {
    const session = this.#read('session');
    this.#write('session');
    return session;
  }

  leaveSession(session) {
    this.#write('session', session);
  }

  flush() {
    const changed = [...this.#changed];
    this.#changed.clear();
    if (changed.includes('positions')) this.#write('positions', Object.fromEntries(this.#positions));
    if (changed.includes('unsent')) {
      const entries = this.#unsent();
      this.#write('unsent', entries.length ? entries.map(({ message, sentAt }) => ({ message, sentAt })) : undefined);
    }
  }

  #writeSoon(what) {
    if (this.#changed.size === 0) this.#environment.later(() => this.flush(), WRITE_AFTER);
    this.#changed.add(what);
  }

  #read(what) {
    try {
      return JSON.parse(this.#store?.getItem(`${this.#name}:${what}`) ?? 'null') ?? undefined;
    } catch (error) {
      this.#complain(error);
      return undefined;
    }
  }

  #write(what, value) {
    try {
      if (value === undefined) this.#store?.removeItem(`${this.#name}:${what}`);
      else this.#store?.setItem(`${this.#name}:${what}`, JSON.stringify(value));
    } catch (error) {
      this.#complain(error);
    }
  }
}
