//! The rules of channels.

use offhook_engine::{Access, ChannelRules, History, SlowPolicy, State};

use super::group::{Group, Typed, Visitor, group};
use super::kind::{Bytes, Choice, NamePattern, Or, Switch, count, time};

/// The rules of the channels that match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRule {
    /// `*` matches any sequence of characters.
    pub pattern: String,
    /// The rules of these channels.
    pub rules: ChannelRules,
}

impl Default for ChannelRule {
    /// Every channel, with the default rules, and a small state: so that a retained message of MQTT
    /// is retained.
    fn default() -> Self {
        let (pattern, mut rules) = ("*".to_owned(), ChannelRules::default());
        rules.state.count = SMALL_STATE;
        Self { pattern, rules }
    }
}

/// The number of values in a state that is not configured.
const SMALL_STATE: u64 = 100;

impl ChannelRule {
    /// A channel that is configured to keep no history keeps no state either, unless that is
    /// configured, too: it stays in memory.
    pub(crate) fn without_unasked_state(&mut self, is_configured: bool) {
        if !is_configured && !self.rules.history.is_kept() {
            self.rules.state = State::NONE;
        }
    }
}

impl Group for ChannelRule {
    fn about(&self) -> &'static str {
        "The rules of channels. The first rule whose pattern matches counts; a channel that matches \
         none does not exist. Without any entry there is one rule for every channel, with the \
         defaults below."
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) {
        let about = "The channels' names: `*` stands for any run of characters.\n\n\
                     A rule has to say what it is about.";
        visitor.setting("pattern", about, &mut Typed(NamePattern, &mut self.pattern));
        self.rules.visit(visitor);
    }
}

/// Who may do something by a rule that leaves nothing to the backend.
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

        /// Who may publish: everyone with a connection, sessions with a user name (`users`), sessions
        /// whose grants name the channel (`granted`), whom the backend allows each time (`backend`), or
        /// only the server's own API (`nobody`).
        ///
        /// A first try needs no users.
        publish => Choice(CHANNEL_ACCESS);

        /// Who may subscribe, and read history and presence.
        ///
        /// A first try needs no users.
        subscribe => Choice(CHANNEL_ACCESS);

        /// What happens to a connection that does not keep up in a channel without history: the
        /// oldest publications are dropped and a gap says how many (`drop_oldest`), only the newest
        /// publication with the same tag `key` is delivered (`latest_by_key`), the connection is
        /// closed (`disconnect`), or it gets the channel's state (`state`).
        ///
        /// Suits most channels; `latest_by_key` suits prices.
        slow => Choice(SLOW);

        /// Tell the backend when the channel gets its first subscriber and loses its last and, if it has
        /// a list of members, when members join and leave.
        ///
        /// Nothing is sent to a backend that did not ask for it.
        notify => Switch;

        /// How long an idempotency key is remembered.
        ///
        /// Longer than a client keeps retrying before it gives up its queue.
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
        /// A room can be read after a holiday.
        count => count();

        /// Bytes retained.
        ///
        /// A thousand full rooms fit on a small disk.
        bytes => Bytes::new();

        /// The age of the oldest publication.
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
        /// Values retained; 0: none. In channels that are set to keep no history the default is 0.
        ///
        /// A retained message of MQTT or a small table, whose values cost nothing until they are
        /// published.
        count => count();

        /// Bytes retained; 0: none.
        ///
        /// As much as the history may have.
        bytes => Bytes::new();

        /// The age of the oldest value.
        ///
        /// A value is valid until a newer one replaces it.
        age => Or("none", time());
    }
}
