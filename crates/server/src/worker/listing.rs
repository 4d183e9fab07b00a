//! Lists the channels that have subscribers, for dialects whose clients may ask for them.

use offhook_dialects::Listing;
use offhook_engine::{CommandId, ConnectionId, Engine};

use super::{Worker, outboxes::Outboxes};

impl Worker {
    /// Answers with the channels that the session of a connection may subscribe to. The others are
    /// left out, so that a name tells nothing to clients that may not read the channel.
    pub(super) fn list_channels(
        &self,
        engine: &Engine,
        outboxes: &mut Outboxes,
        connection: ConnectionId,
        (id, listing): (CommandId, &Listing),
    ) {
        let limit = usize::try_from(listing.limit).unwrap_or(usize::MAX);
        let broker = &self.shared.broker;
        let found = broker.occupied(&listing.prefix, listing.after.as_deref(), limit);
        let next = (found.len() == limit).then(|| found.last()).flatten();
        let next = next.map(|last| last.channel.as_str().to_owned());
        let channels: Vec<_> = found
            .into_iter()
            .filter(|one| engine.may_subscribe_to(connection, &one.channel))
            .map(|one| {
                // Their number is part of presence.
                let shows = engine.may_see_members(connection, &one.channel);
                (one.channel, shows.then_some(one.members))
            })
            .collect();
        outboxes.say(connection, |dialect, out| {
            dialect.channels(id, &channels, next.as_deref(), out);
        });
    }
}
