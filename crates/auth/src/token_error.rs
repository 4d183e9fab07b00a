//! Why a token is refused.

use std::fmt;

use crate::algorithm::Algorithm;

/// Why a token is refused. No part of the token is in it but what its header says in plain text, and
/// that shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// It is longer than a token may be.
    TooLong {
        /// Its bytes.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// It is not three parts in base64url.
    Malformed(&'static str),
    /// Its header or its claims are no JSON object of the kind they should be.
    Unreadable {
        /// `header` or `claims`.
        part: &'static str,
        /// What is wrong and where.
        reason: String,
    },
    /// Its algorithm is not known here; `none` is such a one.
    Algorithm(String),
    /// Its header demands an extension (`crit`) that is not known here.
    Extension,
    /// No key that is known takes its algorithm and has the name that it gives.
    NoKey {
        /// How it is signed.
        algorithm: Algorithm,
        /// The key that it names, shortened.
        kid: Option<String>,
    },
    /// The keys are to come from a URL, and did not come yet: it may be good.
    KeysAway,
    /// None of the keys that could have signed it did.
    Signature,
    /// A claim that has to be there is missing.
    Missing(&'static str),
    /// A claim is not what it should be.
    Claim {
        /// Which.
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
        /// For how long, in seconds.
        seconds: u64,
    },
    /// It is for somebody else.
    Audience,
    /// It was made by somebody else.
    Issuer,
    /// It was revoked.
    Revoked,
}

impl TokenError {
    /// Whether the same token may be good a little later.
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
            Self::Malformed(what) => write!(f, "is no JSON Web Token: {what}"),
            Self::Unreadable { part, reason } => write!(f, "its {part} can't be read: {reason}"),
            Self::Algorithm(name) => {
                let names = Algorithm::ALL.map(Algorithm::name).join(", ");
                write!(
                    f,
                    "its algorithm {name:?} is not accepted; there are {names}"
                )
            }
            Self::Extension => {
                f.write_str("its header demands an extension (crit); there are none")
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
            Self::Revoked => f.write_str("was revoked; have a new one made"),
        }
    }
}

impl std::error::Error for TokenError {}
