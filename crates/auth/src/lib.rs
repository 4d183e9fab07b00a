//! Who may connect to the Offhook server and do what: tokens and API keys, verified without I/O.
//!
//! A [`Verifier`] checks JSON Web Tokens (RFC 7519) against its [`KeySet`], and says whose they are:
//! [`Claims`], which make an [`Identity`](offhook_engine::Identity) for the engine. A [`Signer`]
//! makes tokens. [`Refetching`] decides when keys are fetched from a URL; whoever drives it does the
//! fetching. An [`ApiKeys`] tells which of the backend's keys a request has.
//!
//! The time is an argument everywhere, in milliseconds since 1970. The cryptography is AWS-LC's.
//!
//! What keeps a forged token out:
//!
//! - **A key has its algorithms, and a token chooses among keys only.** A token's `alg` never decides
//!   how a key is used: a public key cannot serve as the secret of an HMAC, and there is no `none`.
//! - Only three parts, only base64url without padding, only one JSON object each, no name twice.
//! - A header with `crit` is refused: nothing that it could name is understood here.
//! - `kid` is compared with the names of known keys and is never a path, a URL or a query. `jwk`, `jku`,
//!   `x5c` and `x5u`, with which a token brings its own key, are not read.
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
pub use claims::{Claims, MAX_GRANTS, MAX_INFO, MAX_USER, Unverified, inspect};
pub use grants::{InvalidGrant, UserGrant};
pub use key::{InvalidKey, Key};
pub use key_set::{KeySet, MAX_KEYS};
pub use refetching::{RefetchLimits, Refetching};
pub use sign::{SignError, Signer};
pub use token_error::TokenError;
pub use verify::{MAX_TOKEN, Rules, Verifier};
