//! The refusals that a client may receive, and the correct gaps.

use offhook_engine::*;

use super::{broker::ModelBroker, client::Client};

impl Client {
    /// Where every refusal needs a reason, checks that there was this reason.
    pub(crate) fn legitimate(
        &self,
        id: Option<CommandId>,
        command: Option<Command>,
        refusal: &Refusal,
        broker: &ModelBroker,
    ) -> Option<Command> {
        if !broker.strict {
            return command;
        }
        let failed = broker.failures > 0 && refusal.code == ErrorCode::StorageFull;
        let asked = |target: &str| {
            let said_no = matches!(refusal.code, ErrorCode::Forbidden | ErrorCode::TimedOut);
            said_no && target.starts_with("asked/")
        };
        let fits = match &command {
            Some(Command::Subscribe(wish)) => {
                let key = wish.name().key();
                let by = id.map(|id| id.0);
                let still = self.subscriptions.get(&key).is_some_and(|s| s.by == by);
                let left = refusal.code == ErrorCode::NotSubscribed && !still;
                failed || left || asked(wish.target.as_str())
            }
            Some(Command::Publish { channel, .. }) => {
                let later = matches!(refusal.code, ErrorCode::Busy | ErrorCode::RateLimited);
                let full = broker.not_accepted > 0 && later;
                failed || full || asked(channel.as_str())
            }
            Some(Command::Unsubscribe { .. } | Command::Done { .. }) => {
                refusal.code == ErrorCode::NotSubscribed && self.may_have_ended
            }
            Some(Command::Receipts { channel, .. }) => {
                // The position may belong to a stream that ended before the broker handled it.
                let unheard = matches!(refusal.code, ErrorCode::Busy | ErrorCode::BadRequest);
                failed || unheard || asked(channel.as_str())
            }
            _ => failed,
        };
        assert!(fits, "{command:?} was refused without reason: {refusal}");
        command
    }
}

/// A gap is correct only when the publications really are lost.
pub(crate) fn check_gap(
    channel: &ChannelName,
    from: Position,
    to: Position,
    reason: GapReason,
    broker: &ModelBroker,
) {
    let stream = &broker.streams[channel];
    let kept = ["kept/", "asked/"];
    let history = kept.iter().any(|kept| channel.as_str().starts_with(kept));
    match reason {
        GapReason::EpochChanged => assert_ne!(from.epoch, to.epoch),
        GapReason::Diverged => {
            assert_ne!(
                stream.at(from.offset),
                from,
                "diverged although it is there"
            );
        }
        GapReason::EvictedBySize if history => {
            let trimmed = to.epoch.0 != stream.epoch || stream.first > from.offset + 1;
            assert!(trimmed, "a gap although everything is retained");
        }
        GapReason::EvictedBySize => assert!(to.offset > from.offset),
        GapReason::Dropped => assert!(!history && to.offset > from.offset),
        GapReason::Conflated => {
            assert!(channel.as_str().starts_with("price/") && to.offset > from.offset);
        }
        GapReason::State => assert!(channel.as_str().starts_with("state/")),
        GapReason::Restarted => panic!("only filters are told of restarts"),
        GapReason::Permissions => panic!("only filters are told of permissions"),
        GapReason::EvictedByAge | GapReason::Damaged | GapReason::UnknownPosition => {}
    }
}

/// The values that were given are the state as of the position that they stand for.
pub(crate) fn check_state(
    channel: &ChannelName,
    to: Position,
    values: &[Position],
    broker: &ModelBroker,
) {
    let stream = &broker.streams[channel];
    if stream.at(to.offset) != to {
        // Of an epoch that is lost.
        return;
    }
    let state = stream.state_at(to.offset);
    let state: Vec<Position> = state.iter().map(|value| value.position).collect();
    assert_eq!(values, state, "the state of {channel} up to {to}");
}
