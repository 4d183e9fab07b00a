//! The rules of a channel: history, presence, permissions, and the treatment of slow connections.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use crate::{
    ask::AskRule,
    channel_name::{ChannelName, Pattern},
    filter::Filter,
};

/// How much of a channel's stream the broker retains. A publication is trimmed when any limit is
/// exceeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The number of publications; 0 means none, and slow connections need a [`SlowPolicy`].
    pub count: u64,
    /// The number of bytes, by [`Publication::weight`](crate::Publication::weight).
    pub bytes: u64,
    /// The maximum age.
    pub age: Option<Duration>,
}

impl History {
    /// Nothing is retained.
    pub const NONE: Self = Self {
        count: 0,
        bytes: 0,
        age: None,
    };

    /// Whether anything is retained.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.count > 0 && self.bytes > 0
    }
}

impl Default for History {
    /// 10,000 publications, 16 MiB, one week: a room can be read after a holiday, and a thousand
    /// rooms fit on a small disk.
    fn default() -> Self {
        let week = Duration::from_secs(7 * 24 * 3600);
        Self {
            count: 10_000,
            bytes: 16 << 20,
            age: Some(week),
        }
    }
}

/// How much of a channel's state the broker retains: the newest publication of each value of the
/// tag [`key`](crate::CONFLATION_TAG), in addition to the stream or instead of it. A publication
/// without data, or with the JSON value `null`, removes its key. When a limit is exceeded, the
/// oldest values are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The number of values; 0 means that the channel keeps no state.
    pub count: u64,
    /// The number of bytes, by [`Publication::weight`](crate::Publication::weight).
    pub bytes: u64,
    /// The maximum age.
    pub age: Option<Duration>,
}

impl State {
    /// No state.
    pub const NONE: Self = Self {
        count: 0,
        bytes: 0,
        age: None,
    };

    /// Whether the channel has state.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.count > 0 && self.bytes > 0
    }
}

impl Default for State {
    /// No values, since most channels are conversations, not tables. A rule that sets a count need
    /// set nothing else: the values may then have 16 MiB, as much as the history by default.
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            ..Self::NONE
        }
    }
}

/// What happens to a connection that does not keep up in a channel without history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowPolicy {
    /// The oldest unread publications are dropped, and a gap says how many.
    #[default]
    DropOldest,
    /// Of publications with the same tag `key`, only the newest is kept: suitable for prices, not
    /// for chats.
    LatestByKey,
    /// The channel's state is read again, and what follows it: suitable if only the newest of each
    /// value matters. In a channel without state it is the same as
    /// [`DropOldest`](Self::DropOldest).
    State,
    /// The connection is closed.
    Disconnect,
}

/// Who has a permission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Every connection.
    #[default]
    Everyone,
    /// Sessions with a user name.
    Users,
    /// Sessions whose grants name the channel.
    Granted,
    /// An outside party decides each time: see [`Engine::poll_ask`](crate::Engine::poll_ask).
    Asked,
    /// Only the server's own API.
    Nobody,
}

/// The rules of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRules {
    /// How much of the stream the broker retains.
    pub history: History,
    /// How much of the state the broker retains.
    pub state: State,
    /// Whether the channel has a list of members.
    pub presence: bool,
    /// What happens to slow connections if nothing is retained.
    pub slow: SlowPolicy,
    /// Who may publish.
    pub publish: Access,
    /// Who may subscribe, and read history and presence.
    pub subscribe: Access,
    /// How outside parties are asked, for [`Access::Asked`].
    pub ask: AskRule,
    /// Whether somebody outside is told when the channel gets its first subscriber and loses its
    /// last, and, if it keeps presence, when members join and leave. Nothing here does it.
    pub notify: bool,
    /// Whether only the newest publication matters, so that transports with datagrams may lose the
    /// others. Nothing here does it.
    pub unreliable: bool,
    /// How long an idempotency key is remembered, even after its publication was trimmed. Default
    /// one hour: longer than a client keeps retrying before it gives up its queue.
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
            notify: false,
            unreliable: false,
            key_window: Duration::from_secs(3600),
        }
    }
}

impl ChannelRules {
    /// The rules for filters themselves: publications that can be read again are read from history,
    /// and filters have no members.
    pub(crate) fn of_filters() -> Self {
        Self {
            presence: false,
            ..Self::default()
        }
    }
}

/// Rules by pattern: the first matching pattern counts. Shared by the workers and the broker.
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
    rules: Vec<Rule>,
    /// Rules for a single name.
    named: HashMap<Box<str>, usize>,
    /// Rules with a `*`, by the text before the first one.
    wild: Prefixes,
    filters: Access,
    calls: Access,
    /// The beginnings of names of guarded channels.
    guarded: Vec<Box<str>>,
}

/// The rules of a pattern.
#[derive(Clone, Debug)]
struct Rule {
    pattern: Pattern,
    rules: Arc<ChannelRules>,
    /// The same for guarded channels.
    guarded: Arc<ChannelRules>,
}

/// A trie over the bytes of prefixes, so that a name is compared with few patterns.
#[derive(Clone, Debug, Default)]
struct Prefixes {
    /// Rules whose prefix ends here, in order.
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

    /// Calls `found` with each rule whose prefix the name starts with.
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
    /// No channel is allowed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every channel is allowed, with these rules.
    #[must_use]
    pub fn everything(rules: ChannelRules) -> Self {
        Self::new().with("*", rules)
    }

    /// Adds a pattern after those already present.
    #[must_use]
    pub fn with(mut self, pattern: &str, rules: ChannelRules) -> Self {
        let (number, pattern) = (self.rules.len(), Pattern::new(pattern));
        if pattern.is_wild() {
            self.wild.add(pattern.prefix().as_bytes(), number);
        } else {
            self.named.entry(pattern.as_str().into()).or_insert(number);
        }
        let guarded = |access| match access {
            Access::Everyone | Access::Users => Access::Granted,
            access @ (Access::Granted | Access::Asked | Access::Nobody) => access,
        };
        let guarded = ChannelRules {
            publish: guarded(rules.publish),
            subscribe: guarded(rules.subscribe),
            ..rules.clone()
        };
        self.rules.push(Rule {
            pattern,
            rules: Arc::new(rules),
            guarded: Arc::new(guarded),
        });
        self
    }

    /// Guards the channels whose names begin with this: where a rule permits something to everyone or
    /// to all users, a grant is needed, unless the rule's own pattern begins with this, too.
    ///
    /// For dialects in which the name of a channel says that it is private.
    #[must_use]
    pub fn with_guarded(mut self, prefix: &str) -> Self {
        self.guarded.push(prefix.into());
        self
    }

    /// Sets who may subscribe to filters. Default: everyone, since a subscriber only gets what it
    /// may read; but a filter reveals names that were not disclosed. Grants must cover the filter.
    #[must_use]
    pub fn with_filters(mut self, access: Access) -> Self {
        self.filters = access;
        self
    }

    /// Sets who may call the backend. Default: everyone, since the backend decides about each call.
    /// The patterns of grants are over the names of methods.
    #[must_use]
    pub fn with_calls(mut self, access: Access) -> Self {
        self.calls = access;
        self
    }

    /// Who may call the backend.
    #[must_use]
    pub fn call_access(&self) -> Access {
        self.calls
    }

    /// Who may subscribe to filters.
    #[must_use]
    pub fn filter_access(&self) -> Access {
        self.filters
    }

    /// The rules of a channel; none if no pattern matches, which means that the channel does not
    /// exist. Takes time proportional to the name's length and to the number of patterns with the
    /// same beginning.
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
                    .is_some_and(|rule| rule.pattern.matches(channel))
            {
                first = Some(rule);
            }
        });
        let rule = self.rules.get(first?)?;
        let is_guarded =
            |prefix: &str| name.starts_with(prefix) && !rule.pattern.as_str().starts_with(prefix);
        if self.guarded.iter().any(|prefix| is_guarded(prefix)) {
            return Some(&rule.guarded);
        }
        Some(&rule.rules)
    }

    /// Each pattern with its rules, in order.
    pub fn patterns(&self) -> impl Iterator<Item = (&str, &ChannelRules)> {
        let all = self.rules.iter();
        all.map(|rule| (rule.pattern.as_str(), &*rule.rules))
    }

    /// Whether a filter may match a channel whose rules are `wanted`, according to the texts of the
    /// patterns. Never false if such a channel is possible; may be true although none is.
    #[must_use]
    pub fn may_match(&self, filter: &Filter, wanted: impl Fn(&ChannelRules) -> bool) -> bool {
        for Rule { pattern, rules, .. } in &self.rules {
            if wanted(rules) && pattern.overlaps(filter) {
                return true;
            }
            // The first pattern that matches a name applies.
            if pattern.contains(filter) {
                return false;
            }
        }
        false
    }

    /// A pattern or guarded beginning of channels that a filter may match and that somebody may not
    /// read: `may` says whether they have an access to all names of a pattern. Never none if there
    /// are such channels; may be a pattern although there are none.
    pub(crate) fn withheld(
        &self,
        filter: &Filter,
        may: impl Fn(Access, &Pattern) -> bool,
    ) -> Option<&str> {
        for rule in &self.rules {
            if !rule.pattern.overlaps(filter) {
                continue;
            }
            if !may(rule.rules.subscribe, &rule.pattern) {
                return Some(rule.pattern.as_str());
            }
            let guards = self.guarded.iter();
            let guards = guards.filter(|prefix| !rule.pattern.as_str().starts_with(&***prefix));
            for prefix in guards {
                let guarded = Pattern::new(&format!("{prefix}*"));
                let applies = guarded.overlaps(filter) && guarded.meets(&rule.pattern);
                if applies && !may(rule.guarded.subscribe, &guarded) {
                    return Some(prefix);
                }
            }
            // The first pattern that matches a name applies.
            if rule.pattern.contains(filter) {
                return None;
            }
        }
        None
    }

    /// Whether everybody may read the same channels by other rules.
    pub(crate) fn reads_alike(&self, other: &Self) -> bool {
        let alike = |(one, other): (&Rule, &Rule)| {
            one.pattern == other.pattern
                && one.rules.subscribe == other.rules.subscribe
                && one.guarded.subscribe == other.guarded.subscribe
        };
        self.guarded == other.guarded
            && self.rules.len() == other.rules.len()
            && self.rules.iter().zip(&other.rules).all(alike)
    }

    /// Whether these rules have the same patterns as others, and this access for one of them.
    pub(crate) fn keeps(&self, others: &Self, pattern: &Pattern, access: Access) -> bool {
        let patterns = self.rules.iter().map(|rule| &rule.pattern);
        patterns.eq(others.rules.iter().map(|rule| &rule.pattern))
            && self
                .rules
                .iter()
                .any(|rule| rule.pattern == *pattern && rule.rules.subscribe == access)
    }

    /// The longest time for which any rule remembers an idempotency key.
    #[must_use]
    pub fn longest_key_window(&self) -> Duration {
        let windows = self.rules.iter().map(|rule| rule.rules.key_window);
        windows.max().unwrap_or_default()
    }
}
