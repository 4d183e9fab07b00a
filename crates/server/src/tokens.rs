//! Resume tokens: sealed sessions that only nodes with the key can read or make.
//!
//! A token is `v3.` and, in base64url: which key sealed it (4 bytes), a nonce (12 bytes), and the
//! sealed [bytes of the snapshot](SessionSnapshot::to_bytes). It ends with the identity in it.
//!
//! The token of a session with so many subscriptions that it would be longer than [`LONGEST`], or
//! with a window of unacknowledged messages, begins with `r3.` and contains the session without
//! them: they are stored by the broker, which is told of each change. If the broker does not have
//! them any more, the session resumes without subscriptions, and its client subscribes again.
//!
//! AES-256-GCM-SIV (RFC 8452): nonces are random, many nodes seal with one key for years, and this
//! cipher stays secure even if two nonces are ever equal.

use std::{
    fmt, io,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{SHA256, digest},
};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use offhook_engine::{ErrorCode, Flow, Refusal, SessionSnapshot, SubscriptionSnapshot};

use crate::config::ResumeKey;

/// The longest token that contains a session's subscriptions. 8 KiB: enough for the 128
/// subscriptions that a session may have by default, so that only larger sessions cost the server
/// anything; and far below the longest message, in which a token has to be sent back.
pub(crate) const LONGEST: usize = 8 * 1024;

/// A token that contains its session.
const WHOLE: Form = Form {
    version: "v3.",
    purpose: b"offhook resume v3",
};
/// A token whose session's subscriptions are stored by the broker.
const REFERENCE: Form = Form {
    version: "r3.",
    purpose: b"offhook resume reference v3",
};
const KEY_ID: usize = 4;

/// A kind of token.
#[derive(Clone, Copy)]
struct Form {
    version: &'static str,
    /// If a key seals something else one day, that must not be accepted as a token.
    purpose: &'static [u8],
}

/// A session's token.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// What the broker has to store of the session for as long as the token is valid: the bytes of
    /// a snapshot. None if the token contains everything.
    pub(crate) kept: Option<Bytes>,
}

/// The content of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// The session.
    Whole(SessionSnapshot),
    /// The session without its subscriptions, which the broker stores.
    Reference(SessionSnapshot),
}

/// Seals and opens sessions. The keys can be replaced while the server runs.
pub(crate) struct Sealer {
    keys: RwLock<Arc<[Key]>>,
    expiry: Duration,
}

struct Key {
    id: [u8; KEY_ID],
    key: LessSafeKey,
}

impl Sealer {
    /// The first key seals; all of them open. Tokens sealed with other keys are refused.
    pub(crate) fn new(keys: &[ResumeKey], expiry: Duration) -> Self {
        Self {
            keys: RwLock::new(keys.iter().map(Key::new).collect()),
            expiry,
        }
    }

    /// Replaces the keys.
    pub(crate) fn set_keys(&self, keys: &[ResumeKey]) {
        let keys = keys.iter().map(Key::new).collect();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn keys(&self) -> Arc<[Key]> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long a token is valid.
    pub(crate) const fn expiry(&self) -> Duration {
        self.expiry
    }

    /// The token of a session; none if there is no key, the session is too large for the bytes of a
    /// snapshot, or the system has no random bytes. Its client then reconnects with its positions.
    pub(crate) fn seal(&self, session: &SessionSnapshot) -> Option<Token> {
        let bytes = session.to_bytes()?;
        // Acknowledgements change too often for a token.
        let has_window = |s: &SubscriptionSnapshot| s.flow != Flow::Pushed;
        let is_whole = !session.subscriptions.iter().any(has_window);
        if is_whole && token_len(bytes.len()) <= LONGEST {
            let text = self.seal_as(WHOLE, bytes)?;
            return Some(Token { text, kept: None });
        }
        let without = SessionSnapshot {
            subscriptions: Vec::new(),
            ..session.clone()
        };
        Some(Token {
            text: self.seal_as(REFERENCE, without.to_bytes()?)?,
            kept: Some(bytes.into()),
        })
    }

    fn seal_as(&self, form: Form, mut envelope: Vec<u8>) -> Option<String> {
        let keys = self.keys();
        let key = keys.first()?;
        let nonce = random_bytes::<NONCE_LEN>().ok()?;
        let assumed = Nonce::assume_unique_for_key(nonce);
        key.key
            .seal_in_place_append_tag(assumed, Aad::from(form.purpose), &mut envelope)
            .ok()?;
        let mut token = form.version.to_owned();
        let parts = [&key.id[..], &nonce, &envelope].concat();
        BASE64URL_NOPAD.encode_append(&parts, &mut token);
        Some(token)
    }

    /// Opens a token.
    pub(crate) fn open(&self, token: &str, now_ms: u64) -> Result<Opened, Refusal> {
        if token.starts_with(REFERENCE.version) {
            let session = self.open_as(REFERENCE, token, now_ms)?;
            return Ok(Opened::Reference(session));
        }
        self.open_as(WHOLE, token, now_ms).map(Opened::Whole)
    }

    fn open_as(&self, form: Form, token: &str, now_ms: u64) -> Result<SessionSnapshot, Refusal> {
        let bytes = token
            .strip_prefix(form.version)
            .and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok());
        let mut bytes = bytes.ok_or_else(|| bad("is not a resume token"))?;
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
            .open_in_place(nonce, Aad::from(form.purpose), sealed)
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

/// The length of the token for this many bytes.
fn token_len(bytes: usize) -> usize {
    let parts = KEY_ID + NONCE_LEN + bytes + AES_256_GCM_SIV.tag_len();
    WHOLE.version.len() + BASE64URL_NOPAD.encode_len(parts)
}

impl Key {
    fn new(key: &ResumeKey) -> Self {
        let unbound = UnboundKey::new(&AES_256_GCM_SIV, &key.0)
            .expect("this cipher's keys have 32 bytes, as many as a ResumeKey");
        // The first bytes of a hash: they identify the key and reveal nothing about it.
        let hash = digest(&SHA256, &[WHOLE.purpose, &key.0].concat());
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

/// Unpredictable bytes.
pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
