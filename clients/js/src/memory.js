// What outlives the page: positions, what was not sent yet, and the session. Kept in whatever has the
// interface of sessionStorage.

/** Channels whose position is kept. 256: twice what a session may subscribe to. */
const MOST_POSITIONS = 256;
/** Positions change with each message; they are written this much later, all at once. */
const WRITE_AFTER = 200;

export class Memory {
  #store;
  #name;
  #environment;
  #complain;
  #positions;
  #writing = false;

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
    this.#writeSoon();
  }

  forget(channel) {
    if (this.#positions.delete(channel)) this.#writeSoon();
  }

  unsent() {
    const entries = this.#read('unsent');
    return Array.isArray(entries) ? entries : [];
  }

  setUnsent(entries) {
    this.#write('unsent', entries.length ? entries.map(({ message, sentAt }) => ({ message, sentAt })) : undefined);
  }

  /** Takes the session, so that a copy of the page finds none: two lines cannot have one session. */
  takeSession() {
    const session = this.#read('session');
    this.#write('session');
    return session;
  }

  leaveSession(session) {
    this.#write('session', session);
  }

  flush() {
    if (!this.#writing) return;
    this.#writing = false;
    this.#write('positions', Object.fromEntries(this.#positions));
  }

  #writeSoon() {
    if (this.#writing) return;
    this.#writing = true;
    this.#environment.later(() => this.flush(), WRITE_AFTER);
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
