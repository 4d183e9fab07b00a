//! Negotiating a subprotocol (RFC 6455 §1.9).

use std::fmt;

use super::headers::{Headers, is_token, name};
use super::reject::Rejection;

/// Whose order of preference decides if client and server have several subprotocols in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preference {
    /// The client's. RFC 6455 §4.1 point 10: it lists them in order of preference.
    #[default]
    Client,
    /// The server's: the first of its own subprotocols that the client offers.
    Server,
}

/// The subprotocols a server supports, and how it chooses among those offered.
///
/// ```
/// use offhook_protocol::handshake::{Preference, Subprotocols};
///
/// let ours = Subprotocols::new(["chat.v2", "chat.v1"])?.preference(Preference::Server).required();
/// assert!(Subprotocols::new(["no spaces"]).is_err());
/// # Ok::<(), offhook_protocol::handshake::InvalidSubprotocol>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Subprotocols {
    known: Vec<String>,
    preference: Preference,
    required: bool,
}

/// Why a list of subprotocols cannot be used: a mistake of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidSubprotocol {
    /// RFC 6455 §4.1 point 10: names must be tokens, visible ASCII without separators.
    NotAToken(String),
    /// RFC 6455 §4.1 point 10: each name may be listed once.
    Repeated(String),
    /// RFC 6455 §4.2.2: a server may choose only a subprotocol that was offered.
    NotOffered(String),
}

impl fmt::Display for InvalidSubprotocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAToken(name) => write!(f, "subprotocol {name:?} is not a token"),
            Self::Repeated(name) => write!(f, "subprotocol {name:?} is listed twice"),
            Self::NotOffered(name) => {
                write!(f, "subprotocol {name:?} was not offered by the client")
            }
        }
    }
}

impl std::error::Error for InvalidSubprotocol {}

impl Subprotocols {
    /// Supports these subprotocols, the most preferred first.
    ///
    /// # Errors
    ///
    /// [`InvalidSubprotocol`] if a name is not a token or is listed twice.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidSubprotocol> {
        let mut known = Vec::new();
        for name in names {
            add(&mut known, name)?;
        }
        Ok(Self {
            known,
            ..Self::default()
        })
    }

    /// Whose order of preference decides. Default: the client's.
    #[must_use]
    pub fn preference(mut self, preference: Preference) -> Self {
        self.preference = preference;
        self
    }

    /// Rejects clients that offer none of these. Otherwise they are accepted without a subprotocol
    /// and decide themselves whether to stay.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Selects one of the subprotocols offered in this head, which are [well-formed](check_offer).
    pub(crate) fn choose(&self, offer: &Headers) -> Result<Option<String>, Rejection> {
        let is_known = |offered: &[u8]| self.known.iter().find(|name| name.as_bytes() == offered);
        let is_offered = |name: &&String| {
            offer
                .elements(name::PROTOCOL)
                .any(|offered| offered == name.as_bytes())
        };
        let chosen = match self.preference {
            Preference::Client => offer.elements(name::PROTOCOL).find_map(is_known),
            Preference::Server => self.known.iter().find(is_offered),
        };
        match chosen {
            None if self.required => Err(Rejection::NoCommonSubprotocol),
            chosen => Ok(chosen.cloned()),
        }
    }
}

/// Adds a name to a list of distinct tokens.
pub(crate) fn add(names: &mut Vec<String>, name: &str) -> Result<(), InvalidSubprotocol> {
    if !is_token(name.as_bytes()) {
        return Err(InvalidSubprotocol::NotAToken(name.to_owned()));
    }
    if names.iter().any(|known| known == name) {
        return Err(InvalidSubprotocol::Repeated(name.to_owned()));
    }
    names.push(name.to_owned());
    Ok(())
}

/// RFC 6455 §4.1 point 10: one or more tokens, no two the same.
pub(crate) fn check_offer(headers: &Headers) -> Result<(), Rejection> {
    let mut offered: Vec<&[u8]> = headers.elements(name::PROTOCOL).collect();
    if offered.is_empty() && !headers.contains(name::PROTOCOL) {
        return Ok(());
    }
    // Sorted, because a head can hold thousands of one-letter names.
    offered.sort_unstable();
    let repeated = offered.windows(2).any(|pair| pair.first() == pair.last());
    if offered.is_empty() || repeated || !offered.iter().all(|name| is_token(name)) {
        return Err(Rejection::HeaderInvalid {
            name: name::PROTOCOL,
        });
    }
    Ok(())
}
