//! Server-sent events: a stream of channels for `curl -N` and for a browser's own `EventSource`,
//! specified in `docs/transports.md`.
//!
//! The client's request contains everything: channels and filters, where each starts, or the id of
//! the last event that it received. After that, only the server sends. The dialect sends a
//! [`Notice`] as a named event and a publication as an unnamed one, which pages get as `message`.
//! The event's id names the positions of all channels of the stream.

mod event;
mod id;

use std::time::{Duration, Instant};

use offhook_engine::{
    CloseReason, Command, CommandId, Notice, Position, PresenceChange, Publication, Refusal, Reply,
    Since, Subscribe, SubscriptionId, SubscriptionKey, Target,
};

use crate::{
    dialect::{
        Connect, Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Shared, Welcome,
    },
    native::{close_code, encode_notice, encode_presence},
};
use event::Event;
pub use event::{Parsed, with_lines};
use id::Ids;
pub use id::LONGEST;

/// The maximum number of channels and filters of one stream. 16: their positions fit into an
/// event's id. A filter counts once, regardless of how many channels it matches.
pub const MAX_TARGETS: usize = 16;

/// The maximum size of the padding after the first event, in bytes. 64 KiB: no known proxy holds
/// back more.
pub const MAX_PADDING: usize = 64 * 1024;

/// What the client of a stream requests.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Channels and filters, each with its start. At least one, at most [`MAX_TARGETS`].
    pub targets: Vec<(Target, Since)>,
    /// Whether joins and leaves are sent.
    pub presence: bool,
    /// The id of the last event that the client received. It takes precedence over the starts.
    pub last_event_id: Option<String>,
    /// How long the client waits before it reconnects; none to leave that to the client.
    pub retry: Option<Duration>,
    /// How often a comment is sent.
    pub heartbeat: Duration,
    /// Bytes of a comment after the first event, for a proxy that holds back the beginning of a
    /// response; at most [`MAX_PADDING`].
    pub padding: usize,
}

/// One stream of events.
#[derive(Debug)]
pub struct Sse {
    wanted: Wanted,
    ids: Ids,
    /// By target: the position up to which the client has everything. None if it starts as
    /// requested.
    positions: Vec<Option<Position>>,
    /// The client's last event id does not belong to these targets.
    is_id_unknown: bool,
    /// Whether anything has been sent.
    has_begun: bool,
    /// The next heartbeat, or the time to close the stream.
    due: Option<Instant>,
    has_ended: bool,
}

impl Sse {
    /// The stream that a client requested.
    #[must_use]
    pub fn new(wanted: Wanted) -> Self {
        let ids = Ids::of(wanted.targets.iter().map(|(target, _)| target));
        let last = wanted.last_event_id.as_deref().map(|id| ids.read(id));
        let is_id_unknown = matches!(last, Some(None));
        let from_id = last.flatten();
        let starts = wanted.targets.iter().map(|(_, since)| match since {
            Since::Position(position) => Some(*position),
            Since::Now | Since::Start | Since::Last(_) | Since::State => None,
        });
        let mut positions: Vec<_> = starts.collect();
        if let Some(known) = from_id {
            for (position, known) in positions.iter_mut().zip(known) {
                *position = known.or(*position);
            }
        }
        Self {
            wanted,
            ids,
            positions,
            is_id_unknown,
            has_begun: false,
            due: None,
            has_ended: false,
        }
    }

    /// Whether there is only one channel. Then all streams of the channel share their events, ids
    /// included.
    fn is_plain(&self) -> bool {
        matches!(&*self.wanted.targets, [(Target::Channel(_), _)])
    }

    fn commands(&self) -> impl Iterator<Item = Intent> {
        let numbered = !self.is_plain();
        let targets = self.wanted.targets.iter().zip(&self.positions);
        targets
            .zip(0_u32..)
            .map(move |(((target, since), position), number)| {
                let wish = Subscribe {
                    target: target.clone(),
                    id: numbered.then_some(SubscriptionId(number)),
                    since: position.map_or(*since, Since::Position),
                    presence: self.wanted.presence,
                    members: false,
                    echo: true,
                    flow: offhook_engine::Flow::Pushed,
                    share: None,
                    face: None,
                };
                Intent::Command {
                    id: CommandId(u64::from(number)),
                    command: Command::Subscribe(wish),
                }
            })
    }

    fn index(&self, key: &SubscriptionKey) -> Option<usize> {
        match key {
            SubscriptionKey::Id(SubscriptionId(number)) => usize::try_from(*number).ok(),
            SubscriptionKey::Target(target) => {
                let mut targets = self.wanted.targets.iter();
                targets.position(|(own, _)| own == target)
            }
        }
    }

    fn reach(&mut self, index: Option<usize>, position: Position) {
        let place = index.and_then(|index| self.positions.get_mut(index));
        if let Some(place) = place {
            *place = Some(position);
        }
    }

    fn id(&self) -> String {
        self.ids.write(&self.positions)
    }

    /// An event whose id is the current position of the stream.
    fn placed(&self, name: &str, json: &str) -> String {
        let event = Event::named(name).data(json);
        event.id(&self.id()).end()
    }

    fn subscribed(&mut self, reply: &Reply, out: &mut Vec<Payload>) {
        let Reply::Subscribed {
            subscription,
            position,
            live,
            ..
        } = reply
        else {
            return;
        };
        let index = self.index(&subscription.key());
        if *live {
            self.reach(index, *position);
        }
        let json = encode_notice(&Notice::Reply {
            id: None,
            reply: reply.clone(),
        });
        let mut text = String::new();
        let first = !std::mem::replace(&mut self.has_begun, true);
        if let Some(retry) = self.wanted.retry.filter(|_| first) {
            text = format!("retry: {}\n", retry.as_millis());
        }
        text.push_str(&self.placed("subscribed", &json));
        if first && self.wanted.padding > 0 {
            text.push_str(&event::padding(self.wanted.padding.min(MAX_PADDING)));
        }
        out.push(text.into());
        if self.is_id_unknown {
            let gap = event::unknown_id(subscription, live.then_some(*position));
            out.push(self.placed("gap", &gap).into());
        }
    }

    fn refuse(&mut self, refusal: &Refusal, id: Option<CommandId>, out: &mut Vec<Payload>) {
        let of = id.and_then(|CommandId(number)| usize::try_from(number).ok());
        let target = of.and_then(|index| self.wanted.targets.get(index));
        let json = event::refused(target.map(|(target, _)| target), refusal);
        out.push(Event::named("refused").data(&json).end().into());
        // A client gets everything that it requested, or the stream ends with the reason.
        self.has_ended = true;
    }

    fn answer(&mut self, id: Option<CommandId>, reply: &Reply, out: &mut Vec<Payload>) {
        match reply {
            Reply::Subscribed { .. } => self.subscribed(reply, out),
            Reply::Refused(refusal) => self.refuse(refusal, id, out),
            Reply::Members { .. } => {
                let json = encode_notice(&Notice::Reply {
                    id: None,
                    reply: reply.clone(),
                });
                out.push(Event::named("members").data(&json).end().into());
            }
            // This dialect sends no other requests.
            Reply::Published { .. }
            | Reply::Unsubscribed { .. }
            | Reply::Done { .. }
            | Reply::InfoUpdated
            | Reply::Called { .. }
            | Reply::History { .. }
            | Reply::State { .. }
            | Reply::Acked { .. }
            | Reply::Receipts { .. }
            | Reply::Values { .. }
            | Reply::Remembered
            | Reply::Pong => {}
        }
    }
}

/// Streams of one channel: the event is the same for all of them.
#[derive(Debug)]
struct OneChannel;

/// Streams of several channels: each event ends with the id of its stream.
#[derive(Debug)]
struct Several;

impl Encoding for OneChannel {
    fn name(&self) -> &'static str {
        "server-sent events of one channel"
    }

    fn publication(&self, publication: &Publication) -> Shared {
        let event = Event::unnamed().data(&event::publication(publication));
        Shared::whole(event.id(&publication.position.to_string()).end())
    }

    fn presence(&self, change: &PresenceChange) -> Option<Shared> {
        Some(presence(change))
    }
}

impl Encoding for Several {
    fn name(&self) -> &'static str {
        "server-sent events of several channels"
    }

    fn publication(&self, publication: &Publication) -> Shared {
        let event = Event::unnamed().data(&event::publication(publication));
        let message = event.end();
        Shared {
            head: message.len().saturating_sub(1),
            ..Shared::whole(message)
        }
    }

    fn has_heads(&self) -> bool {
        true
    }

    fn presence(&self, change: &PresenceChange) -> Option<Shared> {
        Some(presence(change))
    }
}

fn presence(change: &PresenceChange) -> Shared {
    let name = if change.joined { "join" } else { "leave" };
    Shared::whole(Event::named(name).data(&encode_presence(change)).end())
}

impl Dialect for Sse {
    fn encoding(&self, _connect: &Connect) -> &'static dyn Encoding {
        match self.is_plain() {
            true => &OneChannel,
            false => &Several,
        }
    }

    /// The first call is the request, since the client sends nothing afterwards.
    fn receive(&mut self, _incoming: Incoming<'_>, now: Instant, intents: &mut Vec<Intent>) {
        if self.due.is_some() {
            return;
        }
        self.due = now.checked_add(self.wanted.heartbeat);
        intents.push(Intent::Connect(Connect {
            id: CommandId(0),
            token: None,
            resume: None,
            info: bytes::Bytes::new(),
            positions: Vec::new(),
            lineage: true,
            named: None,
        }));
        intents.extend(self.commands());
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn handle_timeout(&mut self, now: Instant, intents: &mut Vec<Intent>) {
        if self.has_ended {
            let (code, reason) = (1000, "the request failed");
            self.due = None;
            return intents.push(Intent::Close { code, reason });
        }
        self.due = now.checked_add(self.wanted.heartbeat);
        intents.push(Intent::Say(event::HEARTBEAT.to_owned().into()));
    }

    fn head(&mut self, recipient: &Recipient, shared: &Shared) -> Head {
        let Payload::Text(text) = &shared.message else {
            return Head::None;
        };
        let Some(position) = event::position(text) else {
            // A join or a leave.
            return Head::None;
        };
        if recipient.state {
            // Until the gap that follows the last value, the stream has no new position.
            return Head::Whole(event::state(text).into());
        }
        if self.is_plain() {
            return Head::None;
        }
        let index = recipient.subscription.map(SubscriptionKey::Id);
        let index = index.and_then(|key| self.index(&key));
        self.reach(index, recipient.at.unwrap_or(position));
        Head::Insert(format!("id: {}\n", self.id()).into_bytes())
    }

    fn welcome(&mut self, _welcome: &Welcome<'_>, _out: &mut Vec<Payload>) {}

    fn refused(&mut self, _id: Option<CommandId>, refusal: &Refusal, out: &mut Vec<Payload>) {
        self.refuse(refusal, None, out);
    }

    fn notice(&mut self, notice: &Notice, out: &mut Vec<Payload>) {
        let placed = match notice {
            Notice::Reply { id, reply } => return self.answer(*id, reply, out),
            Notice::Gap {
                subscription, to, ..
            } => Some(("gap", Some((subscription, *to)))),
            Notice::Live {
                subscription,
                position,
            } => Some(("live", Some((subscription, *position)))),
            Notice::Own {
                subscription,
                position,
                ..
            } => Some(("own", Some((subscription, *position)))),
            Notice::ChannelGap { .. } => Some(("gap", None)),
            Notice::CatchingUp { .. } => Some(("catching_up", None)),
            Notice::Told { .. } => Some(("told", None)),
            Notice::Unsubscribed { .. } => Some(("unsubscribed", None)),
            Notice::Close { .. } => Some(("closing", None)),
            Notice::Reconnect { after } => {
                out.push(format!("retry: {}\n\n", after.as_millis()).into());
                None
            }
            // Sessions are not resumed here.
            Notice::Restored => None,
        };
        let Some((name, place)) = placed else { return };
        let json = encode_notice(notice);
        out.push(match place {
            Some((subscription, position)) => {
                let index = self.index(&subscription.key());
                self.reach(index, position);
                self.placed(name, &json).into()
            }
            None => Event::named(name).data(&json).end().into(),
        });
    }

    fn close_code(&self, reason: CloseReason) -> u16 {
        close_code(reason)
    }
}
