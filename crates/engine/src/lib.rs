//! Sessions, channels, recovery, presence and backpressure of a real-time server, without I/O:
//! [`Command`]s and broker events in, [`Delivery`]s and [`BrokerRequest`]s out.
//!
//! **A subscription is a cursor over a log**: a position in a channel's stream. While its
//! connection keeps up, publications are broadcast to it. When it does not, it reads the broker's
//! history at its own pace. When it is lost, it returns with its position. All three work the same
//! way, so nothing is lost silently and nothing is delivered twice.
//!
//! This crate has no socket, clock, thread or randomness: time ([`Now`]) and random numbers are
//! arguments, and the caller of [`Engine`] does the I/O. Wire formats are not its concern either:
//! dialects handle them.
//!
//! ```
//! use std::{sync::Arc, time::Instant};
//! use offhook_engine::*;
//!
//! let now = Now { instant: Instant::now(), unix_ms: 1_700_000_000_000 };
//! let rules = ChannelRules { presence: false, ..ChannelRules::default() };
//! let book = Arc::new(RuleBook::everything(rules));
//! let mut engine = Engine::new(Limits::default(), book, now);
//!
//! // Someone comes and subscribes.
//! let session = SessionId::from_bytes([7; 16]);
//! let arrival = Arrival::new(session, Arc::new(Identity::user("ann")));
//! let connection = engine.handle_connection_opened(arrival, now)?;
//! let channel = ChannelName::new("chat")?;
//! let subscribe = Command::Subscribe(Subscribe::new(channel.clone(), Since::Now));
//! engine.handle_command(connection, CommandId(1), subscribe, now);
//!
//! // The engine asks the broker for the channel's stream; we play the broker.
//! assert!(engine.poll_delivery().is_none());
//! let Some(BrokerRequest::Follow { id, .. }) = engine.poll_broker_request() else { panic!() };
//! let head = Position::new(1, 41);
//! let stream = StreamState { head, first: 42, trimmed: Trimmed::BySize };
//! engine.handle_broker(BrokerEvent::Followed { id, stream }, now);
//! let Some(Delivery::Connection { notice, .. }) = engine.poll_delivery() else { panic!() };
//! assert!(matches!(notice, Notice::Reply { reply: Reply::Subscribed { live: true, .. }, .. }));
//!
//! // A publication comes: one delivery for all connections that are live.
//! let draft = Draft {
//!     channel,
//!     data: "\"hello\"".into(),
//!     format: Format::Json,
//!     tags: Tags::default(),
//!     publisher: None,
//!     key: None,
//!     time_ms: now.unix_ms,
//! };
//! let publication = Arc::new(draft.at(Place::after(head, 1)));
//! engine.handle_broker(BrokerEvent::Publication(publication), now);
//! let Some(Delivery::Broadcast { recipients, .. }) = engine.poll_delivery() else { panic!() };
//! assert_eq!(recipients.connections(), [connection]);
//! # Ok::<(), Refusal>(())
//! ```

mod ask;
mod broker;
mod channel_name;
mod client_class;
mod command;
mod delivery;
mod engine;
mod error;
mod filter;
mod grant;
mod limits;
mod overlap;
mod position;
mod progress;
mod publication;
mod rate;
mod rules;
mod session;
mod shares;
mod slab;
mod snapshot_bytes;
mod subscription;

pub use ask::{Ask, AskRule, CallerId, CallerReply, NoAnswer, Verdict, VerdictId, Whom, Wish};
pub use broker::{
    AskId, BrokerEvent, BrokerFailure, BrokerRequest, ChannelGap, Claim, PresenceChange, ReadFrom,
    ReadLimit, ReadStart, Receipts, RequestId, Resolution, ShareName, ShareRequest, StreamState,
    Trimmed,
};
pub use channel_name::{ChannelName, MAX_CHANNEL_NAME, Pattern};
pub use client_class::{ClientClass, InvalidClass, MAX_CLASS};
pub use command::{Command, CommandId, Now, Since};
pub use delivery::{CloseReason, ConnectionId, Delivery, GapReason, Notice, Reply};
pub use engine::Engine;
pub use error::{ErrorCode, Refusal, Retry};
pub use filter::{Filter, FilterTrie, MAX_FILTER_LEVELS};
pub use grant::{Grant, Verbs};
pub use limits::Limits;
pub use position::{Epoch, Position};
pub use progress::{Activity, Progress};
pub use publication::{
    CONFLATION_TAG, Draft, Format, Key, MAX_KEY, MAX_TAG_TEXT, MAX_TAGS, Place, Publication,
    Publisher, Tags,
};
pub use rules::{Access, ChannelRules, History, RuleBook, SlowPolicy, State};
pub use session::{
    Arrival, Earlier, Identity, Member, SessionId, SessionSnapshot, SubscriptionSnapshot,
    Unacknowledged,
};
pub use shares::{Claimed, SavedShare, Shares, TooManyShares, Woken, is_saved_share};
pub use subscription::{
    Class, Face, Flow, Recipients, Share, Subscribe, SubscriptionId, SubscriptionKey,
    SubscriptionName, Target,
};
