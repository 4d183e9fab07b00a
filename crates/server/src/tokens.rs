//! Resume tokens: a session, sealed so that only nodes with the key can read or make one.
//!
//! A token is `v1.` and, in base64url, a nonce and the sealed
//! [bytes of the snapshot](SessionSnapshot::to_bytes). AES-256-GCM-SIV (RFC 8452): nonces are
//! random, many nodes seal with one key for years, and this cipher stays safe even if two of them
//! should ever be the same.

use std::{fmt, io, time::Duration};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use data_encoding::BASE64URL_NOPAD;
use offhook_engine::{ErrorCode, Refusal, SessionSnapshot};

use crate::config::ResumeKey;

const VERSION: &str = "v1.";
/// What else a key may one day seal can't be taken for a token.
const PURPOSE: &[u8] = b"offhook resume v1";

/// Seals sessions and opens them.
pub(crate) struct Sealer {
    key: LessSafeKey,
    expiry: Duration,
}

impl Sealer {
    pub(crate) fn new(key: &ResumeKey, expiry: Duration) -> Self {
        let key = UnboundKey::new(&AES_256_GCM_SIV, &key.0)
            .expect("this cipher's keys have 32 bytes, as many as a ResumeKey");
        Self {
            key: LessSafeKey::new(key),
            expiry,
        }
    }

    /// How long a token is good.
    pub(crate) const fn expiry(&self) -> Duration {
        self.expiry
    }

    /// The token of a session; none where the session is too large for one, or the system has no
    /// randomness. Its client then comes back with its positions.
    pub(crate) fn seal(&self, session: &SessionSnapshot) -> Option<String> {
        let mut sealed = session.to_bytes()?;
        let nonce = random_bytes::<NONCE_LEN>().ok()?;
        let assumed = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(assumed, Aad::from(PURPOSE), &mut sealed)
            .ok()?;
        let mut token = VERSION.to_owned();
        BASE64URL_NOPAD.encode_append(&[&nonce[..], &sealed].concat(), &mut token);
        Some(token)
    }

    /// The session in a token.
    pub(crate) fn open(&self, token: &str, now_ms: u64) -> Result<SessionSnapshot, Refusal> {
        let bytes = token
            .strip_prefix(VERSION)
            .and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok());
        let mut bytes = bytes.ok_or_else(|| bad("is no resume token"))?;
        let Some((nonce, sealed)) = bytes.split_first_chunk_mut::<NONCE_LEN>() else {
            return Err(bad("is too short to be a resume token"));
        };
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(PURPOSE), sealed)
            .map_err(|_| bad("was not sealed by this server"))?;
        let session = SessionSnapshot::from_bytes(plain)?;
        let expiry = u64::try_from(self.expiry.as_millis()).unwrap_or(u64::MAX);
        if now_ms.saturating_sub(session.time_ms) > expiry {
            return Err(bad("has expired"));
        }
        Ok(session)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

fn bad(what: &str) -> Refusal {
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
