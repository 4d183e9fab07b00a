//! Negotiating permessage-deflate (RFC 7692 §5 and §7.1), for both roles.
//!
//! The client makes an [`offer`](DeflateConfig::offer), the server
//! [`accept`](DeflateConfig::accept)s one of the offers or none, and the client
//! [`confirm`](DeflateConfig::confirm)s that the answer matches its offer.

use std::fmt;

use super::config::{DeflateConfig, DeflateMemory};
use super::extensions::Extension;

mod error;
pub use error::NegotiationError;

/// The extension's name in `Sec-WebSocket-Extensions`.
pub const PERMESSAGE_DEFLATE: &str = "permessage-deflate";

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// RFC 7692 §7.1.2: without an agreement the window is 32 KiB.
const FULL_WINDOW_BITS: u8 = 15;

/// What both ends agreed on. Its `Display` form is the value of the server's
/// `Sec-WebSocket-Extensions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeflateParams {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<u8>,
}

/// The terms of one direction, as agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateTerms {
    /// Back-references must not reach further than 2^`window_bits` bytes; 8 to 15.
    pub window_bits: u8,
    /// Whether a message may refer to earlier messages.
    pub context_takeover: bool,
}

impl DeflateParams {
    /// The terms for messages the server compresses.
    #[must_use]
    pub fn server(&self) -> DeflateTerms {
        DeflateTerms {
            window_bits: self.server_max_window_bits.unwrap_or(FULL_WINDOW_BITS),
            context_takeover: !self.server_no_context_takeover,
        }
    }

    /// The terms for messages the client compresses.
    #[must_use]
    pub fn client(&self) -> DeflateTerms {
        DeflateTerms {
            window_bits: self.client_max_window_bits.unwrap_or(FULL_WINDOW_BITS),
            context_takeover: !self.client_no_context_takeover,
        }
    }
}

impl fmt::Display for DeflateParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PERMESSAGE_DEFLATE)?;
        if self.server_no_context_takeover {
            write!(f, "; {SERVER_NO_CONTEXT_TAKEOVER}")?;
        }
        if self.client_no_context_takeover {
            write!(f, "; {CLIENT_NO_CONTEXT_TAKEOVER}")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(f, "; {SERVER_MAX_WINDOW_BITS}={bits}")?;
        }
        if let Some(bits) = self.client_max_window_bits {
            write!(f, "; {CLIENT_MAX_WINDOW_BITS}={bits}")?;
        }
        Ok(())
    }
}

/// One permessage-deflate element of the header: an offer or an answer.
#[derive(Debug, Clone, Copy, Default)]
struct Element {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: Option<ClientWindow>,
}

/// In an offer, `client_max_window_bits` may have no value.
#[derive(Debug, Clone, Copy)]
enum ClientWindow {
    AsYouLike,
    Bits(u8),
}

impl DeflateConfig {
    /// The value of the client's `Sec-WebSocket-Extensions`.
    ///
    /// Requests the windows of this configuration first, and offers as a fallback to do without a
    /// limit on the server's window (RFC 7692 §5.1), since a server may be unable to limit it.
    #[must_use]
    pub fn offer(&self) -> String {
        let offers: Vec<String> = self.offers().iter().map(ToString::to_string).collect();
        offers.join(", ")
    }

    fn offers(&self) -> Vec<Element> {
        let preferred = Element {
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_gives_up_context(),
            server_max_window_bits: limit(self.server_bits()),
            client_max_window_bits: Some(match limit(self.client_bits()) {
                // RFC 7692 §7.1.2.2: with a value, it is also a hint that we will not use a larger
                // window, whatever the answer says.
                Some(bits) => ClientWindow::Bits(bits),
                None => ClientWindow::AsYouLike,
            }),
        };
        if preferred.server_max_window_bits.is_none() || self.bounded_peer_window {
            return vec![preferred];
        }
        vec![
            preferred,
            Element {
                server_max_window_bits: None,
                ..preferred
            },
        ]
    }

    /// The client's side of RFC 7692 §5.1: checks the server's answer, which is the complete list
    /// of extensions it agreed to. Returns `None` if the server declined.
    ///
    /// # Errors
    ///
    /// The answer obliges the client to fail the connection.
    pub fn confirm(
        &self,
        answer: &[Extension<'_>],
    ) -> Result<Option<DeflateParams>, NegotiationError> {
        // RFC 6455 §4.1: fail when the response names an extension that was
        // not in the request.
        if let Some(other) = answer
            .iter()
            .find(|element| element.name != PERMESSAGE_DEFLATE)
        {
            return Err(NegotiationError::ExtensionNotOffered {
                name: other.name.to_owned(),
            });
        }
        match answer {
            [] => Ok(None),
            [element] => self.confirm_element(element).map(Some),
            [_, _, ..] => Err(NegotiationError::AgreedTwice),
        }
    }

    fn confirm_element(&self, element: &Extension<'_>) -> Result<DeflateParams, NegotiationError> {
        let answer = Element::read(element)?;
        let answered_client_bits = match answer.client_max_window_bits {
            None => None,
            Some(ClientWindow::Bits(bits)) => Some(bits),
            // RFC 7692 §7.1.2.2: in an answer the value is required.
            Some(ClientWindow::AsYouLike) => {
                return Err(NegotiationError::InvalidWindowBits {
                    name: CLIENT_MAX_WINDOW_BITS,
                    value: None,
                });
            }
        };
        if self.server_no_context_takeover && !answer.server_no_context_takeover {
            return Err(NegotiationError::ServerContextKept);
        }
        // The answer must match one of our offers. They differ only in the server's window, and the
        // last one demands least.
        let least = self
            .offers()
            .last()
            .and_then(|offer| offer.server_max_window_bits);
        if let Some(offered) = least
            && answer
                .server_max_window_bits
                .is_none_or(|bits| bits > offered)
        {
            let answered = answer.server_max_window_bits;
            return Err(NegotiationError::ServerWindowTooLarge { offered, answered });
        }
        Ok(DeflateParams {
            server_no_context_takeover: answer.server_no_context_takeover,
            // RFC 7692 §7.1.1.2, §7.1.2.2: what our offer declared about ourselves holds even if
            // the answer does not repeat it. If the server allows a larger window than our hint,
            // the hint applies.
            client_no_context_takeover: answer.client_no_context_takeover
                || self.client_gives_up_context(),
            server_max_window_bits: answer.server_max_window_bits,
            client_max_window_bits: smaller(answered_client_bits, limit(self.client_bits())),
        })
    }

    /// The server's side of RFC 7692 §5.1: takes the first valid offer of permessage-deflate among
    /// everything the client offered.
    ///
    /// RFC 7692 §7.1: an invalid offer is declined; it does not fail the handshake.
    #[must_use]
    pub fn accept(&self, offers: &[Extension<'_>]) -> Option<DeflateParams> {
        offers
            .iter()
            .filter(|element| element.name == PERMESSAGE_DEFLATE)
            .find_map(|element| Element::read(element).ok())
            .map(|offer| self.agree(offer))
    }

    fn agree(&self, offer: Element) -> DeflateParams {
        let (client_max_window_bits, peer_can_limit) = match offer.client_max_window_bits {
            // RFC 7692 §7.1.2.2: MUST NOT be in the answer if not in the offer.
            None => (None, false),
            Some(ClientWindow::AsYouLike) => (limit(self.client_bits()), true),
            Some(ClientWindow::Bits(bits)) => (Some(bits.min(self.client_bits())), true),
        };
        let unbounded = self.client_bits() < FULL_WINDOW_BITS && !peer_can_limit;
        DeflateParams {
            // RFC 7692 §7.1.1.1: an offer that requests it is accepted by confirming it.
            server_no_context_takeover: offer.server_no_context_takeover
                || self.server_gives_up_context(),
            client_no_context_takeover: offer.client_no_context_takeover
                || self.client_no_context_takeover
                || (self.bounded_peer_window && unbounded),
            // RFC 7692 §7.1.2.1: confirmed with the same or a smaller value. A server may name its
            // limit even if not asked, which lets the client keep less.
            server_max_window_bits: smaller(
                offer.server_max_window_bits,
                limit(self.server_bits()),
            ),
            client_max_window_bits,
        }
    }

    fn server_gives_up_context(&self) -> bool {
        self.server_no_context_takeover || self.memory == DeflateMemory::Shared
    }

    fn client_gives_up_context(&self) -> bool {
        self.client_no_context_takeover || self.memory == DeflateMemory::Shared
    }
}

/// `None` if the full window is used, which needs no parameter.
fn limit(bits: u8) -> Option<u8> {
    (bits < FULL_WINDOW_BITS).then_some(bits)
}

fn smaller(one: Option<u8>, other: Option<u8>) -> Option<u8> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Element {
    /// RFC 7692 §7.1: unknown or repeated parameters and invalid values cause an offer to be
    /// declined and an answer to fail the connection.
    fn read(extension: &Extension<'_>) -> Result<Self, NegotiationError> {
        let mut element = Self::default();
        for parameter in &extension.parameters {
            let value = parameter.value.as_deref();
            match parameter.name {
                SERVER_NO_CONTEXT_TAKEOVER => flag(
                    &mut element.server_no_context_takeover,
                    SERVER_NO_CONTEXT_TAKEOVER,
                    value,
                )?,
                CLIENT_NO_CONTEXT_TAKEOVER => flag(
                    &mut element.client_no_context_takeover,
                    CLIENT_NO_CONTEXT_TAKEOVER,
                    value,
                )?,
                SERVER_MAX_WINDOW_BITS => {
                    let bits = window_bits(SERVER_MAX_WINDOW_BITS, value)?;
                    set(
                        &mut element.server_max_window_bits,
                        SERVER_MAX_WINDOW_BITS,
                        bits,
                    )?;
                }
                CLIENT_MAX_WINDOW_BITS => {
                    let window = match value {
                        None => ClientWindow::AsYouLike,
                        value => ClientWindow::Bits(window_bits(CLIENT_MAX_WINDOW_BITS, value)?),
                    };
                    set(
                        &mut element.client_max_window_bits,
                        CLIENT_MAX_WINDOW_BITS,
                        window,
                    )?;
                }
                name => {
                    return Err(NegotiationError::UnknownParameter {
                        name: name.to_owned(),
                    });
                }
            }
        }
        Ok(element)
    }
}

fn flag(slot: &mut bool, name: &'static str, value: Option<&str>) -> Result<(), NegotiationError> {
    if value.is_some() {
        return Err(NegotiationError::UnexpectedValue { name });
    }
    if std::mem::replace(slot, true) {
        return Err(NegotiationError::RepeatedParameter { name });
    }
    Ok(())
}

fn set<T>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), NegotiationError> {
    match slot.replace(value) {
        Some(_) => Err(NegotiationError::RepeatedParameter { name }),
        None => Ok(()),
    }
}

/// RFC 7692 §7.1.2: a decimal integer without leading zeros, 8 to 15.
fn window_bits(name: &'static str, value: Option<&str>) -> Result<u8, NegotiationError> {
    match value {
        Some("8") => Ok(8),
        Some("9") => Ok(9),
        Some("10") => Ok(10),
        Some("11") => Ok(11),
        Some("12") => Ok(12),
        Some("13") => Ok(13),
        Some("14") => Ok(14),
        Some("15") => Ok(15),
        other => Err(NegotiationError::InvalidWindowBits {
            name,
            value: other.map(str::to_owned),
        }),
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = match self.client_max_window_bits {
            Some(ClientWindow::Bits(bits)) => Some(bits),
            Some(ClientWindow::AsYouLike) | None => None,
        };
        let with_values = DeflateParams {
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover,
            server_max_window_bits: self.server_max_window_bits,
            client_max_window_bits: bits,
        };
        with_values.fmt(f)?;
        if let Some(ClientWindow::AsYouLike) = self.client_max_window_bits {
            write!(f, "; {CLIENT_MAX_WINDOW_BITS}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
