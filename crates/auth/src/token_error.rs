//! Why a token is refused.

use std::fmt;

use crate::algorithm::Algorithm;

/// Why a token is refused. Contains no part of the token except for fields of its header,
/// shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// It is longer than a token may be.
    TooLong {
        /// Its length in bytes.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// It is not three parts in base64url.
    Malformed(&'static str),
    /// Its header or its claims are not a JSON object as expected.
    Unreadable {
        /// `header` or `claims`.
        part: &'static str,
        /// What is wrong and where.
        reason: String,
    },
    /// Its algorithm is not supported; `none` is not either.
    Algorithm(String),
    /// Its header requires an unsupported extension (`crit`).
    Extension,
    /// No known key has its algorithm and the name in its header.
    NoKey {
        /// Its algorithm.
        algorithm: Algorithm,
        /// The name of the key, shortened.
        kid: Option<String>,
    },
    /// The keys come from a URL and have not been fetched yet: the token may be valid.
    KeysAway,
    /// It was signed by none of the keys that could have signed it.
    Signature,
    /// A required claim is missing.
    Missing(&'static str),
    /// A claim is invalid.
    Claim {
        /// The claim.
        name: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// It has expired.
    Expired {
        /// How long ago, in seconds.
        seconds: u64,
    },
    /// It is not valid yet.
    NotYet {
        /// When it becomes valid, in seconds from now.
        seconds: u64,
    },
    /// It is for another audience.
    Audience,
    /// It is from another issuer.
    Issuer,
    /// It was revoked.
    Revoked,
}

impl TokenError {
    /// Whether the same token may be valid slightly later.
    #[must_use]
    pub const fn may_pass_later(&self) -> bool {
        matches!(self, Self::KeysAway)
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("token: ")?;
        match self {
            Self::TooLong { found, limit } => {
                write!(f, "is {found} bytes; the limit is {limit}")
            }
            Self::Malformed(what) => write!(f, "is not a JSON Web Token: {what}"),
            Self::Unreadable { part, reason } => write!(f, "its {part} cannot be read: {reason}"),
            Self::Algorithm(name) => {
                let names = Algorithm::ALL.map(Algorithm::name).join(", ");
                write!(
                    f,
                    "its algorithm {name:?} is not accepted; expected one of {names}"
                )
            }
            Self::Extension => {
                f.write_str("its header requires an extension (crit), and none is supported")
            }
            Self::NoKey { algorithm, kid } => {
                write!(f, "the server has no key for {algorithm}")?;
                match kid {
                    Some(kid) => write!(f, " named {kid:?} (kid)"),
                    None => Ok(()),
                }
            }
            Self::KeysAway => {
                f.write_str("the server has no keys yet to verify it with; try again")
            }
            Self::Signature => f.write_str("its signature is wrong"),
            Self::Missing(claim) => write!(f, "the claim {claim} is missing"),
            Self::Claim { name, reason } => write!(f, "the claim {name} {reason}"),
            Self::Expired { seconds } => write!(f, "expired {seconds} s ago"),
            Self::NotYet { seconds } => write!(f, "is not valid for another {seconds} s"),
            Self::Audience => f.write_str("is for another audience (aud)"),
            Self::Issuer => f.write_str("was made by another issuer (iss)"),
            Self::Revoked => f.write_str("was revoked; get a new one"),
        }
    }
}

impl std::error::Error for TokenError {}
