import type { Client, Gap, Member, Message, Options, Since, State, Subscription } from './index.js';

/** A client for as long as the component is mounted; `undefined` on a server and before the first effect. */
export function useClient(url: string, options?: Options): Client | undefined;

/** The state of the connection. */
export function useConnection(client: Client | undefined): State;

export interface ChannelOptions {
  since?: Since;
  presence?: boolean;
  echo?: boolean;
  /** Messages and gaps that are kept. Default 100. */
  keep?: number;
}

/** Subscribes to a channel while the component is mounted. */
export function useChannel<T = any>(client: Client | undefined, channel: string, options?: ChannelOptions): {
  state: Subscription['state'];
  /** In order, the newest last. */
  messages: (Message<T> | Gap)[];
  /** With `presence`. */
  members: Member[];
};
