// All subscriptions of a client, and how they continue on a new connection: the server announces those that the resume token
// restores; the others are requested again, with their positions.

import { OffhookError } from './errors.js';
import { Subscription } from './subscription.js';

/** A restored subscription that is not announced within this time is requested. 10 s: as long as a server's storage may take. */
const ANNOUNCED_WITHIN = 10_000;
/** The pause when the server says `later` without a time. */
const LATER = 1_000;
/** Channels in one `subscribe`. 256: as many as a server accepts. */
const MOST_AT_ONCE = 256;
const EVENTS = ['message', 'own', 'gap', 'live', 'catching_up', 'join', 'leave', 'members'];
/** The phases in which the server has the subscription. */
const SERVED = ['live', 'catching_up'];

export class Subscriptions {
  #byKey = new Map();
  #environment;
  #owner;
  #isOpen = false;
  /** The keys of the subscriptions that the newest token restores. */
  sealed = [];
  #cancel = () => {};
  #nextNumber;

  /**
   * @param owner `send(message, ids)` returns the first of the `ids` it was sent with, `ask(message)` sends it until there is an
   *   answer; callbacks `handled(name, position)` and `made(subscription)`: the server has made one
   */
  constructor(environment, owner) {
    this.#environment = environment;
    this.#owner = owner;
    // Random, so that a page that resumes the session of the page before does not take its numbers for its own.
    this.#nextNumber = Math.floor(environment.random() * 2 ** 31);
  }

  /** The positions for a `connect` that resumes. */
  positions() {
    const [positions, subscription_positions] = [{ __proto__: null }, {}];
    for (const { key, subscription, received } of this.#byKey.values()) {
      if (received) (key === subscription ? subscription_positions : positions)[key] = received;
    }
    return { positions, subscription_positions };
  }

  /** `targets`: `{ channel }` or `{ filter }`; `position(name)` gives the stored position. */
  add(targets, options, position) {
    const added = targets.map((target) => this.#add(target, options, position));
    this.#ask(added);
    return added;
  }

  #add(target, options, position) {
    const { channel, filter } = target;
    const name = filter ? nameOf(filter) : channel;
    // Of several subscriptions to a channel, one has its position in the store.
    const isStored = ![...this.#byKey.values()].some((other) => other.name === name);
    const isNumbered = filter || options.window || this.#byKey.has(channel);
    const named = isNumbered ? { ...target, subscription: this.#nextNumber++ } : target;
    const subscription = new Subscription(named, options, isStored ? position(name) : undefined, this);
    if (isStored) subscription.name = name;
    this.#byKey.set(subscription.key, subscription);
    return subscription;
  }

  /** A connection is open; `resumed` with a token. */
  opened(resumed) {
    this.#isOpen = true;
    for (const subscription of this.#in('waiting')) if (resumed && this.sealed.includes(subscription.key)) subscription.phase = 'expected';
    this.#ask(this.#in('waiting'));
    this.#cancel = this.#environment.later(() => this.restored(), ANNOUNCED_WITHIN);
  }

  lost() {
    this.#isOpen = false;
    this.#cancel();
    for (const subscription of this.#byKey.values()) {
      if (subscription.phase !== 'paused') subscription.phase = 'waiting';
    }
  }

  /** A token came. It restores the subscriptions that were announced on this connection before it. */
  seal() {
    this.sealed = this.#in(...SERVED).map(({ key }) => key);
  }

  /** Handles a message of the server about a subscription. */
  handle(event) {
    const subscription = this.#byKey.get(event.subscription ?? event.channel);
    if (event.type === 'subscribed') this.#subscribed(subscription, event);
    else if (event.type === 'unsubscribed') {
      // With an `id` it is the answer to our own `unsubscribe`. A subscription token may have expired: a new one decides.
      if (subscription?.token) event.retry = 'later';
      if (subscription && event.id === undefined) this.#tryAgainOrEnd(subscription, event);
    }
    // Ignore what was in flight before an `unsubscribe`, or comes before the `subscribed`, and types of a newer server.
    else if (EVENTS.includes(event.type) && SERVED.includes(subscription?.phase)) subscription.handle(event);
  }

  /** An error that may be the answer to a `subscribe`. */
  refused(error) {
    const subscription = this.#in('asked').find(({ asked }) => asked === error.id);
    if (!subscription) return;
    // The token restored it, and the server will announce it.
    if (error.code === 'already_subscribed' && subscription.key === subscription.channel) subscription.phase = 'expected';
    else this.#tryAgainOrEnd(subscription, error);
  }

  /** The server has announced all restored subscriptions: request those that were expected and are not among them. */
  restored() {
    this.#ask(this.#in('expected'));
  }

  close(error) {
    for (const subscription of this.#byKey.values()) subscription.end(error);
    this.#byKey.clear();
  }

  #in(...phases) {
    return [...this.#byKey.values()].filter(({ phase }) => phases.includes(phase));
  }

  /** Requests subscriptions, as many as possible with one message. */
  #ask(subscriptions) {
    if (!this.#isOpen) return;
    const groups = new Map();
    for (const subscription of subscriptions) {
      const { since, fields, token } = subscription;
      subscription.cancelRetry?.();
      if (token) {
        // Also one that was expected: the token is for it as long as it waits.
        subscription.phase = 'waiting';
        const send = (fetched) => this.#isOpen && this.#askTogether([subscription], fetched);
        const refuse = (error) => this.#tryAgainOrEnd(subscription, error);
        import('./tokens.js').then(({ ask }) => ask(subscription, send, refuse), () => subscription.phase === 'waiting' && refuse({ retry: 'later' }));
      } else {
        const alike = subscription.subscription ?? JSON.stringify([since, fields]);
        const group = groups.get(alike) ?? [];
        groups.set(alike, group);
        group.push(subscription);
      }
    }
    for (const group of groups.values()) while (group.length) this.#askTogether(group.splice(0, MOST_AT_ONCE));
  }

  #askTogether(group, token) {
    const [{ target, from, since, fields }] = group;
    const what = group[1]
      ? { channels: group.map(({ channel }) => channel), since, positions: Object.fromEntries(group.map((s) => [s.channel, s.received])) }
      : { ...target, since: from };
    const first = this.#owner.send({ type: 'subscribe', ...what, ...fields, token }, group.length);
    group.forEach((s, index) => Object.assign(s, { phase: 'asked', asked: first + index }));
  }

  #subscribed(subscription, event) {
    const isAnswer = event.id !== undefined;
    let fits = isAnswer ? subscription?.asked === event.id : subscription?.received !== undefined;
    if (event.by === 'server') {
      // The server's side has made it. It begins now, and not where a restored one would go on.
      fits = !subscription || (event.live && (subscription.received ?? subscription.since) === 'now');
      subscription ??= this.#made(event);
    }
    const isWanted = subscription && !['paused', 'ended'].includes(subscription.phase);
    if (fits && isWanted) subscription.handle(event);
    // The answer to an earlier request is ignored; the newer one has its own.
    else if (!isAnswer) {
      // The token restored a subscription that is not wanted any more, or not from there.
      this.#unsubscribeFrom(event);
      if (isWanted) this.#ask([subscription]);
    }
  }

  /** Its reader is who listens to the client's event. Without one it is kept, since the server wants it. */
  #made({ channel, subscription }) {
    const made = new Subscription({ channel, subscription }, {}, undefined, this);
    this.#byKey.set(made.key, made);
    this.#owner.made(made);
    // As with listeners, events are not queued from now on, unless a loop reads them.
    made.on('');
    return made;
  }

  #tryAgainOrEnd(subscription, refusal) {
    const error = OffhookError.from(refusal);
    if (error.retry === 'never') {
      this.#byKey.delete(subscription.key);
      subscription.end(error);
      return;
    }
    subscription.phase = 'waiting';
    if (error.retry !== 'reconnect') {
      const ask = () => subscription.phase === 'waiting' && this.#ask([subscription]);
      subscription.cancelRetry = this.#environment.later(ask, error.retryAfter ?? LATER);
    }
  }

  // What a subscription calls.

  unsubscribe(subscription) {
    if (this.#byKey.get(subscription.key) !== subscription) return;
    this.#byKey.delete(subscription.key);
    this.#tellServer(subscription);
    subscription.end();
  }

  pause(subscription) {
    this.#tellServer(subscription);
    if (subscription.phase !== 'ended') subscription.phase = 'paused';
  }

  goOn(subscription) {
    if (subscription.phase !== 'paused') return;
    subscription.phase = 'waiting';
    this.#ask([subscription]);
  }

  moved({ name, position }) {
    if (name) this.#owner.handled(name, position);
  }

  done({ phase, key }, position, cumulative) {
    // On a new connection the message comes again, and the server hears of it then.
    if (SERVED.includes(phase)) this.#owner.ask({ type: 'done', subscription: key, position, cumulative });
  }

  #tellServer({ phase, target }) {
    if (['asked', ...SERVED].includes(phase)) this.#unsubscribeFrom(target);
  }

  #unsubscribeFrom({ channel, subscription }) {
    this.#owner.send({ type: 'unsubscribe', ...(subscription === undefined ? { channel } : { subscription }) });
  }
}

/** The name of a filter's position in the store. No channel has a `*` in its name. */
export function nameOf(filter) {
  return `*${filter}`;
}
