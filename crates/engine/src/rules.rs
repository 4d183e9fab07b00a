//! What holds for a channel: history, presence, who may do what, what happens to slow connections.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use crate::{
    ask::AskRule,
    channel_name::{ChannelName, Pattern},
};

/// How much of a channel's stream the broker keeps. A publication goes when any bound is passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Publications kept; 0 means none, and slow connections need a [`SlowPolicy`].
    pub count: u64,
    /// Bytes kept, by [`Publication::weight`](crate::Publication::weight).
    pub bytes: u64,
    /// The age of the oldest.
    pub age: Option<Duration>,
}

impl History {
    /// Nothing is kept.
    pub const NONE: Self = Self {
        count: 0,
        bytes: 0,
        age: None,
    };

    /// Whether anything is kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.count > 0 && self.bytes > 0
    }
}

impl Default for History {
    /// 10,000 publications, 16 MiB, a week: a room can be read back after a holiday, and a
    /// thousand rooms fit on a small disk.
    fn default() -> Self {
        let week = Duration::from_secs(7 * 24 * 3600);
        Self {
            count: 10_000,
            bytes: 16 << 20,
            age: Some(week),
        }
    }
}

/// How much of a channel's state the broker keeps: the newest publication of each value of the tag
/// [`key`](crate::CONFLATION_TAG), beside the stream or instead of it. A publication without data, or
/// whose data is the JSON value `null`, removes its key. When a bound is passed, the values that
/// were published first go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Values kept; 0 means that the channel keeps no state.
    pub count: u64,
    /// Bytes kept, by [`Publication::weight`](crate::Publication::weight).
    pub bytes: u64,
    /// The age of the oldest.
    pub age: Option<Duration>,
}

impl State {
    /// No state is kept.
    pub const NONE: Self = Self {
        count: 0,
        bytes: 0,
        age: None,
    };

    /// Whether anything is kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.count > 0 && self.bytes > 0
    }
}

impl Default for State {
    /// No state: most channels are conversations, not tables.
    fn default() -> Self {
        Self::NONE
    }
}

/// What happens to a connection that does not keep up, in a channel without history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowPolicy {
    /// The oldest it has not read are dropped, and a gap says how many.
    #[default]
    DropOldest,
    /// Of publications with the same tag `key` only the newest stays: right for prices, wrong
    /// for chats.
    LatestByKey,
    /// The channel's state is read again, and what follows it: right where only the newest of each
    /// value counts. In a channel without state it is as [`DropOldest`](Self::DropOldest).
    State,
    /// The connection is closed.
    Disconnect,
}

/// Who may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everyone who has a connection.
    #[default]
    Everyone,
    /// Sessions with a user name.
    Users,
    /// Sessions whose grants name the channel.
    Granted,
    /// Whoever somebody outside allows, who is asked each time: see
    /// [`Engine::poll_ask`](crate::Engine::poll_ask).
    Asked,
    /// Only the server's own API.
    Nobody,
}

/// The rules of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRules {
    /// What the broker keeps.
    pub history: History,
    /// What the broker keeps of the newest value of each key.
    pub state: State,
    /// Whether it is known who is in the channel.
    pub presence: bool,
    /// What happens to slow connections where nothing is kept.
    pub slow: SlowPolicy,
    /// Who may publish.
    pub publish: Access,
    /// Who may subscribe, and read history and presence.
    pub subscribe: Access,
    /// How somebody outside is asked, where an access is [`Access::Asked`].
    pub ask: AskRule,
    /// How long an idempotency key is remembered, also when its publication was trimmed. Default
    /// one hour: longer than a client keeps trying before it gives its queue up.
    pub key_window: Duration,
}

impl Default for ChannelRules {
    fn default() -> Self {
        Self {
            history: History::default(),
            state: State::default(),
            presence: true,
            slow: SlowPolicy::default(),
            publish: Access::default(),
            subscribe: Access::default(),
            ask: AskRule::default(),
            key_window: Duration::from_secs(3600),
        }
    }
}

impl ChannelRules {
    /// What holds for filters themselves: whatever can be had again is read on from, and members
    /// are of channels.
    pub(crate) fn of_filters() -> Self {
        Self {
            presence: false,
            ..Self::default()
        }
    }
}

/// Rules by pattern: the first pattern that fits counts. Shared by the workers and the broker.
///
/// ```
/// use offhook_engine::{ChannelName, ChannelRules, History, RuleBook};
/// let ticker = ChannelRules { history: History::NONE, ..ChannelRules::default() };
/// let book = RuleBook::new().with("ticker/*", ticker).with("chat/*", ChannelRules::default());
/// assert!(!book.rules(&ChannelName::new("ticker/btc")?).unwrap().history.is_kept());
/// assert!(book.rules(&ChannelName::new("secret")?).is_none());
/// # Ok::<(), offhook_engine::Refusal>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RuleBook {
    rules: Vec<(Pattern, Arc<ChannelRules>)>,
    /// Rules that are for one name.
    named: HashMap<Box<str>, usize>,
    /// Rules with a `*`, by what stands before the first.
    wild: Prefixes,
    filters: Access,
}

/// A trie over the bytes of prefixes, so that a name is compared with few patterns.
#[derive(Clone, Debug, Default)]
struct Prefixes {
    /// Rules whose prefix ends here, in their order.
    rules: Vec<usize>,
    longer: BTreeMap<u8, Prefixes>,
}

impl Prefixes {
    fn add(&mut self, prefix: &[u8], rule: usize) {
        match prefix {
            [] => self.rules.push(rule),
            [byte, rest @ ..] => self.longer.entry(*byte).or_default().add(rest, rule),
        }
    }

    /// Calls `found` with each rule whose prefix a name begins with.
    fn find(&self, name: &[u8], mut found: impl FnMut(usize)) {
        let (mut here, mut rest) = (self, name);
        loop {
            here.rules.iter().for_each(|rule| found(*rule));
            let [byte, after @ ..] = rest else { return };
            let Some(longer) = here.longer.get(byte) else {
                return;
            };
            (here, rest) = (longer, after);
        }
    }
}

impl RuleBook {
    /// No channel exists.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every channel exists, with these rules.
    #[must_use]
    pub fn everything(rules: ChannelRules) -> Self {
        Self::new().with("*", rules)
    }

    /// Adds a pattern after those already there.
    #[must_use]
    pub fn with(mut self, pattern: &str, rules: ChannelRules) -> Self {
        let (number, pattern) = (self.rules.len(), Pattern::new(pattern));
        if pattern.is_wild() {
            self.wild.add(pattern.prefix().as_bytes(), number);
        } else {
            self.named.entry(pattern.as_str().into()).or_insert(number);
        }
        self.rules.push((pattern, Arc::new(rules)));
        self
    }

    /// The same, saying who may subscribe to filters. Everyone, unless it is said: what comes by a
    /// filter is only what its subscriber may read, but a filter finds out names that nobody told.
    /// Grants have to cover the filter.
    #[must_use]
    pub fn with_filters(mut self, access: Access) -> Self {
        self.filters = access;
        self
    }

    /// Who may subscribe to filters.
    #[must_use]
    pub fn filter_access(&self) -> Access {
        self.filters
    }

    /// The rules of a channel; none when no pattern fits, and then there is no such channel. It takes
    /// as long as the name, and as there are patterns that begin like it.
    #[must_use]
    pub fn rules(&self, channel: &ChannelName) -> Option<&Arc<ChannelRules>> {
        let name = channel.as_str();
        let mut first = self.named.get(name).copied();
        self.wild.find(name.as_bytes(), |rule| {
            let earlier = first.is_none_or(|first| rule < first);
            if earlier
                && self
                    .rules
                    .get(rule)
                    .is_some_and(|(p, _)| p.matches(channel))
            {
                first = Some(rule);
            }
        });
        self.rules.get(first?).map(|(_, rules)| rules)
    }

    /// The longest time any rule remembers an idempotency key.
    #[must_use]
    pub fn longest_key_window(&self) -> Duration {
        let windows = self.rules.iter().map(|(_, rules)| rules.key_window);
        windows.max().unwrap_or_default()
    }
}
