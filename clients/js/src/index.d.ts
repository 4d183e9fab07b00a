// Needs neither the DOM's types nor Node's: what the client uses of them is declared here structurally.

/** Any JSON value. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

/** The data of a publication. Bytes are sent as base64. */
export type Data = Json | ArrayBuffer | ArrayBufferView;

/** A place in a channel's stream. Opaque: keep it, pass it back, compare it for equality only. */
export type Position = string;

/** Where a subscription begins. `state`: with the newest message of each value of the tag `key`, in a channel that keeps state. */
export type Since = 'now' | 'start' | 'state' | { last: number } | Position;

/** The interface of `sessionStorage` and `localStorage`. */
export interface Storage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** Made by `persist`. */
export type Store = { readonly __store: never };

/**
 * Keeps positions and the session over a reload of the page: `connect('/ws', { store: persist(sessionStorage) })`. With `unsent`,
 * publications without an answer are kept too.
 */
export function persist(storage: Storage, options?: { unsent?: boolean }): Store;

/** A `URL`, or anything else that becomes an address as a string. */
type Address = string | { readonly href: string };
type Url = Address | (() => Address | Promise<Address>);

/** A class with the constructor of WebSocket, such as that of the package `ws`. */
type WebSocketClass = new (url: string, protocols?: string | string[]) => {
  binaryType: string;
  send(data: any): void;
  close(code?: number, reason?: string): void;
};

export interface Backoff {
  /** The bound of the first wait in milliseconds. Default 500. */
  first?: number;
  /** The bound doubles up to this. Default 10,000. */
  cap?: number;
  /** A connection that was open for this long resets the bound. Default 5,000. */
  stable?: number;
}

export interface Heartbeat {
  /** Ask after this much silence, in milliseconds. Default 25,000. */
  every?: number;
  /** Without an answer for this long the connection is dead. Default 10,000. */
  within?: number;
  /** The same after sleep or a change of the network. Default 4,000. */
  withinAfterWaking?: number;
}

export interface Options {
  /** The token for the server's authentication. A function is called for each connection. */
  token?: string | (() => string | Promise<string>);
  /** What other members see of this session, unless authentication says it. */
  info?: Json;
  /** `persist(sessionStorage)` keeps positions and the session over a reload of the page. */
  store?: Store;
  /** The prefix of the keys in the store. Default `offhook:` and the address. */
  name?: string;
  backoff?: Backoff;
  heartbeat?: Heartbeat;
  /** Limits of unanswered publications. Default: 1,000 with 1 MiB together, 32 of them sent, each for at most 50 minutes. */
  outbox?: { count?: number; size?: number; inFlight?: number; giveUpAfter?: number };
  /** The limit for opening a socket in milliseconds. Default 10,000. */
  openWithin?: number;
  /** The limit for an answer (history, presence, receipts, …) in milliseconds. Default 20,000. */
  answerWithin?: number;
  /** The allowed transports. Default: all but `webtransport`. If WebSockets do not get through, the client falls back to server-sent
   * events with requests (`sse`), then to long-polling, and returns to a better transport when one works. If `webtransport` is among
   * them, it is tried first; `{ webtransport: {…} }` gives it the options of the browser's `WebTransport`, such as
   * `serverCertificateHashes` for a certificate that no authority has signed.
   */
  transports?: readonly (Transport | { webtransport: object })[];
  /** For Node before 22, which has no WebSocket: the one of the package `ws`. */
  WebSocket?: WebSocketClass;
}

export type Transport = 'webtransport' | 'websocket' | 'sse' | 'polling';

export interface Message<T = any> {
  type: 'message';
  channel: string;
  position: Position;
  /** The position of the message before, where it is not one offset less in the same epoch. */
  previous?: Position;
  /** The number of the subscription, if it has one. */
  subscription?: number;
  /** For a filter: the position of the subscription after this message. */
  at?: Position;
  /** A value of the channel's state rather than a message of the stream. */
  state?: true;
  /** In acknowledged flow: how often it was delivered before; missing the first time. */
  redelivered?: number;
  /** JSON as it was published, or a `Uint8Array`. */
  data: T;
  /** The publisher; missing when the server published. An anonymous session has no `user`. */
  user?: string;
  session?: string;
  key?: string;
  tags?: Record<string, string>;
  /** Milliseconds since 1970, on the server's clock. */
  time: number;
}

/** With `echo: false`: this session's own message, without its data. */
export interface Own { type: 'own'; channel: string; position: Position; at?: Position }

/**
 * The messages after `from`, up to and including `to`, do not come. A filter has gaps of one of its channels, and gaps as a whole,
 * which name no channel and whose positions are the filter's.
 */
export interface Gap {
  type: 'gap';
  channel: string;
  filter?: string;
  subscription?: number;
  from: Position;
  to: Position;
  reason:
    | 'epoch_changed' | 'evicted_by_size' | 'evicted_by_age' | 'damaged' | 'unknown_position' | 'dropped' | 'conflated' | 'diverged' | 'state'
    /** Only of a filter as a whole: the server was restarted, and channels without history may have lost messages. All others follow. */
    | 'restarted'
    /** Only of a filter as a whole: it may read channels that it could not read before, and their messages until now are missing. */
    | 'permissions'
    /** The client's own: a hole that the server did not announce. */
    | 'unannounced';
  /** With `diverged`: messages after this position that came before are no longer part of the stream. */
  agreed?: Position;
}

export interface Member {
  session: string;
  user?: string;
  info?: any;
}

/** A filter's events have a `filter` instead of a `channel`. */
interface OfSubscription { channel: string; filter?: string; subscription?: number; position: Position }
/** On each connection. `live`: nothing is missing. `resumed`: the server restored the subscription with the session. */
export interface Subscribed extends OfSubscription { type: 'subscribed'; live: boolean; resumed: boolean }
/** Everything that was missing has come. */
export interface Live extends OfSubscription { type: 'live' }
/** This connection reads too slowly and gets what it missed from the channel's history. */
export interface CatchingUp extends OfSubscription { type: 'catching_up' }
/** A member came, or one that is there already replaced its `info`. */
export interface Join extends Member { type: 'join'; channel: string }
export interface Leave extends Member { type: 'leave'; channel: string }
/** Comes unasked after joins and leaves were left out. Replaces what was known. */
export interface Members { type: 'members'; channel: string; members: Member[]; total: number }
/** With an `error` if the server ended it. Only for listeners: a loop ends, or throws the error. */
export interface Ended { type: 'ended'; channel: string; error?: OffhookError }

export type ChannelEvent<T = any> = Subscribed | Message<T> | Own | Live | CatchingUp | Gap | Join | Leave | Members;
type ListenedEvent<T> = ChannelEvent<T> | Ended;
type EventOf<T, Type> = Extract<ListenedEvent<T>, { type: Type }>;

/** Read it with listeners, added in the same task as `subscribe`, or with one `for await`. */
export interface Subscription<T = any> extends AsyncIterable<ChannelEvent<T>> {
  /** Missing for a filter. */
  readonly channel: string;
  readonly filter?: string;
  readonly state: 'waiting' | 'catching_up' | 'live' | 'paused' | 'ended';
  /** The position of the last message that was handled; with a `window`, the one up to which everything is done. */
  readonly position?: Position;
  /** Returns a function that removes the listener. */
  on<Type extends ListenedEvent<T>['type']>(type: Type, listener: (event: EventOf<T, Type>) => void): () => void;
  off<Type extends ListenedEvent<T>['type']>(type: Type, listener: (event: EventOf<T, Type>) => void): void;
  /** With a `window`: the reader is done with this message, or with `cumulative` all up to it. The server then sends more. */
  done(message: { readonly position: Position; readonly at?: Position }, options?: { cumulative?: boolean }): void;
  unsubscribe(): void;
}

export type State =
  | { name: 'connecting'; attempt: number }
  /** `resumed`: with the session of the previous connection. */
  | { name: 'open'; resumed: boolean }
  /** `offline`: the browser reports no network. The next attempt is made at `retryAt` all the same. */
  | { name: 'waiting' | 'offline'; retryAt: number; attempt: number; end?: { code: number; reason: string } }
  /** For good. Without an `error` after `close()`, or when the server closed with 1000. */
  | { name: 'closed'; error?: OffhookError };

export interface Published { position: Position; duplicate: boolean }
export interface Unsent { channel: string; data: any; key: string; tags?: Record<string, string>; tried: boolean }
/** `more`: with `before`, the channel keeps older messages. */
export interface History { head: Position; gap?: Gap['reason']; more?: boolean; messages: Omit<Message, 'type' | 'channel'>[] }
/** `sessions` names some of those that have the message, where the channel keeps presence. */
export interface Receipts { position: Position; received: number; subscribers: number; sessions: string[] }

export interface ClientEvents {
  state: State;
  /** A publication was stored, also one from before a reload. */
  published: Published & { channel: string; key: string; data: any; tags?: Record<string, string> };
  refused: { channel: string; key: string; data: any; tags?: Record<string, string>; error: OffhookError };
  latency: number;
  /** A message on the wire: `text`, or `bytes` if it is binary. */
  frame: { direction: 'in' | 'out'; text?: string; bytes?: ArrayBuffer | Uint8Array };
  /** The server's backend has subscribed this session. Read it from within the listener; unread, its messages are ignored. */
  subscribed: Subscription;
  /** Data that the server's backend sent to this session alone. */
  told: any;
  /** A problem that does not end the client: a full store, an unreadable message, or, with the code `unreachable`, why no socket opens. */
  warning: Error;
}

export interface SubscribeOptions {
  /** Default `now`. */
  since?: Since;
  /** Joins and leaves, too. */
  presence?: boolean;
  /** `false`: own messages come as `own`, without data. */
  echo?: boolean;
  /**
   * A subscription token, which permits this one channel. A function is called with the channel whenever a token is needed: for each
   * request, and again when the token has expired. Without a result the subscription ends; if it fails, it is called again later.
   */
  token?: string | ((channel: string) => string | undefined | Promise<string | undefined>);
  /** Acknowledged flow: at most so many messages (1 to 1,024) before `done`. The channel has to keep history. */
  window?: number;
}

export interface Client {
  readonly state: State;
  /** The name that other members see. */
  readonly session?: string;
  readonly user?: string;
  /** The transport in use; set once the client is open. */
  readonly transport?: Transport;
  /** The round trip of the last ping in milliseconds. */
  readonly latency?: number;
  /** Publications without an answer, oldest first. */
  readonly unsent: Unsent[];
  on<Type extends keyof ClientEvents>(type: Type, listener: (event: ClientEvents[Type]) => void): () => void;
  off<Type extends keyof ClientEvents>(type: Type, listener: (event: ClientEvents[Type]) => void): void;
  /** Begins at `since`, or after the position in the store. */
  subscribe<T = any>(channel: string, options?: SubscribeOptions): Subscription<T>;
  /** All channels that match: `+` stands for one part between slashes, `#` at the end for all further parts. */
  subscribe<T = any>(filter: { filter: string }, options?: SubscribeOptions): Subscription<T>;
  /** Each of several channels, requested with one message. */
  subscribe<T = any>(channels: readonly string[], options?: SubscribeOptions): Subscription<T>[];
  /**
   * Resolves once the server has stored it, over as many connections as that takes. Each channel has one publication in flight,
   * which keeps them in order, except `unordered` ones. `queue: false`: sent now and once, or rejected.
   */
  publish(
    channel: string,
    data: Data,
    options?: { key?: string; tags?: Record<string, string>; queue?: boolean; unordered?: boolean },
  ): Promise<Published>;
  /** Reads once: the newest messages, those after `since`, or the newest of those before `before`, oldest first. */
  history(channel: string, options?: { since?: Exclude<Since, 'state'>; before?: Position; limit?: number }): Promise<History>;
  /** Reads a channel's state once: the newest message of each value of the tag `key`. */
  readState(channel: string, options?: { since?: Position; limit?: number }): Promise<History>;
  presence(channel: string): Promise<{ members: Member[]; total: number }>;
  /** Replaces what other members see of this session. */
  setInfo(info: Json): Promise<void>;
  /** How many WebSockets have everything up to `position`. Asking may make the server find out: ask again a moment later. */
  receipts(channel: string, position: Position): Promise<Receipts>;
  /** Stores on the server that a consumer has done everything up to `position`. Returns what the server has stored. */
  ack(channel: string, consumer: string, position?: Position): Promise<Position | undefined>;
  /**
   * Calls the server's backend, once. If the connection is lost before the answer, it rejects with `offline`: call again with
   * the same `key`, by which the backend recognizes a repetition. Default deadline 10,000 ms.
   */
  call<T = any>(method: string, data?: Data, options?: { deadline?: number; key?: string }): Promise<T>;
  /** The next subscription begins at its `since`, not at the position in the store. */
  forget(target: string | { filter: string }): void;
  /** Ends a wait; checks that an open connection is still alive. */
  reconnect(): void;
  /** Closes for good and ends the session. */
  close(): void;
}

/** Opens a connection and keeps it open. In a page the address may be relative: `/ws`. */
export function connect(url: Url, options?: Options): Client;

export class OffhookError extends Error {
  /** One of the protocol's, or `closed`, `offline`, `queue_full`, `too_large`, `timed_out`, `replaced`, `bad_message`. */
  readonly code: string;
  readonly retry: 'never' | 'later' | 'reconnect';
  /** Milliseconds. */
  readonly retryAfter?: number;
  /** The error of the server's backend, if it is the one that refused. */
  readonly backend?: { readonly code: string; readonly message: string; readonly data?: Json };
}

export interface RawOptions {
  backoff?: Backoff;
  openWithin?: number;
  /** Bytes queued while there is no connection. Default 1 MiB. */
  maxQueuedBytes?: number;
  /** Without it, a dead connection is noticed when the system notices. The server has to answer `message` with any message. */
  heartbeat?: Heartbeat & { message: string };
  WebSocket?: WebSocketClass;
}

/** What its listeners need of an `Event`. */
interface SocketEvent { readonly type: string }
interface SocketEvents {
  open: SocketEvent;
  message: SocketEvent & { readonly data: any };
  error: SocketEvent;
  close: SocketEvent & { readonly code: number; readonly reason: string; readonly wasClean: boolean };
  waiting: SocketEvent & { readonly retryAt: number; readonly attempt: number };
}
type SocketListener<E> = ((event: E) => void) | { handleEvent(event: E): void };

/**
 * A WebSocket that reconnects, for servers that do not speak Offhook's protocol. `readyState` is CONNECTING while there is no
 * connection. `close` fires with each loss, then `waiting` (with `retryAt`), then `open`. An `EventTarget`.
 */
export class ReconnectingWebSocket {
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
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  /** `data`: text, bytes, or a `Blob`. */
  send(data: string | ArrayBufferLike | ArrayBufferView | { readonly size: number; readonly type: string }): void;
  close(code?: number, reason?: string): void;
  reconnect(): void;
  addEventListener<Type extends keyof SocketEvents>(type: Type, listener: SocketListener<SocketEvents[Type]> | null, options?: any): void;
  addEventListener(type: string, listener: SocketListener<any> | null, options?: any): void;
  removeEventListener(type: string, listener: SocketListener<any> | null, options?: any): void;
  dispatchEvent(event: any): boolean;
}
