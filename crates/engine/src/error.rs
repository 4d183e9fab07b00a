//! What can be refused: stable codes, and whether to try again.

use std::{borrow::Cow, fmt, time::Duration};

/// Whether and when the same request can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not as it is: change the request or the configuration first.
    Never,
    /// Later, with a pause; publishers use the same key.
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
    /// The message itself can't be read; dialects say where.
    BadRequest = "bad_request", Never;
    /// The name of a channel is empty, too long, or has forbidden characters.
    BadChannelName = "bad_channel_name", Never;
    /// A filter is empty, too long, or its wildcards do not stand alone in their level.
    BadFilter = "bad_filter", Never;
    /// The idempotency key is empty or too long.
    BadKey = "bad_key", Never;
    /// Too many tags, or a tag that is too long.
    BadTags = "bad_tags", Never;
    /// The resume token can't be used; connect without it and subscribe with positions.
    BadToken = "bad_token", Never;
    /// What says who the client is, a token, is missing, wrong or has expired.
    Unauthenticated = "unauthenticated", Never;
    /// No rule of the configuration allows such a channel.
    UnknownChannel = "unknown_channel", Never;
    /// This session may not do that here.
    Forbidden = "forbidden", Never;
    /// The data is larger than the server takes.
    TooLarge = "too_large", Never;
    /// The session has as many subscriptions as it may.
    TooManySubscriptions = "too_many_subscriptions", Never;
    /// The user has as many consumers in the channel as it may.
    TooManyConsumers = "too_many_consumers", Never;
    /// The session is subscribed already.
    AlreadySubscribed = "already_subscribed", Never;
    /// The session is not subscribed.
    NotSubscribed = "not_subscribed", Never;
    /// The channel keeps no history.
    NoHistory = "no_history", Never;
    /// The channel keeps no state.
    NoState = "no_state", Never;
    /// The channel keeps no presence.
    NoPresence = "no_presence", Never;
    /// Too many commands or publications in too short a time.
    RateLimited = "rate_limited", Later;
    /// The server has as many connections as it may.
    TooManyConnections = "too_many_connections", Later;
    /// The server has as many channels with subscribers as it may.
    TooManyChannels = "too_many_channels", Later;
    /// The server has too much under way.
    Busy = "busy", Later;
    /// The broker did not answer in time; it may still have published: try again with the key.
    TimedOut = "timed_out", Later;
    /// The server's disk is full; nothing acknowledged is lost.
    StorageFull = "storage_full", Later;
    /// The server's disk failed; nothing acknowledged is lost.
    StorageFailed = "storage_failed", Later;
    /// Part of the retained log can't be read; the operator has to look.
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
    /// When trying again makes sense, if that is known.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal with its reason in words.
    pub fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// The same, saying when to try again.
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
