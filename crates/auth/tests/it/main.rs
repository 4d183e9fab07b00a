//! Tokens and keys as whoever verifies them sees them. `attacks` is indexed by attack.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod api_keys;
mod apps;
mod attacks;
mod claims;
mod keys;
mod refetching;

use offhook_auth::{Algorithm, Key, KeySet, Rules, Signer, Verifier};
use serde_json::{Value, json};

/// 2027, in milliseconds.
const NOW: u64 = 1_800_000_000_000;

const SECRET: &[u8] = b"a secret of sixty-four bytes, which is enough for every HMAC here";

/// A token of ann's for the next hour.
fn claims() -> Value {
    json!({ "sub": "ann", "exp": NOW / 1000 + 3600 })
}

fn signer() -> Signer {
    Signer::hmac(Algorithm::Hs256, SECRET).unwrap()
}

fn verifier() -> Verifier {
    with_rules(Rules::default())
}

fn with_rules(rules: Rules) -> Verifier {
    let key = Key::hmac(Algorithm::Hs256, SECRET).unwrap();
    Verifier::with_rules(KeySet::new(vec![key]), rules)
}
