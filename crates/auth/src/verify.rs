//! Verifies tokens.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

use crate::{
    algorithm::Algorithm,
    claims::{Claims, Payload},
    key_set::KeySet,
    token_error::TokenError,
};

/// The maximum length of a token, in bytes: half of the limit for the head of a handshake.
pub const MAX_TOKEN: usize = 8 * 1024;

/// The maximum length of a header's field that an error repeats.
const SHOWN: usize = 64;

/// What a token must contain apart from a valid signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Names of this server, one of which must be in a token's `aud`. Without names, a token with
    /// an `aud` is refused as that of somebody else (RFC 7519 §4.1.3).
    pub audiences: Vec<String>,
    /// The accepted issuers (`iss`). Without any, every issuer with a key is accepted.
    pub issuers: Vec<String>,
    /// How far clocks may differ, in milliseconds. Default 30 s: the error of machines without a
    /// time service.
    pub leeway_ms: u64,
    /// Whether a token must expire (`exp`). Default: it must, since a leaked one would be valid
    /// forever.
    pub needs_end: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            audiences: Vec::new(),
            issuers: Vec::new(),
            leeway_ms: 30_000,
            needs_end: true,
        }
    }
}

/// Verifies tokens with keys and rules.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: KeySet,
    rules: Rules,
}

/// Fields that would supply a key are ignored.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
    b64: Option<serde_json::Value>,
}

impl Verifier {
    /// With the default rules.
    #[must_use]
    pub fn new(keys: KeySet) -> Self {
        Self::with_rules(keys, Rules::default())
    }

    /// With these rules.
    #[must_use]
    pub const fn with_rules(keys: KeySet, rules: Rules) -> Self {
        Self { keys, rules }
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// [`TokenError`] says what is wrong with it.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong {
                found: token.len(),
                limit: MAX_TOKEN,
            });
        }
        let (signed, signature) = token
            .rsplit_once('.')
            .ok_or(TokenError::Malformed("it has no dots"))?;
        let (header, claims) = signed
            .split_once('.')
            .filter(|(_, claims)| !claims.contains('.'))
            .ok_or(TokenError::Malformed(
                "it does not have three parts between dots",
            ))?;
        let header = decoded(header)?;
        self.check_signature(&header, signed, &decoded(signature)?)?;
        // Up to this line, only the header has been read: everything else is used after its
        // signature was verified.
        let claims = decoded(claims)?;
        let payload: Payload<'_> = object(&claims, "claims")?;
        let ends_ms = self.check(&payload, now_ms)?;
        let issued_ms = moment("iat", payload.iat.as_ref())?;
        Claims::new(payload, ends_ms, issued_ms)
    }

    fn check_signature(
        &self,
        header: &[u8],
        signed: &str,
        signature: &[u8],
    ) -> Result<(), TokenError> {
        let header: Header = object(header, "header")?;
        // RFC 7515 §4.1.11: an unsupported critical extension makes the token invalid.
        if header.crit.is_some() || header.b64.is_some() {
            return Err(TokenError::Extension);
        }
        let algorithm = Algorithm::named(&header.alg);
        let algorithm = algorithm.ok_or_else(|| TokenError::Algorithm(shown(&header.alg)))?;
        let kid = header.kid.as_deref();
        let mut candidates = self.keys.candidates(kid, algorithm).peekable();
        if candidates.peek().is_none() {
            let kid = kid.map(shown);
            return Err(TokenError::NoKey { algorithm, kid });
        }
        if candidates.any(|key| key.verify(algorithm, signed.as_bytes(), signature)) {
            return Ok(());
        }
        Err(TokenError::Signature)
    }

    /// Checks times, audience and issuer; returns the expiry.
    fn check(&self, payload: &Payload<'_>, now_ms: u64) -> Result<Option<u64>, TokenError> {
        let Rules {
            audiences,
            issuers,
            leeway_ms,
            needs_end,
        } = &self.rules;
        let ends_ms = moment("exp", payload.exp.as_ref())?;
        if ends_ms.is_none() && *needs_end {
            return Err(TokenError::Missing("exp"));
        }
        // With the leeway, it stays valid for as long as it would be accepted.
        let ends_ms = ends_ms.map(|ends| ends.saturating_add(*leeway_ms));
        if let Some(ends) = ends_ms
            && now_ms >= ends
        {
            let seconds = now_ms.saturating_sub(ends.saturating_sub(*leeway_ms)) / 1000;
            return Err(TokenError::Expired { seconds });
        }
        let begins_ms = moment("nbf", payload.nbf.as_ref())?.unwrap_or(0);
        if begins_ms > now_ms.saturating_add(*leeway_ms) {
            let seconds = begins_ms.saturating_sub(now_ms).div_ceil(1000);
            return Err(TokenError::NotYet { seconds });
        }
        match &payload.aud {
            Some(aud) if audiences.iter().any(|ours| aud.has(ours)) => {}
            Some(_) => return Err(TokenError::Audience),
            None if audiences.is_empty() => {}
            None => return Err(TokenError::Missing("aud")),
        }
        match &payload.iss {
            Some(iss) if issuers.is_empty() || issuers.contains(iss) => {}
            Some(_) => return Err(TokenError::Issuer),
            None if issuers.is_empty() => {}
            None => return Err(TokenError::Missing("iss")),
        }
        Ok(ends_ms)
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, TokenError> {
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes());
    bytes.map_err(|_| TokenError::Malformed("a part is not base64url without padding"))
}

/// RFC 7519 §7.2: both parts are JSON objects. An array would be read as the fields in the order in which
/// they are declared here.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8], part: &'static str) -> Result<T, TokenError> {
    if !json.trim_ascii_start().starts_with(b"{") {
        let reason = "is not a JSON object".to_owned();
        return Err(TokenError::Unreadable { part, reason });
    }
    serde_json::from_slice(json).map_err(|error| unreadable(part, &error))
}

fn unreadable(part: &'static str, error: &serde_json::Error) -> TokenError {
    let reason = shown(&error.to_string());
    TokenError::Unreadable { part, reason }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// Seconds since 1970, possibly with a fraction (RFC 7519 §2), as milliseconds.
fn moment(
    name: &'static str,
    number: Option<&serde_json::Number>,
) -> Result<Option<u64>, TokenError> {
    let Some(number) = number else {
        return Ok(None);
    };
    if let Some(seconds) = number.as_u64() {
        return Ok(Some(seconds.saturating_mul(1000)));
    }
    match number.as_f64() {
        // 2^53 milliseconds are 285,000 years.
        Some(seconds) if (0.0..9e12).contains(&seconds) => Ok(Some((seconds * 1000.0) as u64)),
        _out_of_range => Err(TokenError::Claim {
            name,
            reason: "is not a time in seconds since 1970".to_owned(),
        }),
    }
}
