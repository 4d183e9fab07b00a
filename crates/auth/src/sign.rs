//! Creates tokens.

use std::fmt;

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeyPair,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaEncoding,
    },
};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;

use crate::{
    algorithm::Algorithm,
    key::{InvalidKey, Key},
    pem,
};

/// Signs tokens.
pub struct Signer {
    algorithm: Algorithm,
    id: Option<String>,
    material: Material,
}

enum Material {
    Secret(Box<hmac::Key>),
    Rsa(Box<KeyPair>),
    Ec(Box<EcdsaKeyPair>),
    Ed(Box<Ed25519KeyPair>),
}

/// Why a token could not be created.
#[derive(Debug)]
#[non_exhaustive]
pub enum SignError {
    /// The claims are no JSON.
    Claims(serde_json::Error),
    /// The cryptography failed.
    Signature,
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claims(error) => write!(f, "the claims are not JSON: {error}"),
            Self::Signature => f.write_str("the token could not be signed"),
        }
    }
}

impl std::error::Error for SignError {}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

impl Signer {
    /// Signs with a secret.
    ///
    /// # Errors
    /// As [`Key::hmac`].
    pub fn hmac(algorithm: Algorithm, secret: &[u8]) -> Result<Self, InvalidKey> {
        Key::hmac(algorithm, secret)?;
        let (hmac, _) = algorithm
            .hmac()
            .ok_or_else(|| InvalidKey(format!("{algorithm} does not use a secret")))?;
        Ok(Self {
            algorithm,
            id: None,
            material: Material::Secret(Box::new(hmac::Key::new(hmac, secret))),
        })
    }

    /// With a private key in PEM: PKCS #8, and for RSA also PKCS #1. Without an algorithm, RS256,
    /// ES256 or EdDSA is used, depending on the key.
    ///
    /// # Errors
    /// It is no such key, or does not fit the algorithm.
    pub fn from_pem(text: &str, algorithm: Option<Algorithm>) -> Result<Self, InvalidKey> {
        let wrong = |what: &str| InvalidKey(what.to_owned());
        let blocks = pem::blocks(text).ok_or_else(|| wrong("a PEM block is invalid"))?;
        let private = |label: &str| matches!(label, "PRIVATE KEY" | "RSA PRIVATE KEY");
        let block = blocks.iter().find(|block| private(&block.label));
        let missing = "no private key: expected -----BEGIN PRIVATE KEY-----";
        let block = block.ok_or_else(|| wrong(missing))?;
        Self::from_der(&block.der, algorithm)
    }

    /// As [`from_pem`](Self::from_pem), with the key in DER.
    ///
    /// # Errors
    /// As there.
    pub fn from_der(der: &[u8], wanted: Option<Algorithm>) -> Result<Self, InvalidKey> {
        let (material, takes): (_, &[Algorithm]) = if let Ok(key) = Ed25519KeyPair::from_pkcs8(der)
        {
            (Material::Ed(Box::new(key)), &[Algorithm::EdDsa])
        } else if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            (Material::Ec(Box::new(key)), &[Algorithm::Es256])
        } else {
            let key = KeyPair::from_pkcs8(der).or_else(|_| KeyPair::from_der(der));
            let none = "the private key is neither RSA, P-256 nor Ed25519";
            let key = key.map_err(|_| InvalidKey(none.to_owned()))?;
            let takes = &[Algorithm::Rs256, Algorithm::Ps256];
            (Material::Rsa(Box::new(key)), takes)
        };
        let algorithm = wanted.unwrap_or(takes[0]);
        if !takes.contains(&algorithm) {
            let detail = format!("this private key signs {}, not {algorithm}", takes[0]);
            return Err(InvalidKey(detail));
        }
        Ok(Self {
            algorithm,
            id: None,
            material,
        })
    }

    /// The same signer, which names the key in each token (`kid`).
    #[must_use]
    pub fn named(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Creates a token with these claims, which are not checked.
    ///
    /// # Errors
    /// The claims are no JSON, or the system has no randomness.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, SignError> {
        let header = Header {
            alg: self.algorithm.name(),
            typ: "JWT",
            kid: self.id.as_deref(),
        };
        let header = serde_json::to_vec(&header).map_err(SignError::Claims)?;
        let claims = serde_json::to_vec(claims).map_err(SignError::Claims)?;
        let mut token = BASE64URL_NOPAD.encode(&header);
        token.push('.');
        BASE64URL_NOPAD.encode_append(&claims, &mut token);
        let signature = self
            .signature(token.as_bytes())
            .ok_or(SignError::Signature)?;
        token.push('.');
        BASE64URL_NOPAD.encode_append(&signature, &mut token);
        Ok(token)
    }

    fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        Some(match &self.material {
            Material::Secret(key) => hmac::sign(key, message).as_ref().to_vec(),
            Material::Ed(key) => key.sign(message).as_ref().to_vec(),
            Material::Ec(key) => {
                let signature = key.sign(&SystemRandom::new(), message).ok()?;
                signature.as_ref().to_vec()
            }
            Material::Rsa(key) => {
                let encoding: &'static dyn RsaEncoding = if self.algorithm == Algorithm::Ps256 {
                    &RSA_PSS_SHA256
                } else {
                    &RSA_PKCS1_SHA256
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &SystemRandom::new(), message, &mut signature)
                    .ok()?;
                signature
            }
        })
    }
}

/// Omits the key.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("algorithm", &self.algorithm)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
