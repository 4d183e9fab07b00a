//! API keys, with which a backend uses the HTTP API.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use offhook_engine::{ChannelName, Pattern};

/// What an API key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// To publish.
    Publish,
    /// To read history, state, presence, channels and receipts.
    Read,
    /// To act on sessions: list, tell, subscribe, unsubscribe, disconnect, revoke.
    Sessions,
    /// To see statistics, and to explain rules.
    Admin,
    /// Permits reading `/metrics`.
    Metrics,
}

const SCOPES: [(&str, Scope); 5] = [
    ("publish", Scope::Publish),
    ("read", Scope::Read),
    ("sessions", Scope::Sessions),
    ("admin", Scope::Admin),
    ("metrics", Scope::Metrics),
];

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 5] = [
        Self::Publish,
        Self::Read,
        Self::Sessions,
        Self::Admin,
        Self::Metrics,
    ];

    /// The name in settings and errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Sessions => "sessions",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
        }
    }
}

/// An entry for an API key: its hash and its scopes.
///
/// As text: scopes or `*`, optionally a pattern of channels, and the SHA-256 of the key in
/// hexadecimal: `publish+read chat/* sha256:9f86…`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    scopes: Vec<Scope>,
    channels: Pattern,
    hash: [u8; 32],
}

/// A text that is not an entry for an API key. The text is not repeated, since it may be the key
/// itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidApiKey(&'static str);

impl fmt::Display for InvalidApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidApiKey {}

impl ApiKey {
    /// An entry for everything.
    #[must_use]
    pub fn of_everything(key: &str) -> Self {
        Self {
            scopes: Scope::ALL.to_vec(),
            channels: Pattern::new("*"),
            hash: hash_of(key),
        }
    }

    /// Whether it has this scope.
    #[must_use]
    pub fn is_for(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether it includes a channel.
    #[must_use]
    pub fn reaches(&self, channel: &ChannelName) -> bool {
        self.channels.matches(channel)
    }

    /// The text with which the names of all channels that it includes start.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.channels.prefix()
    }

    /// Whether it includes every channel.
    #[must_use]
    pub fn reaches_all(&self) -> bool {
        self.channels.as_str() == "*"
    }

    /// Its name in logs: the first bytes of its hash.
    #[must_use]
    pub fn name(&self) -> String {
        HEXLOWER.encode(&self.hash[..4])
    }
}

impl FromStr for ApiKey {
    type Err = InvalidApiKey;

    fn from_str(text: &str) -> Result<Self, InvalidApiKey> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let (scopes, channels, hash) = match parts[..] {
            [scopes, hash] => (scopes, "*", hash),
            [scopes, channels, hash] => (scopes, channels, hash),
            [..] => {
                return Err(InvalidApiKey(
                    "expected scopes, maybe a pattern of channels, and the key's hash, like \
                     \"publish+read chat/* sha256:9f86...\"; `offhook token --api-key` creates one",
                ));
            }
        };
        let scopes = if scopes == "*" {
            Scope::ALL.to_vec()
        } else {
            let scope = |name: &str| {
                let known = SCOPES.iter().find(|(known, _)| *known == name);
                let unknown =
                    "unknown scope; expected publish, read, sessions, admin, metrics or *";
                known.map(|(_, scope)| *scope).ok_or(InvalidApiKey(unknown))
            };
            scopes.split('+').map(scope).collect::<Result<_, _>>()?
        };
        let hash = hash.strip_prefix("sha256:");
        let hash = hash.and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok());
        let hash = hash.and_then(|hash| <[u8; 32]>::try_from(hash).ok());
        let hash = hash.ok_or(InvalidApiKey(
            "the key's hash is missing: sha256: and 64 hexadecimal digits, never the key itself",
        ))?;
        Ok(Self {
            scopes,
            channels: Pattern::new(channels),
            hash,
        })
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scopes: Vec<_> = self.scopes.iter().map(|scope| scope.name()).collect();
        let scopes = scopes.join("+");
        let hash = HEXLOWER.encode(&self.hash);
        write!(f, "{scopes} {} sha256:{hash}", self.channels.as_str())
    }
}

/// Omits the hash.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("name", &self.name())
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// The keys that the HTTP API accepts.
#[derive(Clone, Debug, Default)]
pub struct ApiKeys(Vec<ApiKey>);

impl ApiKeys {
    /// A set of these keys.
    #[must_use]
    pub fn new(keys: Vec<ApiKey>) -> Self {
        Self(keys)
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entry for the key in a request.
    ///
    /// Hashes are compared, in constant time, and always with all entries: the time reveals neither
    /// how close a guess was nor which key it was.
    #[must_use]
    pub fn find(&self, presented: &str) -> Option<&ApiKey> {
        let hash = hash_of(presented);
        let mut found = None;
        for key in &self.0 {
            if verify_slices_are_equal(&key.hash, &hash).is_ok() {
                found = Some(key);
            }
        }
        found
    }
}

/// A key has 256 random bits, so a hash without salt and stretching is sufficient.
fn hash_of(key: &str) -> [u8; 32] {
    let hash = digest(&SHA256, key.as_bytes());
    <[u8; 32]>::try_from(hash.as_ref()).expect("SHA-256 has 32 bytes")
}

/// Creates an API key; none if the system has no random bytes. It begins with `ohk_`, so that
/// secret scanners find one that was committed to a repository.
#[must_use]
pub fn new_api_key() -> Option<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(format!("ohk_{}", BASE64URL_NOPAD.encode(&bytes)))
}
