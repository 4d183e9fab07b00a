// Is somebody still there? A connection over a network that is gone says nothing; so does a quiet one. The browser
// answers the server's pings by itself and tells nobody, so the client asks on its own.

/** Defaults, each with its reason. */
export const HEARTBEAT = {
  /** Ask after this much silence. 25 s: below the 30 s after which the most impatient gateways forget a connection. */
  every: 25_000,
  /** Without an answer for this long the connection is dead. 10 s: longer than a phone's radio needs to wake. */
  within: 10_000,
  /** The same when something says that the connection may be gone: the machine woke, the network changed. */
  withinAfterWaking: 4_000,
};

/** A timer that comes this much too late was held up by sleep: nothing could have been heard meanwhile. */
const SLEPT = 3_000;

export class Heartbeat {
  #environment;
  #settings;
  #owner;
  #cancel = () => {};
  #heardAt = 0;
  #isAwaiting = false;

  /** @param owner `ask()` sends something that is answered; `dead()` is told when it is not */
  constructor(environment, settings, owner) {
    this.#environment = environment;
    this.#settings = { ...HEARTBEAT, ...settings };
    this.#owner = owner;
  }

  /** There is a connection: somebody has to say something first. */
  start() {
    this.heard();
    this.ask(this.#settings.within);
  }

  stop() {
    this.#cancel();
  }

  /** Whatever came: somebody is there. */
  heard() {
    this.#heardAt = this.#environment.now();
    this.#isAwaiting = false;
  }

  /** Asks at once. */
  ask(within = this.#settings.withinAfterWaking) {
    this.#isAwaiting = true;
    this.#at(within, (slept) => this.#judge(slept));
    this.#owner.ask();
  }

  #listen() {
    const quiet = this.#environment.now() - this.#heardAt;
    this.#at(this.#settings.every - quiet, (slept) => {
      const now = this.#environment.now();
      if (slept) this.ask();
      else if (now - this.#heardAt >= this.#settings.every) this.ask(this.#settings.within);
      else this.#listen();
    });
  }

  #judge(slept) {
    if (slept) this.ask();
    else if (!this.#isAwaiting) this.#listen();
    else this.#owner.dead();
  }

  #at(ms, callback) {
    this.#cancel();
    const due = this.#environment.now() + ms;
    this.#cancel = this.#environment.later(() => callback(this.#environment.now() - due > SLEPT), ms);
  }
}
