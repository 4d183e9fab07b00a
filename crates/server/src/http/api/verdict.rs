//! Why a publication did or did not reach a client: the verdict about one connection, based on the
//! progress of its subscriptions and on its records.

use offhook_engine::{Activity, ChannelName, Position, Progress, SessionId, Target};

use super::time::shown;
use crate::worker::{End, Sighting, What};

/// The verdicts, best first: if a session has several connections, the best one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The client's WebSocket stack has received it, as a pong proves.
    Receipted,
    /// It was sent.
    Delivered,
    /// The session published it itself, and its subscription excludes its own publications.
    Own,
    /// The client was told that it is missing.
    Gapped,
    /// It will be sent: the subscription has not reached it yet.
    Behind,
    /// The subscription is not open yet.
    Opening,
    /// The connection ended before it could be sent.
    Disconnected,
    /// A rule, a grant or the backend does not allow it.
    Denied,
    /// The subscription began after it.
    SubscribedLater,
    /// The subscription had ended.
    Unsubscribed,
    /// The answer is unknown, because the records were discarded.
    Unknown,
    /// There was no subscription.
    NeverSubscribed,
    /// No connection is known.
    NotConnected,
    /// There is no such publication.
    NotPublished,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Receipted => "receipted",
            Self::Delivered => "delivered",
            Self::Own => "own",
            Self::Gapped => "gapped",
            Self::Behind => "behind",
            Self::Opening => "opening",
            Self::Disconnected => "disconnected",
            Self::Denied => "denied",
            Self::SubscribedLater => "subscribed_later",
            Self::Unsubscribed => "unsubscribed",
            Self::Unknown => "unknown",
            Self::NeverSubscribed => "never_subscribed",
            Self::NotConnected => "not_connected",
            Self::NotPublished => "not_published",
        }
    }
}

/// A verdict, as a word and as a sentence.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) kind: Kind,
    pub(super) sentence: String,
    /// How many publications the subscription is behind, if that is known.
    pub(super) behind_by: Option<u64>,
}

impl Verdict {
    pub(super) fn new(kind: Kind, sentence: impl Into<String>) -> Self {
        Self {
            kind,
            sentence: sentence.into(),
            behind_by: None,
        }
    }
}

/// The publication in question.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    pub(super) channel: ChannelName,
    pub(super) position: Position,
    /// Its place in the sequence that filters use, while it is retained.
    pub(super) sequence: Option<u64>,
    pub(super) publisher: Option<SessionId>,
    /// The newest position of the channel.
    pub(super) head: Option<Position>,
    /// When it was published, in milliseconds since 1970, while it is retained.
    pub(super) time_ms: Option<u64>,
}

/// The permission to subscribe to the channel, with the reason in words.
#[derive(Clone, Debug)]
pub(super) struct Permission {
    pub(super) allowed: bool,
    pub(super) because: String,
}

/// Decides the verdict about one connection. If `forgotten` is true, records may be missing.
pub(super) fn judge(
    seen: &Sighting,
    publication: &Publication,
    permission: &Permission,
    forgotten: bool,
) -> Verdict {
    let subscriptions = seen.progress.iter();
    let verdicts = subscriptions.map(|one| of_subscription(seen, one, publication, forgotten));
    let best = verdicts.min_by_key(|verdict| verdict.kind);
    match best {
        Some(verdict) => verdict,
        None => without_subscription(seen, publication, permission, forgotten),
    }
}

fn of_subscription(
    seen: &Sighting,
    one: &Progress,
    publication: &Publication,
    forgotten: bool,
) -> Verdict {
    let by = subscription(one);
    let is_filter = one.subscription.target.channel().is_none();
    if !one.echo && publication.publisher == Some(seen.session) {
        let text = format!("the session published it itself, and {by} excludes its own (echo)");
        return Verdict::new(Kind::Own, text);
    }
    if let Some(verdict) = gap(seen, one, publication) {
        return verdict;
    }
    let place = match is_filter {
        true => publication.sequence,
        false => Some(publication.position.offset),
    };
    let Some(place) = place else {
        let text = format!(
            "{by} covers the channel, but the publication is no longer stored, so that its place \
             in the sequence of filters is unknown"
        );
        return Verdict::new(Kind::Unknown, text);
    };
    if place <= one.began_after {
        let text = format!(
            "{by} began after it; a client that wants earlier publications subscribes with since"
        );
        return Verdict::new(Kind::SubscribedLater, text);
    }
    if !one.may_read {
        let text = format!("{by} skips the channel: the session may not read it");
        return Verdict::new(Kind::Denied, text);
    }
    let Some(to) = one.handed_out else {
        return not_open(seen, one.activity, &by);
    };
    if one.shared {
        let text = format!(
            "{by} belongs to a group in which each publication goes to one member; it is not \
             recorded which member received this one"
        );
        return Verdict::new(Kind::Unknown, text);
    }
    if to.offset < place {
        return not_yet(seen, one, publication, to, &by);
    }
    let is_after_gaps = place > one.whole_after;
    if is_after_gaps && one.received >= place {
        let text = format!("{by} delivered it, and the client's answer to a ping proves receipt");
        return Verdict::new(Kind::Receipted, text);
    }
    if !is_after_gaps && (forgotten || seen.recorded.dropped > 0) {
        let text = format!(
            "{by} had a gap after it, and the records of that time were discarded: whether it \
             was delivered or was part of the gap is unknown"
        );
        return Verdict::new(Kind::Unknown, text);
    }
    Verdict::new(Kind::Delivered, delivered(seen, &by))
}

fn delivered(seen: &Sighting, by: &str) -> String {
    if let Some((at_ms, end)) = &seen.ended {
        return format!(
            "{by} delivered it before the connection ended ({}) at {}; nothing proves that it \
             arrived, and a client that resumes with an older position gets it again",
            ended(end),
            shown(*at_ms)
        );
    }
    match seen.unsent {
        0 => format!("{by} delivered it, but receipt is not proven yet; a ping has been sent"),
        bytes => format!(
            "{by} delivered it, but {bytes} bytes of the connection are unsent: its client reads \
             slowly, or not at all"
        ),
    }
}

fn not_open(seen: &Sighting, activity: Activity, by: &str) -> Verdict {
    if let Some((at_ms, end)) = &seen.ended {
        let text = format!(
            "the connection ended ({}) at {}, before {by} began",
            ended(end),
            shown(*at_ms)
        );
        return Verdict::new(Kind::Disconnected, text);
    }
    let text = match activity {
        Activity::Asked => format!("{by} waits for the backend, which has not allowed it yet"),
        Activity::Opening => format!("{by} is being opened"),
        Activity::Live
        | Activity::Reading
        | Activity::AwaitsRoom
        | Activity::AwaitsAcknowledgement
        | Activity::AwaitsTurn => {
            format!("{by} is receiving the channel's state, which is sent first")
        }
    };
    Verdict::new(Kind::Opening, text)
}

/// The verdict if the subscription has not reached the publication.
fn not_yet(
    seen: &Sighting,
    one: &Progress,
    publication: &Publication,
    to: Position,
    by: &str,
) -> Verdict {
    if let Some((at_ms, end)) = &seen.ended {
        let when = match publication.time_ms {
            Some(time_ms) if time_ms >= *at_ms => "before it was published",
            Some(_) | None => "before it was sent",
        };
        let text = format!(
            "the connection ended ({}) at {}, {when}; {by} had reached {to}",
            ended(end),
            shown(*at_ms)
        );
        return Verdict::new(Kind::Disconnected, text);
    }
    if one.activity == Activity::Live {
        let text = format!(
            "{by} is live and has reached {to}: nothing newer was published, or it is on its way"
        );
        return Verdict::new(Kind::NotPublished, text);
    }
    let is_filter = one.subscription.target.channel().is_none();
    let head = publication.head.filter(|_| !is_filter);
    let by_count = head.map(|head| head.offset.saturating_sub(to.offset));
    let behind = match by_count {
        Some(count) => format!("{by} is {count} publications behind, at {to}"),
        None => format!("{by} is behind, at {to}"),
    };
    let why = match one.activity {
        Activity::AwaitsRoom => format!(
            "it continues when the client has read more ({} bytes are unsent)",
            seen.unsent
        ),
        Activity::AwaitsAcknowledgement => {
            "its window is used up: it continues when the client acknowledges".to_owned()
        }
        Activity::AwaitsTurn => {
            "it shares the publications with others: each goes to one of them".to_owned()
        }
        Activity::Asked | Activity::Opening | Activity::Live | Activity::Reading => {
            "it is reading the history".to_owned()
        }
    };
    Verdict {
        behind_by: by_count,
        ..Verdict::new(Kind::Behind, format!("{behind}; {why}"))
    }
}

/// The gap that was reported to the client, if the publication is in one.
fn gap(seen: &Sighting, one: &Progress, publication: &Publication) -> Option<Verdict> {
    let mut decisions = seen.recorded.decisions.iter().rev();
    let (entry, reason, from, to) = decisions.find_map(|entry| {
        let What::Gap {
            subscription,
            channel,
            from,
            to,
            reason,
        } = &entry.what
        else {
            return None;
        };
        let of_channel = channel.is_some() || subscription.target.channel().is_some();
        let place = match of_channel {
            true => publication.position.offset,
            false => publication.sequence?,
        };
        let is_in = from.offset < place && place <= to.offset;
        (*subscription == one.subscription && is_in).then_some((entry, *reason, *from, *to))
    })?;
    let because = match reason {
        "dropped" => {
            "the connection was too slow, and the channel keeps no history to read it from"
        }
        "conflated" => {
            "the connection was too slow, and only the newest publication of each tag `key` was sent"
        }
        "state" => "the values of the channel's state replaced it",
        "evicted_by_size" | "evicted_by_age" => "it was no longer in the history",
        "damaged" => "it is damaged on the server's disk",
        "diverged" | "unknown_position" => "the log was restored from an older copy, or lost it",
        "epoch_changed" | "restarted" => "the server was restarted, and it was not on disk",
        "permissions" => "the client was not allowed to read it",
        other => other,
    };
    let by = subscription(one);
    let text = format!(
        "{by} announced it as missing at {}: gap {reason} from {from} to {to}; {because}",
        shown(entry.at_ms)
    );
    Some(Verdict::new(Kind::Gapped, text))
}

fn without_subscription(
    seen: &Sighting,
    publication: &Publication,
    permission: &Permission,
    forgotten: bool,
) -> Verdict {
    let mut decisions = seen.recorded.decisions.iter().rev();
    let told = decisions.find_map(|entry| match &entry.what {
        What::Unsubscribed { subscription, why } => {
            let when = shown(entry.at_ms);
            Some(match why {
                Some(why) => Verdict::new(
                    Kind::Denied,
                    format!(
                        "the server ended the subscription to {} at {when}: {}: {}",
                        subscription.target, why.code, why.detail
                    ),
                ),
                None => unsubscribed(entry.at_ms, &subscription.target, publication),
            })
        }
        What::Refused {
            verb: "subscribe",
            why,
            ..
        } => Some(Verdict::new(
            Kind::Denied,
            format!(
                "the subscription was refused at {}: {}: {}; {}",
                shown(entry.at_ms),
                why.code,
                why.detail,
                permission.because
            ),
        )),
        What::Refused { .. }
        | What::Subscribed { .. }
        | What::Gap { .. }
        | What::Behind { .. }
        | What::Live { .. }
        | What::Reconnect { .. }
        | What::Closing { .. }
        | What::Published { .. }
        | What::Called { .. } => None,
    });
    if let Some(verdict) = told {
        return verdict;
    }
    if forgotten || seen.recorded.dropped > 0 {
        let text = "it has no subscription now; the records of earlier ones were discarded";
        return Verdict::new(Kind::Unknown, text);
    }
    if seen.has_more && seen.ended.is_some() {
        let text = "the connection had more subscriptions than are remembered after its end";
        return Verdict::new(Kind::Unknown, text);
    }
    let may = match permission.allowed {
        true => "it may",
        false => "it may not",
    };
    let text = format!(
        "it never subscribed to the channel on this connection; {may}: {}",
        permission.because
    );
    Verdict::new(Kind::NeverSubscribed, text)
}

fn unsubscribed(at_ms: u64, target: &Target, publication: &Publication) -> Verdict {
    let when = shown(at_ms);
    let more = match publication.time_ms {
        Some(time_ms) if time_ms < at_ms => {
            "after this was published; the last position that it delivered is not recorded"
        }
        Some(_) => "before this was published",
        None => "and the last position that it delivered is not recorded",
    };
    let text = format!("the client ended the subscription to {target} at {when}, {more}");
    Verdict::new(Kind::Unsubscribed, text)
}

fn subscription(one: &Progress) -> String {
    match (&one.subscription.id, &one.subscription.target) {
        (Some(_), _) => one.subscription.to_string(),
        (None, Target::Channel(_)) => "its subscription".to_owned(),
        (None, Target::Filter(filter)) => format!("its subscription to filter {filter}"),
    }
}

/// Describes in a few words how a connection ended.
pub(super) fn ended(end: &End) -> String {
    let words = |what: &str, code: Option<u16>, reason: &str| match (code, reason) {
        (None, _) => what.to_owned(),
        (Some(1006), _) => format!("{what}, without a close frame"),
        (Some(code), "") => format!("{what}, {code}"),
        (Some(code), reason) => format!("{what}, {code} {reason}"),
    };
    match end {
        End::Closed(reason) => format!("closed by the server: {reason}"),
        End::Left(last) => words("the client left", last.code, &last.reason),
        End::Lost(last) => words("lost", last.code, &last.reason),
    }
}
