// React hooks for the client. Each accepts `undefined` for a client that does not exist yet, as on a server.

import { useEffect, useRef, useState, useSyncExternalStore } from 'react';

import { connect } from './client.js';

const NOTHING = [];

/** A client for as long as the component is mounted; `undefined` on a server and before the first effect. */
export function useClient(url, options) {
  const [client, setClient] = useState();
  const latest = useRef(options);
  latest.current = options;
  useEffect(() => {
    const made = connect(url, latest.current);
    setClient(made);
    return () => {
      setClient(undefined);
      made.close();
    };
  }, [url]);
  return client;
}

/** The state of the connection: `{ name: 'open', … }`. */
export function useConnection(client) {
  const state = () => client?.state ?? CONNECTING;
  return useSyncExternalStore((changed) => client?.on('state', changed) ?? (() => {}), state, () => CONNECTING);
}

const CONNECTING = { name: 'connecting', attempt: 1 };

/**
 * Subscribes to a channel while the component is mounted. Gives its `state`, the newest `messages` and `gaps` in order (at most
 * `keep`), and with `presence` the `members`.
 */
export function useChannel(client, channel, { since, presence, echo, keep = 100 } = {}) {
  const [seen, setSeen] = useState({});
  const from = JSON.stringify(since);
  useEffect(() => {
    if (!client || client.state.name === 'closed') return undefined;
    const subscription = client.subscribe(channel, { since: from && JSON.parse(from), presence, echo });
    let [messages, members] = [NOTHING, NOTHING];
    // An answer may come after the cleanup, when another subscription is shown.
    let isOver = false;
    const show = () => isOver || setSeen({ state: subscription.state, messages, members });
    const add = (event) => {
      messages = [...messages, event].slice(-keep);
      show();
    };
    const setMembers = (change) => {
      members = change;
      show();
    };
    const without = ({ session }) => members.filter((member) => member.session !== session);
    const askForMembers = () => presence && client.presence(channel).then((answer) => setMembers(answer.members), () => {});
    const listeners = {
      message: add,
      gap: add,
      live: show,
      catching_up: show,
      ended: show,
      subscribed: () => {
        show();
        askForMembers();
      },
      members: (event) => setMembers(event.members),
      join: (member) => setMembers([...without(member), member]),
      leave: (member) => setMembers(without(member)),
    };
    for (const [type, listener] of Object.entries(listeners)) subscription.on(type, listener);
    show();
    return () => {
      isOver = true;
      subscription.unsubscribe();
    };
  }, [client, channel, from, presence, echo, keep]);
  return { state: seen.state ?? 'waiting', messages: seen.messages ?? NOTHING, members: seen.members ?? NOTHING };
}
