//! Keys as JSON (RFC 7517).

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use crate::{algorithm::Algorithm, key::Key};

/// One key of a set. Fields that no supported public key has are ignored.
#[derive(Deserialize)]
pub(crate) struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The longest name of a key. Issuers use hashes and UUIDs.
const MAX_KID: usize = 256;

impl Jwk {
    /// The key, if it verifies signatures with a supported algorithm. A secret (`oct`) is never
    /// accepted: what anyone can fetch is not secret.
    pub(crate) fn key(&self) -> Option<Key> {
        if self
            .purpose
            .as_deref()
            .is_some_and(|purpose| purpose != "sig")
        {
            return None;
        }
        let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
        if !self.key_ops.as_ref().is_none_or(verifies) {
            return None;
        }
        let key = match (&*self.kty, self.crv.as_deref()) {
            ("RSA", _) => Key::rsa(&bytes(&self.n)?, &bytes(&self.e)?),
            ("EC", Some("P-256")) => {
                let point = [&[4][..], &bytes(&self.x)?, &bytes(&self.y)?].concat();
                Key::p256(&point)
            }
            ("OKP", Some("Ed25519")) => Key::ed25519(&bytes(&self.x)?),
            _other => None,
        }?;
        let key = match &self.alg {
            Some(name) => key.only(Algorithm::named(name)?)?,
            None => key,
        };
        match &self.kid {
            Some(id) if id.len() > MAX_KID => None,
            Some(id) => Some(key.named(id)),
            None => Some(key),
        }
    }
}

fn bytes(text: &Option<String>) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.as_ref()?.as_bytes()).ok()
}
