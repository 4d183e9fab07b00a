// Detects dead connections. A connection whose network is gone is as silent as an idle one, and a browser does not show a page
// the WebSocket pings it answers, so the client sends messages of its own that the server answers.

/** Defaults, each with its reason. */
export const HEARTBEAT = {
  /** Ask after this much silence. 25 s: below the 30 s after which the strictest proxies drop an idle connection. */
  every: 25_000,
  /** Without an answer within this time the connection is dead. 10 s: longer than a phone's radio needs to wake. */
  within: 10_000,
  /** The same after the machine woke or the network changed. 4 s: the connection is probably gone, and somebody is waiting. */
  withinAfterWaking: 4_000,
};

/** A timer that fires this late was delayed by sleep, during which nothing could be received. */
const SLEPT = 3_000;

export class Heartbeat {
  #environment;
  #settings;
  #owner;
  #cancel = () => {};
  #heardAt = 0;
  #isAwaiting = false;

  /** @param owner `ask()` sends a message that the server answers; `dead()` is called when no answer came in time */
  constructor(environment, settings, owner) {
    this.#environment = environment;
    this.#settings = { ...HEARTBEAT, ...settings };
    this.#owner = owner;
  }

  /** A connection was opened. The first question has to be answered within the normal time. */
  start() {
    this.ask(this.#settings.within);
  }

  stop() {
    this.#cancel();
  }

  /** A message was received. */
  heard() {
    this.#heardAt = this.#environment.now();
    this.#isAwaiting = false;
  }

  /** Asks now. @param isRepeated it was asked after sleep before */
  ask(within = this.#settings.withinAfterWaking, isRepeated) {
    this.#isAwaiting = true;
    this.#at(within, () => (this.#isAwaiting ? this.#owner.dead() : this.#listen()), isRepeated);
    this.#owner.ask();
  }

  #listen() {
    const left = this.#heardAt + this.#settings.every - this.#environment.now();
    if (left <= 0) this.ask(this.#settings.within);
    else this.#at(left, () => this.#listen());
  }

  /**
   * After sleep it asks instead: nothing can have been received meanwhile. But only once without an answer, because every timer of a
   * hidden page may be late.
   */
  #at(ms, callback, isRepeated) {
    this.#cancel();
    const due = this.#environment.now() + ms;
    this.#cancel = this.#environment.later(() => {
      const isLate = this.#environment.now() - due > SLEPT;
      if (isLate && !(isRepeated && this.#isAwaiting)) this.ask(undefined, true);
      else callback();
    }, ms);
  }
}
