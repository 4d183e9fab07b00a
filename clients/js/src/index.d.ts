/** Anything that JSON can say. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

/** What a publication carries; bytes travel in base64. */
export type Data = Json | ArrayBuffer | ArrayBufferView;

/** Where in a channel's stream: keep it, give it back, compare it for equality only. */
export type Position = string;

/** Where a subscription, or a history, begins. */
export type Since = 'now' | 'start' | { last: number } | Position;

/** What `sessionStorage` and `localStorage` do. */
export interface Store {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

type Url = string | URL | (() => string | URL | Promise<string | URL>);

/** Anything with the constructor of a WebSocket, such as that of the `ws` package. */
type WebSocketClass = new (url: string, protocols?: string | string[]) => {
  binaryType: string;
  send(data: any): void;
  close(code?: number, reason?: string): void;
};

export interface Backoff {
  /** The bound of the first wait, in ms. Default 1,000. */
  first?: number;
  /** It doubles up to this. Default 30,000. */
  cap?: number;
  /** A connection that was open for this long makes it start anew. Default 30,000. */
  stable?: number;
}

export interface Heartbeat {
  /** Ask after this much silence, in ms. Default 25,000. */
  every?: number;
  /** Without an answer for this long the connection is dead. Default 10,000. */
  within?: number;
  /** The same after sleep, or when the network changed. Default 4,000. */
  withinAfterWaking?: number;
}

export interface Options {
  /** What the server's authentication asks for; a function is asked for each connection. */
  token?: string | (() => string | Promise<string>);
  /** What other members shall see of a session that authentication says nothing about. */
  info?: Json;
  /** Keeps positions and the session over a reload: give `sessionStorage`. Without it they are this page's. */
  store?: Store;
  /** With `store`: what was published and not answered outlives the page too. */
  keepUnsent?: boolean;
  /** The prefix of the store's keys. Default `offhook:` and the address. */
  name?: string;
  backoff?: Backoff;
  heartbeat?: Heartbeat;
  /** What may wait for a connection: default 1,000 publications of together 1 MiB, 32 of them sent and unanswered. */
  outbox?: { count?: number; size?: number; inFlight?: number; giveUpAfter?: number };
  /** A socket has to open within so many ms. Default 10,000. */
  openWithin?: number;
  /** A question (history, presence, receipts) is given up after so many ms. Default 20,000. */
  answerWithin?: number;
  /** For Node before 22, which has none: the `ws` package's. */
  WebSocket?: WebSocketClass;
}

export interface Message<T = any> {
  type: 'message';
  channel: string;
  position: Position;
  /** JSON as it was published; a `Uint8Array` if those were bytes. */
  data: T;
  /** Who published, unless the server itself did; a stranger has no `user`. */
  user?: string;
  session?: string;
  key?: string;
  tags?: Record<string, string>;
  /** Milliseconds since 1970, on the server's clock. */
  time: number;
}

/** The messages after `from`, up to and including `to`, do not come. */
export interface Gap {
  type: 'gap';
  channel: string;
  from: Position;
  to: Position;
  reason:
    | 'epoch_changed' | 'evicted_by_size' | 'evicted_by_age' | 'damaged' | 'unknown_position' | 'dropped' | 'conflated'
    /** The client's own: a hole that the server did not announce. */
    | 'unannounced';
}

export interface Member {
  session: string;
  user?: string;
  info?: any;
}

/** Begins with each connection; `live`: nothing is missing. `resumed`: the session's, not asked for anew. */
export interface Subscribed { type: 'subscribed'; channel: string; position: Position; live: boolean; resumed: boolean }
/** Everything that was missing has come. */
export interface Live { type: 'live'; channel: string; position: Position }
/** This connection reads too slowly, and gets what it missed from what is kept. */
export interface CatchingUp { type: 'catching_up'; channel: string; position: Position }
export interface Join extends Member { type: 'join'; channel: string }
export interface Leave extends Member { type: 'leave'; channel: string }
/** Comes unasked after joins and leaves were left out: it replaces what was known. */
export interface Members { type: 'members'; channel: string; members: Member[]; total: number }
/** With an `error`: the server ended it. To callbacks only; a loop ends, or throws the error. */
export interface Ended { type: 'ended'; channel: string; error?: OffhookError }

export type ChannelEvent<T = any> = Subscribed | Message<T> | Live | CatchingUp | Gap | Join | Leave | Members;
type ListenedEvent<T> = ChannelEvent<T> | Ended;
type EventOf<T, Type> = Extract<ListenedEvent<T>, { type: Type }>;

/** One channel. Read it with callbacks, attached in the same turn as `subscribe`, or with one `for await`. */
export interface Subscription<T = any> extends AsyncIterable<ChannelEvent<T>> {
  readonly channel: string;
  readonly state: 'waiting' | 'catching_up' | 'live' | 'paused' | 'ended';
  /** That of the last message that was handled. */
  readonly position?: Position;
  /** Gives a function that stops it. */
  on<Type extends ListenedEvent<T>['type']>(type: Type, listener: (event: EventOf<T, Type>) => void): () => void;
  off<Type extends ListenedEvent<T>['type']>(type: Type, listener: (event: EventOf<T, Type>) => void): void;
  unsubscribe(): void;
}

export type State =
  | { name: 'connecting'; attempt: number }
  /** `resumed`: with the session of the connection before. */
  | { name: 'open'; resumed: boolean }
  /** `offline`: the browser says that there is no network. The next attempt is at `retryAt` all the same. */
  | { name: 'waiting' | 'offline'; retryAt: number; attempt: number; end?: { code: number; reason: string } }
  /** For good; without an `error` by `close()`, or by the server with 1000. */
  | { name: 'closed'; error?: OffhookError };

export interface Published { position: Position; duplicate: boolean }
export interface Unsent { channel: string; data: any; key: string; tags?: Record<string, string>; tried: boolean }
export interface History { head: Position; gap?: Gap['reason']; messages: Omit<Message, 'type' | 'channel'>[] }
/** `sessions` names some of those who have it, where the channel keeps presence. */
export interface Receipts { received: number; subscribers: number; sessions: string[] }

export interface ClientEvents {
  state: State;
  /** The answer to any publication, also to one from before a reload. */
  published: Published & { channel: string; key: string; data: any };
  refused: { channel: string; key: string; data: any; error: OffhookError };
  latency: number;
  frame: { direction: 'in' | 'out'; text: string };
  /** Something that spoils nothing: a store that is full, a message that can't be read. */
  warning: Error;
}

export interface Client {
  readonly state: State;
  /** The name that other members see. */
  readonly session?: string;
  readonly user?: string;
  /** Milliseconds there and back, as of the last ping. */
  readonly latency?: number;
  /** What was published and not answered yet, oldest first. */
  readonly unsent: Unsent[];
  on<Type extends keyof ClientEvents>(type: Type, listener: (event: ClientEvents[Type]) => void): () => void;
  off<Type extends keyof ClientEvents>(type: Type, listener: (event: ClientEvents[Type]) => void): void;
  /** Begins at `since` (default `now`), or after the position that the store has. */
  subscribe<T = any>(channel: string, options?: { since?: Since; presence?: boolean }): Subscription<T>;
  /**
   * Kept once the server has it, over as many connections as that takes. In a channel one is under way at a time, so
   * that they stay in order; `unordered`: not this one. `queue: false`: now and once, or not at all.
   */
  publish(
    channel: string,
    data: Data,
    options?: { key?: string; tags?: Record<string, string>; queue?: boolean; unordered?: boolean },
  ): Promise<Published>;
  /** Reads once: the newest, those after `since`, or the newest of those before `before`. */
  history(channel: string, options?: { since?: Since; before?: Position; limit?: number }): Promise<History>;
  presence(channel: string): Promise<{ members: Member[]; total: number }>;
  /** How many WebSockets have everything up to `position`. Asking may set it off: ask again a moment later. */
  receipts(channel: string, position: Position): Promise<Receipts>;
  /** Has the server remember that a consumer has done everything up to `position`; gives what it remembers. */
  ack(channel: string, consumer: string, position?: Position): Promise<Position | undefined>;
  /** The next subscription begins with its `since`, not with the position that the store has. */
  forget(channel: string): void;
  /** Ends a wait; looks whether an open connection still lives. */
  reconnect(): void;
  /** For good: the session ends. */
  close(): void;
}

/** Opens a connection that comes back by itself. In a page the address may be relative: `/ws`. */
export function connect(url: Url, options?: Options): Client;

export class OffhookError extends Error {
  /** The protocol's, or `closed`, `offline`, `queue_full`, `too_large`, `timed_out`, `replaced`, `bad_message`. */
  readonly code: string;
  readonly retry: 'never' | 'later' | 'reconnect';
  /** Milliseconds. */
  readonly retryAfter?: number;
}

export interface RawOptions {
  backoff?: Backoff;
  openWithin?: number;
  /** What may wait for a connection. Default 1 MiB. */
  maxQueuedBytes?: number;
  /** Without one a dead connection is noticed when the system does. `message` has to be answered by something. */
  heartbeat?: Heartbeat & { message: string };
  WebSocket?: WebSocketClass;
}

/**
 * A WebSocket that comes back, for servers that do not speak Offhook's protocol. `readyState` is CONNECTING
 * while it is away; `close` comes with each loss, then `waiting` (with `retryAt`), then `open`.
 */
export class ReconnectingWebSocket extends EventTarget {
  static readonly CONNECTING: 0;
  static readonly OPEN: 1;
  static readonly CLOSING: 2;
  static readonly CLOSED: 3;
  readonly CONNECTING: 0;
  readonly OPEN: 1;
  readonly CLOSING: 2;
  readonly CLOSED: 3;
  constructor(url: Url, protocols?: string | string[], options?: RawOptions);
  readonly readyState: 0 | 1 | 2 | 3;
  readonly url: string;
  readonly protocol: string;
  readonly extensions: string;
  readonly bufferedAmount: number;
  binaryType: 'blob' | 'arraybuffer';
  onopen: ((event: Event) => void) | null;
  onmessage: ((event: MessageEvent) => void) | null;
  onerror: ((event: Event) => void) | null;
  onclose: ((event: Event & { code: number; reason: string; wasClean: boolean }) => void) | null;
  send(data: string | ArrayBuffer | ArrayBufferView | Blob): void;
  close(code?: number, reason?: string): void;
  reconnect(): void;
}
