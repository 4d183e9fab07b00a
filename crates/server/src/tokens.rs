//! Resume tokens: a session, sealed so that only nodes with the key can read or make one.
//!
//! A token is `v3.` and, in base64url: which key sealed it (4 bytes), a nonce (12 bytes), and the
//! sealed [bytes of the snapshot](SessionSnapshot::to_bytes). It ends with the identity in it.
//!
//! AES-256-GCM-SIV (RFC 8452): nonces are random, many nodes seal with one key for years, and this
//! cipher stays safe even if two of them should ever be the same.

use std::{
    fmt, io,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{SHA256, digest},
};
use data_encoding::BASE64URL_NOPAD;
use offhook_engine::{ErrorCode, Refusal, SessionSnapshot};

use crate::config::ResumeKey;

const VERSION: &str = "v3.";
/// A key may one day seal something else, which must not pass for a token.
const PURPOSE: &[u8] = b"offhook resume v3";
const KEY_ID: usize = 4;

/// Seals sessions and opens them. The keys can be exchanged while the server runs.
pub(crate) struct Sealer {
    keys: RwLock<Arc<[Key]>>,
    expiry: Duration,
}

struct Key {
    id: [u8; KEY_ID],
    key: LessSafeKey,
}

impl Sealer {
    /// The first key seals; all of them open. Tokens of a key that is not among them are refused.
    pub(crate) fn new(keys: &[ResumeKey], expiry: Duration) -> Self {
        Self {
            keys: RwLock::new(keys.iter().map(Key::new).collect()),
            expiry,
        }
    }

    /// Exchanges the keys.
    pub(crate) fn set_keys(&self, keys: &[ResumeKey]) {
        let keys = keys.iter().map(Key::new).collect();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn keys(&self) -> Arc<[Key]> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long a token is good.
    pub(crate) const fn expiry(&self) -> Duration {
        self.expiry
    }

    /// The token of a session; none if there is no key, the session is too large for one, or the
    /// system has no randomness. Its client then comes back with its positions.
    pub(crate) fn seal(&self, session: &SessionSnapshot) -> Option<String> {
        let keys = self.keys();
        let key = keys.first()?;
        let mut envelope = session.to_bytes()?;
        let nonce = random_bytes::<NONCE_LEN>().ok()?;
        let assumed = Nonce::assume_unique_for_key(nonce);
        key.key
            .seal_in_place_append_tag(assumed, Aad::from(PURPOSE), &mut envelope)
            .ok()?;
        let mut token = VERSION.to_owned();
        let parts = [&key.id[..], &nonce, &envelope].concat();
        BASE64URL_NOPAD.encode_append(&parts, &mut token);
        Some(token)
    }

    /// What a token says.
    pub(crate) fn open(&self, token: &str, now_ms: u64) -> Result<SessionSnapshot, Refusal> {
        let bytes = token
            .strip_prefix(VERSION)
            .and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok());
        let mut bytes = bytes.ok_or_else(|| bad("is no resume token"))?;
        let short = || bad("is too short to be a resume token");
        let (id, rest) = bytes.split_first_chunk_mut::<KEY_ID>().ok_or_else(short)?;
        let (nonce, sealed) = rest
            .split_first_chunk_mut::<NONCE_LEN>()
            .ok_or_else(short)?;
        let keys = self.keys();
        let key = keys.iter().find(|key| key.id == *id);
        let key = key.ok_or_else(|| bad("was sealed with a key that this server does not have"))?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key
            .key
            .open_in_place(nonce, Aad::from(PURPOSE), sealed)
            .map_err(|_| bad("was not sealed by this server"))?;
        let session = SessionSnapshot::from_bytes(plain)?;
        if session.identity.ends_ms.is_some_and(|ends| now_ms >= ends) {
            return Err(bad("is of an identity that has expired"));
        }
        let expiry = u64::try_from(self.expiry.as_millis()).unwrap_or(u64::MAX);
        if now_ms.saturating_sub(session.time_ms) >= expiry {
            return Err(bad("has expired"));
        }
        Ok(session)
    }
}

impl Key {
    fn new(key: &ResumeKey) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM_SIV, &key.0)
            .expect("this cipher's keys have 32 bytes, as many as a ResumeKey");
        // The first bytes of a hash: they name the key and say nothing about it.
        let hash = digest(&SHA256, &[PURPOSE, &key.0].concat());
        let mut id = [0; KEY_ID];
        id.iter_mut()
            .zip(hash.as_ref())
            .for_each(|(id, byte)| *id = *byte);
        Self {
            id,
            key: LessSafeKey::new(unbound),
        }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

pub(crate) fn bad(what: &str) -> Refusal {
    let detail = format!("resume: {what}; connect without it and subscribe with positions");
    Refusal::new(ErrorCode::BadToken, detail)
}

/// A new key.
pub(crate) fn fresh_key() -> io::Result<ResumeKey> {
    random_bytes().map(ResumeKey)
}

/// Bytes that nobody can foresee.
pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
