//! The rules of channels.

use offhook_engine::{Access, ChannelRules, History, SlowPolicy, State};

use super::group::{Group, Typed, Visitor, group};
use super::kind::{Bytes, Choice, NamePattern, Or, Switch, count, time};
use super::rooms::Rooms;

/// The rules of the channels that match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRule {
    /// `*` matches any sequence of characters.
    pub pattern: String,
    /// The rules of these channels.
    pub rules: ChannelRules,
    /// The events of Socket.IO that are published in these channels.
    pub rooms: Rooms,
}

impl Default for ChannelRule {
    /// Every channel, with the default rules, and a small state, so that MQTT's retained messages
    /// work.
    fn default() -> Self {
        let (pattern, mut rules) = ("*".to_owned(), ChannelRules::default());
        rules.state.count = SMALL_STATE;
        let rooms = Rooms::default();
        Self {
            pattern,
            rules,
            rooms,
        }
    }
}

/// The number of values in a state that is not configured.
const SMALL_STATE: u64 = 100;

impl ChannelRule {
    /// A channel that is configured to keep no history keeps no state either, unless a state is
    /// configured. Such a channel stays in memory.
    pub(crate) fn without_unasked_state(&mut self, is_configured: bool) {
        if !is_configured && !self.rules.history.is_kept() {
            self.rules.state = State::NONE;
        }
    }
}

impl Group for ChannelRule {
    fn about(&self) -> &'static str {
        "The rules of channels. The first rule whose pattern matches applies; a channel that \
         matches none does not exist. Without any entry, one rule with the defaults below applies \
         to every channel."
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) {
        let about = "The channels' names: `*` matches any sequence of characters.\n\n\
                     Every rule has to name its channels.";
        visitor.setting("pattern", about, &mut Typed(NamePattern, &mut self.pattern));
        self.rules.visit(visitor);
        visitor.group("rooms", &mut self.rooms);
    }
}

/// The values of settings that do not involve the backend.
pub(crate) const ACCESS: &[(&str, Access)] = &[
    ("everyone", Access::Everyone),
    ("users", Access::Users),
    ("granted", Access::Granted),
    ("nobody", Access::Nobody),
];

const CHANNEL_ACCESS: &[(&str, Access)] = &[
    ("everyone", Access::Everyone),
    ("users", Access::Users),
    ("granted", Access::Granted),
    ("backend", Access::Asked),
    ("nobody", Access::Nobody),
];

const SLOW: &[(&str, SlowPolicy)] = &[
    ("drop_oldest", SlowPolicy::DropOldest),
    ("latest_by_key", SlowPolicy::LatestByKey),
    ("disconnect", SlowPolicy::Disconnect),
    ("state", SlowPolicy::State),
];

group! {
    /// The rules of a channel.
    for ChannelRules {
        /// Whether the channel has a list of members.
        ///
        /// A room needs one; a ticker with a million readers does not.
        presence => Switch;

        /// Who may publish: every client (`everyone`), sessions with a user name (`users`),
        /// sessions whose grants include the channel (`granted`), sessions that the backend allows
        /// each time (`backend`), or only the HTTP API (`nobody`).
        ///
        /// No users are needed to try the server.
        publish => Choice(CHANNEL_ACCESS);

        /// Who may subscribe, and read history and presence.
        ///
        /// No users are needed to try the server.
        subscribe => Choice(CHANNEL_ACCESS);

        /// What happens to a connection that does not keep up in a channel without history: the
        /// oldest publications are dropped and reported as a gap (`drop_oldest`), only the newest
        /// publication with the same tag `key` is delivered (`latest_by_key`), the connection is
        /// closed (`disconnect`), or it gets the channel's state (`state`).
        ///
        /// Suits most channels; `latest_by_key` suits prices.
        slow => Choice(SLOW);

        /// Tell the backend when the channel gets its first subscriber and loses its last and, if it has
        /// a list of members, when members join and leave.
        ///
        /// A backend receives only the events that it needs.
        notify => Switch;

        /// Send publications in datagrams to clients over WebTransport that read them: lost ones are not
        /// repeated, and of those that wait only the newest with the same tag `key` is sent. All other
        /// transports deliver everything.
        ///
        /// Suits cursors and positions in games, which are outdated by the time they could be repeated.
        unreliable => Switch;

        /// How long an idempotency key is remembered.
        ///
        /// Longer than clients keep retrying.
        key_window => time();
    }
    groups {
        history;
        state;
    }
}

group! {
    /// How much is retained. A publication is removed when any of the limits is exceeded.
    for History {
        /// Publications retained; 0: none.
        ///
        /// A member of a chat room can read everything after a holiday.
        count => count();

        /// Bytes retained.
        ///
        /// The history of a thousand chat rooms fits on a small disk.
        bytes => Bytes::new();

        /// The age of the oldest publication. If the wall clock is set, neither the step nor a time in
        /// which the machine was suspended counts.
        ///
        /// People rarely look for messages older than a week.
        age => Or("none", time());
    }
}

group! {
    /// The newest publication of each value of the tag `key`, in addition to the history or instead
    /// of it: a price for each symbol, a cursor for each person. A publication whose data is empty or
    /// `null` removes its key.
    for State {
        /// Values retained; 0: none. The default is 0 in channels that are set to keep no history.
        ///
        /// Enough for MQTT's retained messages or a small table; values cost nothing until they are
        /// published.
        count => count();

        /// Bytes retained; 0: none.
        ///
        /// The same as for the history.
        bytes => Bytes::new();

        /// The age of the oldest value. Steps of the wall clock count as little as for the history.
        ///
        /// A value is valid until a newer one replaces it.
        age => Or("none", time());
    }
}
