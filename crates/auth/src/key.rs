//! A key that verifies tokens, tied to the algorithms that it may be used with.

use std::fmt;

use aws_lc_rs::{
    hmac,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
        RSA_PSS_2048_8192_SHA256, RsaParameters, VerificationAlgorithm,
    },
};

use crate::{algorithm::Algorithm, pem};

/// A key that verifies tokens.
///
/// Its kind determines the algorithms: one HMAC for a secret, RS256 and PS256 for an RSA key, ES256
/// for a P-256 key, EdDSA for an Ed25519 key. A token cannot change that.
#[derive(Clone)]
pub struct Key {
    id: Option<Box<str>>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Secret(Algorithm, Box<hmac::Key>),
    /// Each algorithm, with the key parsed for it.
    Public(Vec<(Algorithm, ParsedPublicKey)>),
}

/// The input is not a key that could verify tokens. The key itself is never part of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidKey(pub(crate) String);

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidKey {}

impl Key {
    /// A secret that signs and verifies.
    ///
    /// # Errors
    /// The secret is shorter than the algorithm's hash, or the algorithm is no HMAC.
    pub fn hmac(algorithm: Algorithm, secret: &[u8]) -> Result<Self, InvalidKey> {
        let Some((hmac, least)) = algorithm.hmac() else {
            return Err(InvalidKey(format!("{algorithm} does not use a secret")));
        };
        if secret.len() < least {
            // RFC 7518 §3.2: a shorter one can be guessed from a single token.
            return Err(InvalidKey(format!(
                "the secret has {} bytes, and {algorithm} needs at least {least}; \
                 `openssl rand -hex {least}` creates one",
                secret.len()
            )));
        }
        let material = Material::Secret(algorithm, Box::new(hmac::Key::new(hmac, secret)));
        Ok(Self { id: None, material })
    }

    /// Public keys in PEM: `PUBLIC KEY` or `RSA PUBLIC KEY`, one or several.
    ///
    /// # Errors
    /// It is no PEM, has no public key, or one of a kind that no algorithm here takes.
    pub fn from_pem(text: &str) -> Result<Vec<Self>, InvalidKey> {
        let broken = || InvalidKey("a PEM block is invalid".to_owned());
        let blocks = pem::blocks(text).ok_or_else(broken)?;
        if blocks.is_empty() {
            let detail = "no PEM block: expected -----BEGIN PUBLIC KEY-----";
            return Err(InvalidKey(detail.to_owned()));
        }
        let keys = blocks.iter().map(|block| match block.label.as_str() {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => Self::from_der(&block.der),
            label => Err(InvalidKey(format!(
                "a PEM block holds a {label}, expected a PUBLIC KEY; \
                 `openssl pkey -in private.pem -pubout` and \
                 `openssl x509 -in cert.pem -pubkey -noout` give one"
            ))),
        });
        keys.collect()
    }

    /// A public key in DER: a `SubjectPublicKeyInfo` (RFC 5280 §4.1), or for RSA also an
    /// `RSAPublicKey` (RFC 8017 §A.1.1).
    ///
    /// # Errors
    /// The input is not a key, or is a key for an unsupported algorithm.
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidKey> {
        let parse = |algorithm: &'static dyn VerificationAlgorithm| {
            ParsedPublicKey::new(algorithm, der).ok()
        };
        if let Some(key) = parse(&ED25519).filter(|_| der.len() > ED25519_RAW) {
            return Ok(Self::public(vec![(Algorithm::EdDsa, key)]));
        }
        if let Some(key) = parse(&ECDSA_P256_SHA256_FIXED).filter(|_| der.len() > P256_POINT) {
            return Ok(Self::public(vec![(Algorithm::Es256, key)]));
        }
        let rsa = [
            (Algorithm::Rs256, parse(&RSA_PKCS1_2048_8192_SHA256)),
            (Algorithm::Ps256, parse(&RSA_PSS_2048_8192_SHA256)),
        ];
        let rsa: Vec<_> = rsa
            .into_iter()
            .filter_map(|(algorithm, key)| Some((algorithm, key?)))
            .collect();
        if rsa.is_empty() {
            let detail = "the public key is neither RSA (2048 to 8192 bits), P-256 nor Ed25519";
            return Err(InvalidKey(detail.to_owned()));
        }
        Ok(Self::public(rsa))
    }

    /// An Ed25519 key of 32 bytes.
    pub(crate) fn ed25519(x: &[u8]) -> Option<Self> {
        let key = ParsedPublicKey::new(&ED25519, x).ok()?;
        (x.len() == ED25519_RAW).then(|| Self::public(vec![(Algorithm::EdDsa, key)]))
    }

    /// A point on P-256: 0x04, x and y.
    pub(crate) fn p256(point: &[u8]) -> Option<Self> {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?;
        (point.len() == P256_POINT).then(|| Self::public(vec![(Algorithm::Es256, key)]))
    }

    /// An RSA key: modulus and exponent.
    pub(crate) fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        if !(RSA_LEAST..=RSA_MOST).contains(&n.len()) || e.len() > 8 {
            return None;
        }
        let parse = |parameters: &'static RsaParameters| {
            let components = PublicKeyComponents { n, e };
            components.to_parsed_public_key(parameters).ok()
        };
        Some(Self::public(vec![
            (Algorithm::Rs256, parse(&RSA_PKCS1_2048_8192_SHA256)?),
            (Algorithm::Ps256, parse(&RSA_PSS_2048_8192_SHA256)?),
        ]))
    }

    fn public(keys: Vec<(Algorithm, ParsedPublicKey)>) -> Self {
        Self {
            id: None,
            material: Material::Public(keys),
        }
    }

    /// The same key, with the name that tokens refer to (`kid`).
    #[must_use]
    pub fn named(mut self, id: &str) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The same key for only one of its algorithms; none if it does not support that.
    pub(crate) fn only(self, algorithm: Algorithm) -> Option<Self> {
        let material = match self.material {
            Material::Secret(own, key) if own == algorithm => Material::Secret(own, key),
            Material::Secret(..) => return None,
            Material::Public(mut keys) => {
                keys.retain(|(own, _)| *own == algorithm);
                if keys.is_empty() {
                    return None;
                }
                Material::Public(keys)
            }
        };
        Some(Self { material, ..self })
    }

    /// The name that tokens refer to.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether it may verify tokens with this algorithm.
    #[must_use]
    pub fn takes(&self, algorithm: Algorithm) -> bool {
        match &self.material {
            Material::Secret(own, _) => *own == algorithm,
            Material::Public(keys) => keys.iter().any(|(own, _)| *own == algorithm),
        }
    }

    /// Whether it signed `message`, with a supported algorithm.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            // Compared in constant time.
            Material::Secret(own, key) => {
                *own == algorithm && hmac::verify(key, message, signature).is_ok()
            }
            Material::Public(keys) => {
                let mut keys = keys.iter().filter(|(own, _)| *own == algorithm);
                keys.any(|(_, key)| key.verify_sig(message, signature).is_ok())
            }
        }
    }
}

/// The number of bytes of an Ed25519 key, of a point on P-256, and of RSA moduli: 2048 to 8192
/// bits.
const ED25519_RAW: usize = 32;
const P256_POINT: usize = 65;
const RSA_LEAST: usize = 256;
const RSA_MOST: usize = 1024;

/// Omits the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let takes: Vec<_> = Algorithm::ALL
            .into_iter()
            .filter(|a| self.takes(*a))
            .collect();
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("takes", &takes)
            .finish_non_exhaustive()
    }
}
