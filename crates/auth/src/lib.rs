//! Authentication and authorisation for the Offhook server: tokens and API keys, verified without
//! I/O.
//!
//! A [`Verifier`] checks JSON Web Tokens (RFC 7519) with its [`KeySet`], and returns their
//! [`Claims`], from which an [`Identity`](offhook_engine::Identity) for the engine is made. A
//! [`Signer`] creates tokens. [`Refetching`] decides when keys are fetched from a URL; its driver
//! does the fetching. [`ApiKeys`] finds the entry for the API key in a request. [`App`]
//! verifies the signatures of the Pusher protocol. A [`CertificateRule`] says which user the
//! [`Certificate`] of a TLS client stands for.
//!
//! The time is always an argument, in milliseconds since 1970. The cryptography is that of AWS-LC.
//!
//! Forged tokens are rejected by these rules:
//!
//! - **A key determines its algorithms; a token can only choose a key.** A token's `alg` never
//!   decides how a key is used: a public key cannot serve as the secret of an HMAC, and there is no
//!   `none`.
//! - Exactly three parts, each base64url without padding; header and claims are one JSON object
//!   each, without repeated names.
//! - A header with `crit` is refused, because no critical extension is supported.
//! - `kid` is compared with the names of known keys, and never used as a path, a URL or a query.
//!   `jwk`, `jku`, `x5c` and `x5u`, with which a token would supply its own key, are ignored.
//!
//! ```
//! use offhook_auth::{Algorithm, Claims, Key, KeySet, Signer, Verifier};
//!
//! let secret = b"an example of thirty-two bytes..";
//! let signer = Signer::hmac(Algorithm::Hs256, secret)?;
//! let token = signer.sign(&serde_json::json!({ "sub": "ann", "exp": 2_000_000_000 }))?;
//!
//! let keys = KeySet::new(vec![Key::hmac(Algorithm::Hs256, secret)?]);
//! let claims: Claims = Verifier::new(keys).verify(&token, 1_900_000_000_000)?;
//! assert_eq!(claims.user(), "ann");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod algorithm;
mod api_key;
mod app;
mod certificate;
mod certificate_rule;
mod claims;
mod grants;
mod jwk;
mod key;
mod key_set;
mod pem;
mod refetching;
mod sign;
mod token_error;
mod verify;

pub use algorithm::Algorithm;
pub use api_key::{ApiKey, ApiKeys, InvalidApiKey, Scope, new_api_key};
pub use app::{App, AppKey, BadRequestSignature, InvalidApp, SignedRequest, apps_of};
pub use certificate::{Certificate, date};
pub use certificate_rule::CertificateRule;
pub use claims::{Claims, MAX_GRANTS, MAX_INFO, MAX_USER, Unverified, inspect};
pub use grants::{InvalidGrant, UserGrant};
pub use key::{InvalidKey, Key};
pub use key_set::{KeySet, MAX_KEYS};
pub use refetching::{RefetchLimits, Refetching};
pub use sign::{SignError, Signer};
pub use token_error::TokenError;
pub use verify::{MAX_TOKEN, Rules, Verifier};
