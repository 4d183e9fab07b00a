//! The keys with which tokens are verified.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    algorithm::Algorithm,
    jwk::Jwk,
    key::{InvalidKey, Key},
};

/// The maximum number of keys in a set. 100: issuers publish two or three, and a token without
/// `kid` is tried with each key of its algorithm.
pub const MAX_KEYS: usize = 100;

/// The keys with which tokens are verified.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<Key>);

#[derive(Deserialize)]
struct Jwks<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

impl KeySet {
    /// A set of these keys.
    #[must_use]
    pub fn new(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    /// The keys of a JSON Web Key Set (RFC 7517 §5). Keys of other kinds and uses are ignored, as
    /// the RFC requires, and so are secrets.
    ///
    /// # Errors
    /// It is no set, has more than [`MAX_KEYS`], or none that could verify a token.
    pub fn from_jwks(json: &[u8]) -> Result<Self, InvalidKey> {
        let set: Jwks<'_> = serde_json::from_slice(json)
            .map_err(|error| InvalidKey(format!("not a JSON Web Key Set: {error}")))?;
        let count = set.keys.len();
        if count > MAX_KEYS {
            let detail = format!("the set has {count} keys; the limit is {MAX_KEYS}");
            return Err(InvalidKey(detail));
        }
        let keys = set.keys.iter().filter_map(|raw| {
            let jwk: Jwk = serde_json::from_str(raw.get()).ok()?;
            jwk.key()
        });
        let keys: Vec<Key> = keys.collect();
        if keys.is_empty() {
            let detail = format!(
                "none of the set's {count} keys verifies tokens by RS256, PS256, ES256 or EdDSA"
            );
            return Err(InvalidKey(detail));
        }
        Ok(Self(keys))
    }

    /// The union of both sets.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.0.extend(others.0.iter().cloned());
        self
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys that may have signed a token with such a header: those with the name in it, or, if
    /// it has none, those without a name; in any case only those with its algorithm.
    pub(crate) fn candidates<'a>(
        &'a self,
        id: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a Key> {
        let fits = move |key: &&Key| match (id, key.id()) {
            (Some(wanted), Some(own)) => wanted == own,
            (None, _) | (Some(_), None) => true,
        };
        let keys = self.0.iter().filter(fits);
        keys.filter(move |key| key.takes(algorithm))
    }
}
