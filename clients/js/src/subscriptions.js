// All subscriptions of a client, and how they come back on a new connection: those in the resume token are
// announced by the server, the others are asked for, from where they were.

import { OffhookError } from './errors.js';
import { Subscription } from './subscription.js';

/** A restored subscription that is not announced within 10 s was not in the token: it is asked for. */
const ANNOUNCED_WITHIN = 10_000;
/** When a server says `later`, but not when. */
const LATER = 1_000;

export class Subscriptions {
  #byChannel = new Map();
  #environment;
  #owner;
  #isOpen = false;
  // Channels that the newest token restores: those announced on this connection before it came.
  #sealed = new Set();
  #cancel = () => {};

  /** @param owner `send(message)` gives the id it was sent with; `handled(channel, position)` */
  constructor(environment, owner) {
    this.#environment = environment;
    this.#owner = owner;
  }

  /** The positions that a resuming client brings. */
  positions() {
    const known = [...this.#byChannel.values()].filter((s) => s.received !== undefined);
    return Object.fromEntries(known.map((s) => [s.channel, s.received]));
  }

  add(channel, options, position) {
    if (this.#byChannel.has(channel)) throw new OffhookError('already_subscribed', `${channel}: subscribed already`);
    const subscription = new Subscription(channel, options, position, {
      unsubscribe: (s) => this.#unsubscribe(s),
      pause: (s) => this.#pause(s),
      goOn: (s) => this.#goOn(s),
      handled: (s) => this.#owner.handled(s.channel, s.position),
    });
    this.#byChannel.set(channel, subscription);
    this.#ask(subscription);
    return subscription;
  }

  /** There is a connection; `resumed` with a token. */
  opened(resumed) {
    this.#isOpen = true;
    for (const subscription of this.#byChannel.values()) {
      if (subscription.phase === 'paused') continue;
      if (resumed && this.#sealed.has(subscription.channel)) subscription.phase = 'expected';
      else this.#ask(subscription);
    }
    this.#cancel = this.#environment.later(() => this.#askForExpected(), ANNOUNCED_WITHIN);
  }

  lost() {
    this.#isOpen = false;
    this.#cancel();
    for (const subscription of this.#byChannel.values()) {
      if (subscription.phase !== 'paused') subscription.phase = 'waiting';
    }
  }

  /** A token came: it restores what this connection has by now. */
  seal() {
    const has = (s) => s.phase === 'live' || s.phase === 'catching_up';
    this.#sealed = new Set([...this.#byChannel.values()].filter(has).map((s) => s.channel));
  }

  /** The channels that the newest token restores. */
  get sealed() {
    return [...this.#sealed];
  }

  /** What a token from before a reload restores. */
  unseal(channels) {
    this.#sealed = new Set(channels);
  }

  /** Something about a channel. */
  handle(event) {
    const subscription = this.#byChannel.get(event.channel);
    if (event.type === 'subscribed') this.#subscribed(subscription, event);
    else if (event.type === 'unsubscribed') this.#unsubscribed(subscription, event);
    // What was under way before an `unsubscribe`, or comes before the `subscribed`, is nobody's.
    else if (subscription && ['live', 'catching_up'].includes(subscription.phase)) subscription.handle(event);
  }

  /** Whether the error was the answer to a `subscribe`. */
  refused(error) {
    const subscription = [...this.#byChannel.values()].find((s) => s.asked !== undefined && s.asked === error.id);
    if (!subscription) return false;
    subscription.asked = undefined;
    // By the token, then: it will be announced.
    if (error.code === 'already_subscribed') subscription.phase = 'expected';
    else this.#tryAgainOrEnd(subscription, error);
    return true;
  }

  close(error) {
    this.lost();
    for (const subscription of this.#byChannel.values()) subscription.end(error);
    this.#byChannel.clear();
  }

  #ask(subscription) {
    if (!this.#isOpen) return;
    const { channel, received, since, presence } = subscription;
    const message = { type: 'subscribe', channel, since: received ?? since };
    subscription.phase = 'asked';
    subscription.asked = this.#owner.send(presence ? { ...message, presence } : message);
  }

  #subscribed(subscription, event) {
    const isAnswer = event.id !== undefined;
    const fits = isAnswer ? subscription?.asked === event.id : subscription?.received !== undefined;
    if (fits && subscription.phase !== 'paused') {
      subscription.handle(event);
      return;
    }
    // An old question's answer, after which another was asked: that one has its own.
    if (isAnswer) return;
    // The token has it from before, but nobody wants it, or not from there.
    this.#owner.send({ type: 'unsubscribe', channel: event.channel });
    if (subscription && subscription.phase !== 'paused') this.#ask(subscription);
  }

  #unsubscribed(subscription, event) {
    // With an `id` it is the answer to ours.
    if (subscription && event.id === undefined) this.#tryAgainOrEnd(subscription, event);
  }

  #tryAgainOrEnd(subscription, refusal) {
    const error = OffhookError.from(refusal);
    if (error.retry === 'never') {
      this.#byChannel.delete(subscription.channel);
      subscription.end(error);
      return;
    }
    subscription.phase = 'waiting';
    if (error.retry === 'later') this.#environment.later(() => this.#askIfWaiting(subscription), error.retryAfter ?? LATER);
  }

  #askIfWaiting(subscription) {
    if (subscription.phase === 'waiting') this.#ask(subscription);
  }

  #askForExpected() {
    for (const subscription of this.#byChannel.values()) {
      if (subscription.phase === 'expected') this.#ask(subscription);
    }
  }

  #unsubscribe(subscription) {
    if (this.#byChannel.get(subscription.channel) !== subscription) return;
    this.#byChannel.delete(subscription.channel);
    this.#tellServer(subscription);
    subscription.end();
  }

  #pause(subscription) {
    this.#tellServer(subscription);
    if (subscription.phase !== 'ended') subscription.phase = 'paused';
  }

  #goOn(subscription) {
    if (subscription.phase !== 'paused') return;
    subscription.phase = 'waiting';
    this.#ask(subscription);
  }

  #tellServer({ phase, channel }) {
    if (this.#isOpen && ['asked', 'live', 'catching_up'].includes(phase)) {
      this.#owner.send({ type: 'unsubscribe', channel });
    }
  }
}
