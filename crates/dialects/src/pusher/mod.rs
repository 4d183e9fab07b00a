//! The Pusher protocol, versions 5 to 7, specified in `docs/dialects/pusher.md`.
//!
//! [`Pusher`] holds the state of one connection: its subscriptions, and the user who signed in.
//! Clients of an app are anonymous until they sign in. The app's backend signs permissions beyond
//! the rules of channels, and [`Signing`] verifies the signatures.
//!
//! A publication is an event: its name is the tag `event`, and its data is the publication's.

mod dialect;
mod event;
mod members;
mod message;
mod names;
mod report;
mod sending;
mod subscribing;

use std::{fmt, sync::Arc, time::Duration};

use offhook_engine::{ErrorCode, Refusal};

pub use self::{
    dialect::Pusher,
    event::{CACHE_KEY, EVENT_TAG, MAX_EVENT_NAME, check_event, data_of},
    members::{user_came, users_of, visible_user},
    names::{Kind, channel_of, is_cache, kind_of, name_of},
    report::{ClientEvent, Report},
};

/// Verifies signatures with an app's secrets.
pub trait Signing: fmt::Debug + Send + Sync {
    /// Whether `auth`, which is `KEY:SIGNATURE`, is a valid signature of a text.
    fn is_signed(&self, auth: &str, text: &str) -> bool;
}

/// The app of a connection.
#[derive(Clone, Debug)]
pub struct App {
    /// The prefix of the names of its channels and users.
    pub prefix: Arc<str>,
    /// Prefixes of other apps that begin with this app's: names below them are not this app's.
    pub others: Arc<[Box<str>]>,
    /// Its secrets.
    pub secrets: Arc<dyn Signing>,
}

impl App {
    /// Whether a name is below the app's prefix, and not below another app's.
    fn owns(&self, name: &str) -> bool {
        let is_other = |other: &str| name.starts_with(other);
        name.starts_with(&*self.prefix) && !self.others.iter().any(|other| is_other(other))
    }

    /// The user's name for the server, unless it is one of another app.
    fn user(&self, id: &str) -> Result<String, Refusal> {
        let name = format!("{}{id}", self.prefix);
        if id.starts_with(members::OUTSIDE) {
            let detail = "the user's id begins with offhook:, which marks users of no app";
            return Err(Refusal::new(ErrorCode::Forbidden, detail));
        }
        if !self.owns(&name) {
            let detail = "the user's id begins with the prefix of another app";
            return Err(Refusal::new(ErrorCode::Forbidden, detail));
        }
        Ok(name)
    }
}

/// Settings of a connection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The app; or why the connection is refused.
    pub app: Result<App, Refused>,
    /// How long the client receives nothing before it sends a ping.
    pub activity_timeout: Duration,
    /// Whether clients may send events.
    pub client_events: bool,
    /// Whether client events and misses of the cache are reported.
    pub reports: bool,
}

/// Why a connection is refused immediately, with the codes of the protocol. Clients do not retry
/// after any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No app has the key in the path.
    NoApp,
    /// The protocol's version is not a number.
    InvalidVersion,
    /// The version is not supported.
    UnsupportedVersion,
    /// The query contains no version.
    NoVersion,
}

impl Refused {
    /// The version in a query's `protocol`.
    ///
    /// # Errors
    /// If the version is missing, invalid or not supported.
    pub fn check_version(version: Option<&str>) -> Result<(), Self> {
        let version = version.ok_or(Self::NoVersion)?;
        let version: u32 = version.parse().map_err(|_| Self::InvalidVersion)?;
        // Older versions have another form of `connection_established`.
        match version {
            5..=7 => Ok(()),
            _ => Err(Self::UnsupportedVersion),
        }
    }

    const fn code(self) -> u16 {
        match self {
            Self::NoApp => 4001,
            Self::InvalidVersion => 4006,
            Self::UnsupportedVersion => 4007,
            Self::NoVersion => 4008,
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::NoApp => "no app has this key; check the key and the setting pusher.apps",
            Self::InvalidVersion => "protocol: expected a number",
            Self::UnsupportedVersion => "protocol: this server speaks 5, 6 and 7",
            Self::NoVersion => "protocol: is missing in the query; expected 7",
        }
    }
}
