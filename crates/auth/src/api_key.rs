//! Keys of the backend's requests to the HTTP API.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use offhook_engine::{ChannelName, Pattern};

/// What an API key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// To publish.
    Publish,
    /// To read history, state, presence, channels and receipts.
    Read,
    /// To reach sessions: list, tell, subscribe, unsubscribe, disconnect, revoke.
    Sessions,
    /// To see statistics and have rules explained.
    Admin,
}

const SCOPES: [(&str, Scope); 4] = [
    ("publish", Scope::Publish),
    ("read", Scope::Read),
    ("sessions", Scope::Sessions),
    ("admin", Scope::Admin),
];

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Publish, Self::Read, Self::Sessions, Self::Admin];

    /// The word in settings and errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Sessions => "sessions",
            Self::Admin => "admin",
        }
    }
}

/// What a key is known by: its hash, and what it is for.
///
/// As text: scopes or `*`, optionally a pattern of channels, and the SHA-256 of the key in
/// hexadecimal: `publish+read chat/* sha256:9f86…`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    scopes: Vec<Scope>,
    channels: Pattern,
    hash: [u8; 32],
}

/// A text that is no API key's entry. The text is not repeated: somebody may have put the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidApiKey(&'static str);

impl fmt::Display for InvalidApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidApiKey {}

impl ApiKey {
    /// A key for everything.
    #[must_use]
    pub fn of_everything(key: &str) -> Self {
        Self {
            scopes: Scope::ALL.to_vec(),
            channels: Pattern::new("*"),
            hash: hash_of(key),
        }
    }

    /// Whether it is for this.
    #[must_use]
    pub fn is_for(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether it reaches a channel.
    #[must_use]
    pub fn reaches(&self, channel: &ChannelName) -> bool {
        self.channels.matches(channel)
    }

    /// Whether it reaches every channel.
    #[must_use]
    pub fn reaches_all(&self) -> bool {
        self.channels.as_str() == "*"
    }

    /// What it is known by in logs: the first bytes of its hash.
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
                     \"publish+read chat/* sha256:9f86...\"; `offhook token --api-key` makes one",
                ));
            }
        };
        let scopes = if scopes == "*" {
            Scope::ALL.to_vec()
        } else {
            let scope = |name: &str| {
                let known = SCOPES.iter().find(|(known, _)| *known == name);
                let unknown = "a scope is unknown; there are publish, read, sessions, admin and *";
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

/// Without the hash.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("name", &self.name())
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// The keys that the HTTP API takes.
#[derive(Clone, Debug, Default)]
pub struct ApiKeys(Vec<ApiKey>);

impl ApiKeys {
    /// These keys.
    #[must_use]
    pub fn new(keys: Vec<ApiKey>) -> Self {
        Self(keys)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key that a request has.
    ///
    /// What is compared is hashes, in constant time, and always with all keys: how long it takes says
    /// nothing of how near a guess was, nor of which key it was.
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

/// A key has 256 random bits, so that a hash without salt and stretching is enough.
fn hash_of(key: &str) -> [u8; 32] {
    let hash = digest(&SHA256, key.as_bytes());
    <[u8; 32]>::try_from(hash.as_ref()).expect("SHA-256 has 32 bytes")
}

/// A new API key; none if the system has no randomness. It begins with `ohk_`, so that scanners of
/// repositories find one that was committed.
#[must_use]
pub fn new_api_key() -> Option<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(format!("ohk_{}", BASE64URL_NOPAD.encode(&bytes)))
}
