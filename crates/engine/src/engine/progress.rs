//! The progress of subscriptions, to explain why a publication was not delivered. Nothing is
//! recorded for this purpose: the state of the subscriptions is sufficient.

use crate::{
    channel_name::ChannelName,
    delivery::ConnectionId,
    progress::{Activity, Progress},
    slab::Slot,
    subscription::Target,
};

use super::{
    Engine,
    state::{State, Waits},
};

/// When the engine closes a connection, how many of its subscriptions are remembered until it is
/// removed. 65: more than most sessions have, in 8 KiB, and one more than the server's recorder keeps,
/// so that it can tell whether there were more.
const AT_THE_END: usize = 65;

impl Engine {
    /// The progress of the subscriptions of a connection, of at most `limit`. While a connection is
    /// being closed, this is the progress at the time when closing began.
    #[must_use]
    pub fn progress(&self, connection: ConnectionId, limit: usize) -> Vec<Progress> {
        let Some(c) = self.connections.get(connection.into()) else {
            return Vec::new();
        };
        if c.closing {
            let last = c.extra.as_ref().map(|extra| extra.last.as_slice());
            return last
                .unwrap_or_default()
                .iter()
                .take(limit)
                .cloned()
                .collect();
        }
        let slots = c.subscriptions.as_slice().iter();
        let all = slots.filter_map(|slot| self.progress_of(*slot, None));
        all.take(limit).collect()
    }

    /// The progress of those subscriptions that deliver the publications of a channel.
    #[must_use]
    pub fn progress_in(&self, connection: ConnectionId, channel: &ChannelName) -> Vec<Progress> {
        let Some(c) = self.connections.get(connection.into()) else {
            return Vec::new();
        };
        if c.closing {
            let mut last = self.progress(connection, AT_THE_END);
            last.retain(|one| covers(&one.subscription.target, channel));
            return last;
        }
        let slots = c.subscriptions.as_slice().iter();
        let all = slots.filter_map(|slot| self.progress_of(*slot, Some(channel)));
        all.collect()
    }

    /// The number of subscriptions of a connection.
    #[must_use]
    pub fn subscriptions_on(&self, connection: ConnectionId) -> usize {
        let connection = self.connections.get(connection.into());
        connection.map_or(0, |c| c.subscriptions.len())
    }

    /// Sends a ping whose pong proves what the client has received, unless such a ping is already
    /// under way.
    pub fn ask_receipt(&mut self, connection: ConnectionId) {
        self.ask_for_receipt(connection);
    }

    /// Remembers the progress of a connection that is about to be closed.
    pub(super) fn remember_progress(&mut self, connection: ConnectionId) {
        let last = self.progress(connection, AT_THE_END);
        if let Some(c) = self.connections.get_mut(connection.into())
            && !last.is_empty()
        {
            c.extra().last = last;
        }
    }

    /// Returns `None` if the subscription does not deliver the channel's publications, or has
    /// ended.
    fn progress_of(&self, slot: Slot, channel: Option<&ChannelName>) -> Option<Progress> {
        let s = self.subscriptions.get(slot)?;
        let f = self.feeds.known(s.feed)?;
        if channel.is_some_and(|channel| !covers(&f.target, channel)) {
            return None;
        }
        let (activity, handed_out) = match &s.state {
            State::Opening(opening) => match opening.asked {
                Some(_) => (Activity::Asked, None),
                None => (Activity::Opening, None),
            },
            State::Live { .. } => (Activity::Live, self.handed_out(slot)),
            State::Behind(behind) => {
                let activity = match behind.waits {
                    Waits::Room => Activity::AwaitsRoom,
                    Waits::Done => Activity::AwaitsAcknowledgement,
                    Waits::Share => Activity::AwaitsTurn,
                    Waits::Nothing | Waits::Turn | Waits::Read | Waits::Stream => Activity::Reading,
                };
                // A gap that has not been announced begins here, and values of the channel's state
                // are not part of the stream.
                let at = behind.gap.map_or(behind.cursor, |gap| gap.from);
                (activity, (!behind.is_given_state()).then_some(at))
            }
            State::Ended => return None,
        };
        let is_filter = f.target.channel().is_none();
        let may_read = channel.is_none_or(|channel| !is_filter || self.may_see(s, channel));
        Some(Progress {
            subscription: self.name_of(slot)?,
            activity,
            began_after: s.began_after,
            whole_after: s.marks().after,
            handed_out,
            received: s.marks().received,
            echo: s.echo,
            shared: s.shared.is_some(),
            may_read,
        })
    }
}

fn covers(target: &Target, channel: &ChannelName) -> bool {
    match target {
        Target::Channel(own) => own == channel,
        Target::Filter(filter) => filter.matches(channel),
    }
}
