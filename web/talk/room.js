// One room: its messages, its members, and who is writing. It uses the client and no element of the page.

import { Conversation } from './conversation.js';
import { addSession, mySessions, tidy } from './identity.js';
import { Receipts } from './receipts.js';
import { Typing } from './typing.js';

/** Messages read at first, and with each step backwards. 50: more than a screen holds. */
const PAGE = 50;
const LONGEST = 4_000;

export const channelOf = (room) => `talk:${room}`;

export class Room {
  name;
  members = new Map();
  unread = 0;
  /** The last position before a reload. Messages after it are marked as new. */
  mark;
  /** Whether the oldest message that the server keeps is here. */
  isWhole = false;
  #client;
  #view;
  #subscription;
  #mySessions = mySessions();
  #reading = false;
  #wasLive = false;

  /** @param view the callbacks of `Conversation`, and `people()`, `typing()`, `connection()`, `heard(entry)`, `edge()` */
  constructor(name, client, me, view) {
    this.name = name;
    this.me = me;
    this.#client = client;
    this.#view = view;
    this.conversation = new Conversation(view);
    this.receipts = new Receipts(client, this);
    this.typing = new Typing(client, name, me, () => view.typing());
    for (const unsent of client.unsent) if (unsent.channel === this.channel) this.#show(unsent);
    this.#subscribe();
  }

  get channel() {
    return channelOf(this.name);
  }

  /** `waiting`, `catching_up`, `live`, `ended`. */
  get state() {
    return this.#subscription.state;
  }

  /** `empty`; `begin` when the first message is here; `more` when there are older ones. */
  get edge() {
    const { first } = this.conversation;
    if (this.isWhole || first?.endsWith('.1')) return 'begin';
    if (first !== undefined || this.conversation.entries.length > 0) return 'more';
    return this.state === 'live' ? 'empty' : 'more';
  }

  /** The other members. */
  get others() {
    return [...this.members.values()].filter(({ session }) => session !== this.#client.session);
  }

  async say(text, key = undefined) {
    const message = { channel: this.channel, data: { text: text.slice(0, LONGEST), name: this.me }, key: key ?? newKey() };
    this.typing.stopped();
    this.#show(message);
    // The client's events report the answer too: a reload loses promises.
    await this.#client.publish(message.channel, message.data, { key: message.key }).catch((error) => this.refused(message.key, error));
  }

  /** Sends a refused message again. */
  sayAgain(key) {
    const entry = this.conversation.withdraw(key);
    if (entry) this.say(entry.text);
  }

  kept({ key }) {
    this.conversation.kept(key);
    this.receipts.watch();
  }

  refused(key, error) {
    this.conversation.refused(key, error);
  }

  /** A connection is open, perhaps with another session. */
  opened() {
    addSession(this.#client.session);
    this.#mySessions.add(this.#client.session);
  }

  /** Reads the messages before the oldest one here. */
  async readBack() {
    const before = this.conversation.first;
    if (this.#reading || this.edge !== 'more' || before === undefined) return;
    await this.#read({ before });
  }

  leave() {
    this.#subscription.unsubscribe();
    this.typing.leave();
    this.receipts.stop();
  }

  #subscribe() {
    const subscription = this.#client.subscribe(this.channel, { since: { last: PAGE }, presence: true });
    this.#subscription = subscription;
    this.mark = subscription.position;
    const listeners = {
      message: (message) => this.#take(message),
      gap: (gap) => this.conversation.gap(gap),
      subscribed: () => this.#arrived(),
      join: (member) => this.#joined(member),
      leave: ({ session }) => this.#left(session),
      members: ({ members }) => this.#here(members),
      live: () => this.#isLive(),
      catching_up: () => this.#view.connection(),
      ended: () => this.#view.connection(),
    };
    for (const [type, listener] of Object.entries(listeners)) subscription.on(type, listener);
    // After a reload the position is known and the messages before it are not.
    if (this.mark !== undefined) this.#read({});
  }

  #isLive() {
    this.#wasLive ||= this.state === 'live';
    this.#view.connection();
    this.#view.edge();
  }

  async #arrived() {
    this.#isLive();
    const { members } = await this.#client.presence(this.channel).catch(() => ({ members: undefined }));
    if (members) this.#here(members);
  }

  async #read(from) {
    this.#reading = true;
    try {
      const { messages, more } = await this.#client.history(this.channel, { ...from, limit: PAGE });
      // A page may end early, because of its size.
      this.isWhole = from.before ? !more : messages.length === 0;
      for (const message of messages) this.conversation.take(this.#plain(message), this.#isMine(message));
    } catch {
      // Tried again when somebody scrolls there again.
    } finally {
      this.#reading = false;
      this.#view.edge();
    }
  }

  #take(message) {
    const isMine = this.#isMine(message);
    this.typing.stoppedBy(message.session);
    if (!this.conversation.take(this.#plain(message), isMine)) return;
    if (isMine) this.receipts.watch();
    // Messages from before the first visit are history, not unread.
    else if (this.#wasLive || this.mark !== undefined) this.#view.heard(message);
  }

  /** Anybody may publish anything: take only text from it. */
  #plain({ position, key, session, time, data }) {
    const text = typeof data?.text === 'string' ? data.text.slice(0, LONGEST) : JSON.stringify(data ?? null);
    return { position, key, session, time, text, name: tidy(data?.name) };
  }

  #show({ key, data }) {
    const state = 'pending';
    this.conversation.send({ kind: 'message', key, text: data.text, name: this.me, session: this.#client.session, time: Date.now(), state });
  }

  #isMine({ session }) {
    return this.#mySessions.has(session);
  }

  #here(members) {
    this.members = new Map(members.map((member) => [member.session, person(member)]));
    this.#peopleChanged();
  }

  #joined(member) {
    this.members.set(member.session, person(member));
    this.#peopleChanged();
  }

  #left(session) {
    this.members.delete(session);
    this.typing.stoppedBy(session);
    this.#peopleChanged();
  }

  #peopleChanged() {
    this.#view.people();
    this.receipts.watch();
  }
}

function person({ session, user, info }) {
  return { session, name: tidy(info?.name ?? user) };
}

// crypto.randomUUID is there on secure origins only.
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
