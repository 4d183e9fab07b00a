//! What holds for channels.

use offhook_engine::{Access, ChannelRules, History, SlowPolicy, State};

use super::group::{Group, Typed, Visitor, group};
use super::kind::{Bytes, Choice, NamePattern, Or, Switch, count, time};

/// The rules of the channels that a pattern fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRule {
    /// `*` stands for any run of characters.
    pub pattern: String,
    /// What holds for them.
    pub rules: ChannelRules,
}

impl Default for ChannelRule {
    /// Every channel, with the rules' own defaults.
    fn default() -> Self {
        let (pattern, rules) = ("*".to_owned(), ChannelRules::default());
        Self { pattern, rules }
    }
}

impl Group for ChannelRule {
    fn about(&self) -> &'static str {
        "What holds for channels, an entry for each rule. The first whose pattern fits counts; a \
         channel that none fits does not exist. Without any entry there is one rule for every \
         channel, with the defaults below."
    }

    fn visit(&mut self, visitor: &mut dyn Visitor) {
        let about = "The channels' names: `*` stands for any run of characters.\n\n\
                     A rule has to say what it is about.";
        visitor.setting("pattern", about, &mut Typed(NamePattern, &mut self.pattern));
        self.rules.visit(visitor);
    }
}

const ACCESS: &[(&str, Access)] = &[
    ("everyone", Access::Everyone),
    ("users", Access::Users),
    ("granted", Access::Granted),
    ("nobody", Access::Nobody),
];

const SLOW: &[(&str, SlowPolicy)] = &[
    ("drop_oldest", SlowPolicy::DropOldest),
    ("latest_by_key", SlowPolicy::LatestByKey),
    ("disconnect", SlowPolicy::Disconnect),
    ("state", SlowPolicy::State),
];

group! {
    /// What holds for a channel.
    for ChannelRules {
        /// Whether it is known who is in the channel.
        ///
        /// A room wants to know; a ticker with a million readers does not.
        presence => Switch;

        /// Who may publish: everyone with a connection, sessions with a user name (`users`), sessions
        /// whose grants name the channel (`granted`), or only the server's own API (`nobody`).
        ///
        /// A first try needs no users.
        publish => Choice(ACCESS);

        /// Who may subscribe, and read history and presence.
        ///
        /// A first try needs no users.
        subscribe => Choice(ACCESS);

        /// What happens to a connection that does not keep up in a channel without history: the oldest
        /// are dropped and a gap says how many, of those with the same tag `key` only the newest
        /// stays, the connection is closed, or it is given the channel's state (`state`).
        ///
        /// Right for most; `latest_by_key` is right for prices.
        slow => Choice(SLOW);

        /// How long an idempotency key is remembered.
        ///
        /// Longer than a client keeps trying before it gives its queue up.
        key_window => time();
    }
    groups {
        history;
        state;
    }
}

group! {
    /// How much is kept. A publication goes when any of the bounds is passed.
    for History {
        /// Publications kept; 0: none.
        ///
        /// A room can be read back after a holiday.
        count => count();

        /// Bytes kept.
        ///
        /// A thousand full rooms fit on a small disk.
        bytes => Bytes::new();

        /// The age of the oldest.
        ///
        /// A week is what people remember.
        age => Or("none", time());
    }
}

group! {
    /// The newest publication of each value of the tag `key`, beside the history or instead of it: a
    /// price for each symbol, a cursor for each person. A publication whose data is `null` removes its key.
    for State {
        /// Values kept; 0: none.
        ///
        /// Most channels are conversations, not tables.
        count => count();

        /// Bytes kept; 0: none. Set it together with `count`.
        ///
        /// Without a count nothing is kept.
        bytes => Bytes::new();

        /// The age of the oldest.
        ///
        /// A value is good until a newer one replaces it.
        age => Or("none", time());
    }
}
