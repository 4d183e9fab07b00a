//! Settings of the Pusher protocol.

use std::{fmt, str::FromStr, time::Duration};

use offhook_auth::AppKey;

use super::group::group;
use super::kind::{Many, Parsed, Switch, time};
use super::url::HttpUrl;

group! {
    /// The Pusher protocol, version 7: clients at `/app/KEY`, and the signed HTTP API below
    /// `/apps/ID/`.
    pub struct Pusher {
        /// The apps: the id, key and secret of each, with spaces between them, optionally followed by a
        /// prefix. The app's channels and users are those whose names begin with the prefix, which keeps
        /// apps apart. Several entries with the same id are several keys of one app.
        ///
        /// Without an app, the protocol is not served.
        apps: Vec<AppKey> = Vec::new() => Many(Parsed::new("an entry like \"1 app-key app-secret\"", "APP").secret());

        /// Whether clients may send events (`client-...`) to the private and presence channels to which
        /// they are subscribed. A channel whose rule has `publish = "nobody"` still refuses them.
        ///
        /// The default of the original service: a signature permits a client to receive only.
        client_events: bool = false => Switch;

        /// How long a client waits without receiving anything before it sends a ping.
        ///
        /// The default of the original service. The server itself detects dead connections sooner.
        activity_timeout: Duration = Duration::from_secs(120) => time();

        /// How much the timestamp of a signed request may differ from the server's clock. A recorded
        /// request can be replayed within this time.
        ///
        /// The default of the original service; the clocks of some backends are minutes off.
        signature_window: Duration = Duration::from_secs(600) => time();

        /// Whether subscribers are told how many sessions subscribe to their channel, by the event
        /// `pusher_internal:subscription_count`: at once up to 100, and every 5 seconds beyond. Presence
        /// channels have no such event.
        ///
        /// The default of the original service: a message to all for each that comes and goes.
        subscription_count: bool = false => Switch;

        /// Webhooks in the form of Pusher: the id of an app, a URL and the events that are sent there, with
        /// spaces between them. The events are `channel_occupied`, `channel_vacated`, `member_added`,
        /// `member_removed`, `client_event`, `cache_miss` and `subscription_count`. Requests are signed with
        /// the first key of the app. `backend.timeout`, `backend.events` and `backend.ca_file` apply to
        /// each webhook.
        ///
        /// Nothing is sent anywhere unless you say where.
        webhooks: Vec<PusherWebhook> = Vec::new() => Many(Parsed::new("an entry like \"1 https://app.example.com/pusher channel_occupied channel_vacated\"", "WEBHOOK"));
    }
}

/// An event that webhooks of the Pusher protocol report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PusherEvent {
    /// A channel has its first subscriber.
    ChannelOccupied,
    /// A channel has lost its last subscriber.
    ChannelVacated,
    /// A user has come to a presence channel.
    MemberAdded,
    /// A user has left a presence channel.
    MemberRemoved,
    /// A client has sent an event.
    ClientEvent,
    /// A client has subscribed to a cache channel that has no last event.
    CacheMiss,
    /// The number of subscribers of a channel has changed.
    SubscriptionCount,
}

impl PusherEvent {
    const ALL: [Self; 7] = [
        Self::ChannelOccupied,
        Self::ChannelVacated,
        Self::MemberAdded,
        Self::MemberRemoved,
        Self::ClientEvent,
        Self::CacheMiss,
        Self::SubscriptionCount,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ChannelOccupied => "channel_occupied",
            Self::ChannelVacated => "channel_vacated",
            Self::MemberAdded => "member_added",
            Self::MemberRemoved => "member_removed",
            Self::ClientEvent => "client_event",
            Self::CacheMiss => "cache_miss",
            Self::SubscriptionCount => "subscription_count",
        }
    }
}

/// A webhook in the form of Pusher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PusherWebhook {
    /// The id of the app.
    pub app: Box<str>,
    /// Where requests are sent.
    pub url: HttpUrl,
    /// The events that are sent there.
    pub events: Vec<PusherEvent>,
}

impl FromStr for PusherWebhook {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (Some(app), Some(url)) = (words.next(), words.next()) else {
            return Err(
                "expected the id of an app, a URL and events, separated by spaces".to_owned(),
            );
        };
        let events: Vec<PusherEvent> = words.map(event).collect::<Result<_, _>>()?;
        if events.is_empty() {
            let names = PusherEvent::ALL.map(PusherEvent::name).join(", ");
            return Err(format!("no events after the URL; there are {names}"));
        }
        Ok(Self {
            app: app.into(),
            url: url.parse()?,
            events,
        })
    }
}

fn event(name: &str) -> Result<PusherEvent, String> {
    let found = PusherEvent::ALL
        .into_iter()
        .find(|event| event.name() == name);
    found.ok_or_else(|| {
        let names = PusherEvent::ALL.map(PusherEvent::name).join(", ");
        format!("{name:?} is not an event; there are {names}")
    })
}

impl fmt::Display for PusherWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.app, self.url)?;
        self.events
            .iter()
            .try_for_each(|event| write!(f, " {}", event.name()))
    }
}
