//! What a session may do where a rule requires a grant.

use std::fmt;

use crate::channel_name::Pattern;

/// Something that a session may do with a channel, or several of them together.
///
/// ```
/// use offhook_engine::Verbs;
/// let reads = Verbs::SUBSCRIBE | Verbs::HISTORY;
/// assert!(reads.contains(Verbs::HISTORY) && !reads.contains(Verbs::PUBLISH));
/// assert_eq!(Verbs::named("subscribe"), Some(Verbs::SUBSCRIBE));
/// assert_eq!(reads.to_string(), "subscribe+history");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Verbs(u8);

const NAMES: &[(&str, Verbs)] = &[
    ("publish", Verbs::PUBLISH),
    ("subscribe", Verbs::SUBSCRIBE),
    ("history", Verbs::HISTORY),
    ("presence", Verbs::PRESENCE),
    ("state", Verbs::STATE),
    ("call", Verbs::CALL),
];

impl Verbs {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// To publish.
    pub const PUBLISH: Self = Self(1);
    /// To subscribe, and to continue after a disconnect. Includes acknowledgements and receipts.
    pub const SUBSCRIBE: Self = Self(2);
    /// To read history without subscribing.
    pub const HISTORY: Self = Self(4);
    /// To query the members.
    pub const PRESENCE: Self = Self(8);
    /// To read the state without subscribing.
    pub const STATE: Self = Self(16);
    /// To call the backend; the pattern is over the names of methods.
    pub const CALL: Self = Self(32);
    /// All of them.
    pub const ALL: Self = Self(63);
    /// All but publishing and calling.
    pub const READ: Self = Self(30);

    /// The verb of this name; `read` stands for all that only reads, and `*` for all.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "read" => Some(Self::READ),
            "*" => Some(Self::ALL),
            name => NAMES
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, verb)| *verb),
        }
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there are no grants.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    /// Bits that stand for no verb are left out.
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }
}

impl std::ops::BitOr for Verbs {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = NAMES.iter().filter(|(_, verb)| self.contains(*verb));
        if let Some((first, _)) = names.next() {
            f.write_str(first)?;
        }
        names.try_for_each(|(name, _)| write!(f, "+{name}"))
    }
}

/// What a session may do in the channels that match a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Where.
    pub pattern: Pattern,
    /// What.
    pub verbs: Verbs,
    /// When it ends, in milliseconds since 1970; none: with the identity. The engine reads no
    /// clock for it: the caller takes away what has ended, with
    /// [`Engine::replace_identity`](crate::Engine::replace_identity).
    pub ends_ms: Option<u64>,
}

impl Grant {
    /// A grant that ends with the identity.
    #[must_use]
    pub fn new(pattern: &str, verbs: Verbs) -> Self {
        Self {
            pattern: Pattern::new(pattern),
            verbs,
            ends_ms: None,
        }
    }

    /// The same, up to this moment in milliseconds since 1970.
    #[must_use]
    pub fn until(mut self, ends_ms: u64) -> Self {
        self.ends_ms = Some(ends_ms);
        self
    }
}
