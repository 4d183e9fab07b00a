//! Refusals: stable codes, and whether to try again.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

/// Whether and when the same request can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Never in this form: change the request or the configuration first.
    Never,
    /// Later, after a delay; publishers use the same key.
    Later,
    /// On a new connection: this server is going away.
    Reconnect,
}

impl Retry {
    /// The word on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Later => "later",
            Self::Reconnect => "reconnect",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $retry:ident;)*) => {
        /// Why something was refused. The names are part of the protocol and never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            /// Every code, for documentation and metrics.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name: on the wire, in logs, in metrics.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether trying again can help.
            #[must_use]
            pub fn retry(self) -> Retry {
                match self { $(Self::$variant => Retry::$retry,)* }
            }
        }
    };
}

codes! {
    /// The message itself is invalid; dialects say where.
    BadRequest = "bad_request", Never;
    /// The channel name is empty, too long, or contains forbidden characters.
    BadChannelName = "bad_channel_name", Never;
    /// The filter is empty, too long, or a wildcard is not alone in its level.
    BadFilter = "bad_filter", Never;
    /// The idempotency key is empty or too long.
    BadKey = "bad_key", Never;
    /// Too many tags, or a tag that is too long.
    BadTags = "bad_tags", Never;
    /// The resume token cannot be used; connect without it and subscribe with positions.
    BadToken = "bad_token", Never;
    /// The token that identifies the client is missing, invalid or expired.
    Unauthenticated = "unauthenticated", Never;
    /// The configuration has no rule for this channel.
    UnknownChannel = "unknown_channel", Never;
    /// This session is not permitted to do that.
    Forbidden = "forbidden", Never;
    /// The data is larger than the server accepts.
    TooLarge = "too_large", Never;
    /// The session has reached its limit of subscriptions.
    TooManySubscriptions = "too_many_subscriptions", Never;
    /// The user has reached the limit of consumers in the channel.
    TooManyConsumers = "too_many_consumers", Never;
    /// The session is already subscribed.
    AlreadySubscribed = "already_subscribed", Never;
    /// The session is not subscribed.
    NotSubscribed = "not_subscribed", Never;
    /// The channel keeps no history.
    NoHistory = "no_history", Never;
    /// The channel keeps no state.
    NoState = "no_state", Never;
    /// The channel keeps no presence.
    NoPresence = "no_presence", Never;
    /// The backend said no, and why: the message is its own, and so is [`Refusal::backend`].
    Rejected = "rejected", Never;
    /// Too many commands or publications in too short a time.
    RateLimited = "rate_limited", Later;
    /// The server has reached its limit of connections.
    TooManyConnections = "too_many_connections", Later;
    /// The server has reached its limit of channels with subscribers.
    TooManyChannels = "too_many_channels", Later;
    /// The server has too many requests in flight.
    Busy = "busy", Later;
    /// The broker did not answer in time; it may still have published: try again with the same key.
    TimedOut = "timed_out", Later;
    /// The backend, which decides about this, did not answer, or not with anything of use.
    BackendAway = "backend_away", Later;
    /// The server's disk is full; nothing acknowledged is lost.
    StorageFull = "storage_full", Later;
    /// The server's disk failed; nothing acknowledged is lost.
    StorageFailed = "storage_failed", Later;
    /// Part of the retained log cannot be read; the operator must act.
    StorageCorrupt = "storage_corrupt", Never;
    /// The server is going away.
    Draining = "draining", Reconnect;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A refusal: the code for programs, the detail for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: ErrorCode,
    /// What was wrong and what to do, in lower case without a full stop.
    pub detail: Cow<'static, str>,
    /// When to try again, if known.
    pub retry_after: Option<Duration>,
    /// What a backend that said no tells the client, as it gave it: a JSON object.
    pub backend: Option<Arc<str>>,
}

impl Refusal {
    /// A refusal with its reason in words.
    pub fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after: None,
            backend: None,
        }
    }

    /// Adds what a backend tells the client: a JSON object.
    #[must_use]
    pub fn told_by_backend(mut self, error: &str) -> Self {
        self.backend = Some(error.into());
        self
    }

    /// Adds when to try again.
    #[must_use]
    pub fn after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Refusal {}
