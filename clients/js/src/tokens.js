// Subscription tokens: fetched for each `subscribe` that is sent. Loaded only when a subscription has one.

/**
 * Fetches the token of a subscription and sends the `subscribe` with it, unless it is no longer wanted then.
 * @param send called with the token
 * @param refuse called with an error like one of the server
 */
export async function ask(subscription, send, refuse) {
  const { token, channel } = subscription;
  // A fetch that began on an earlier connection is ignored.
  const turn = (subscription.turn = {});
  const isWanted = () => subscription.turn === turn && subscription.phase === 'waiting';
  try {
    const fetched = await (typeof token === 'function' ? token(channel) : token);
    if (!isWanted()) return;
    if (fetched) send(fetched);
    else refuse({ code: 'unauthenticated', message: `there is no token for ${channel}`, retry: 'never' });
  } catch (error) {
    const message = `no token for ${channel}: ${error?.message ?? error}`;
    if (isWanted()) refuse({ code: 'unauthenticated', message, retry: 'later' });
  }
}
