//! The client's side of the handshake.
//!
//! ```text
//!   ClientRequest --start--> ClientHandshake --receive--> Open      101, all checked
//!                              |  ^                  +--> Refused   another final status
//!                              +--+                  +--> HandshakeFailure
//!                           Incomplete, 1xx
//! ```

use super::Negotiated;
use super::client_request::{AnswerLimits, Offer};
use super::failure::HandshakeFailure;
use super::head::{HeadReader, ParsedResponse, parse_response};
use super::headers::{Headers, is_token, name};
use super::key::ACCEPT_LENGTH;
use super::refused::Refused;
use super::rules::names;
use crate::deflate::{NegotiationError, parse_extensions};

/// The maximum number of interim responses (100, 102, 103) before the final one. A server has no
/// reason to send more than one or two.
const MOST_INTERIM: u8 = 8;

/// A client's handshake, waiting for the server's answer.
///
/// ```
/// use offhook_protocol::handshake::{ClientRequest, ClientStep};
///
/// # fn from_socket() -> &'static [u8] {
/// #     b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 6\r\n\r\nno way"
/// # }
/// let (_to_socket, mut handshake) = ClientRequest::new("example.com", "/")?.start([7; 16]);
/// let refused = loop {
///     match handshake.receive(from_socket())? {
///         ClientStep::Incomplete(waiting) => handshake = waiting,
///         ClientStep::Open { .. } => unreachable!("we are not logged in"),
///         ClientStep::Refused(refused) => break refused,
///     }
/// };
/// assert_eq!(refused.status(), 401);
/// assert_eq!(refused.headers().get_str("www-authenticate"), Some("Basic"));
/// assert_eq!(refused.body(), b"no way");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "the answer must be received"]
pub struct ClientHandshake {
    offer: Offer,
    limits: AnswerLimits,
    accept: [u8; ACCEPT_LENGTH],
    reader: HeadReader,
    interim: u8,
}

/// The state of the handshake after some bytes.
#[derive(Debug)]
pub enum ClientStep {
    /// The answer is not complete: continue reading, until the driver's deadline.
    Incomplete(ClientHandshake),
    /// The connection is open.
    Open {
        /// What was negotiated.
        opened: Opened,
        /// How many of the given bytes belong to the handshake. The rest is the start of the
        /// server's frames.
        consumed: usize,
    },
    /// The server answered with something other than a WebSocket: a redirect, a request for
    /// credentials, an error. All given bytes were consumed.
    Refused(Refused),
}

/// A server's answer that opens the connection.
#[derive(Debug)]
pub struct Opened {
    /// What was negotiated.
    pub negotiated: Negotiated,
    /// The response's header fields.
    pub headers: Headers,
}

impl ClientHandshake {
    pub(crate) fn new(offer: Offer, limits: AnswerLimits, accept: [u8; ACCEPT_LENGTH]) -> Self {
        let reader = HeadReader::of_response(limits.head);
        Self {
            offer,
            limits,
            accept,
            reader,
            interim: 0,
        }
    }

    /// Processes bytes from the connection, in any split.
    ///
    /// # Errors
    ///
    /// The answer is invalid: close the connection.
    pub fn receive(mut self, bytes: &[u8]) -> Result<ClientStep, HandshakeFailure> {
        let mut consumed = 0_usize;
        loop {
            let rest = bytes.get(consumed..).unwrap_or_default();
            let Some(length) = self.reader.read(rest)? else {
                return Ok(ClientStep::Incomplete(self));
            };
            consumed = consumed.saturating_add(length);
            let next = HeadReader::of_response(self.limits.head);
            let head = std::mem::replace(&mut self.reader, next).into_head();
            let response = parse_response(head, self.limits.head)?;
            match response.status {
                101 => {
                    let opened = self.check(response)?;
                    return Ok(ClientStep::Open { opened, consumed });
                }
                // RFC 9110 §15.2: a client MUST be able to parse interim
                // responses before the final one, even if it expects none.
                100..200 => self.skip_interim()?,
                _ => return Ok(ClientStep::Refused(self.refused(response, bytes, consumed))),
            }
        }
    }

    fn skip_interim(&mut self) -> Result<(), HandshakeFailure> {
        if self.interim == MOST_INTERIM {
            return Err(HandshakeFailure::TooManyInterim {
                limit: MOST_INTERIM,
            });
        }
        self.interim = self.interim.saturating_add(1);
        Ok(())
    }

    fn refused(self, response: ParsedResponse, bytes: &[u8], consumed: usize) -> Refused {
        let mut refused = Refused::new(response.status, response.headers, self.limits.body);
        refused.receive_body(bytes.get(consumed..).unwrap_or_default());
        refused
    }

    /// RFC 6455 §4.1: what the client MUST validate in a 101.
    fn check(&self, response: ParsedResponse) -> Result<Opened, HandshakeFailure> {
        let headers = response.headers;
        if !response.is_http_1_1 {
            return Err(HandshakeFailure::HttpVersion);
        }
        check_upgrade(&headers)?;
        // Point 4: Accept must be exactly the hash of our key.
        let accept = headers.single(name::ACCEPT)?;
        let accept = accept.ok_or(HandshakeFailure::HeaderMissing { name: name::ACCEPT })?;
        if headers.bytes(&accept.value) != self.accept {
            return Err(HandshakeFailure::WrongAccept);
        }
        let negotiated = check_agreement(&self.offer, &headers)?;
        Ok(Opened {
            negotiated,
            headers,
        })
    }
}

fn check_upgrade(headers: &Headers) -> Result<(), HandshakeFailure> {
    // RFC 6455 §4.1 point 2: Upgrade must be present with the value "websocket".
    let upgrade = headers.single(name::UPGRADE)?;
    let upgrade = upgrade.ok_or(HandshakeFailure::HeaderMissing {
        name: name::UPGRADE,
    })?;
    if !headers
        .bytes(&upgrade.value)
        .eq_ignore_ascii_case(b"websocket")
    {
        return Err(HandshakeFailure::HeaderInvalid {
            name: name::UPGRADE,
        });
    }
    // Point 3: Connection must contain the token "Upgrade".
    if !headers.contains(name::CONNECTION) {
        return Err(HandshakeFailure::HeaderMissing {
            name: name::CONNECTION,
        });
    }
    if !names(headers, name::CONNECTION, b"upgrade") {
        return Err(HandshakeFailure::HeaderInvalid {
            name: name::CONNECTION,
        });
    }
    Ok(())
}

/// RFC 6455 §4.1 points 5 and 6: the server may agree only to what was offered. The same for every
/// carrier.
pub(crate) fn check_agreement(
    offer: &Offer,
    headers: &Headers,
) -> Result<Negotiated, HandshakeFailure> {
    let extensions = parse_extensions(headers.get_all(name::EXTENSIONS))
        .map_err(HandshakeFailure::Extensions)?;
    let deflate = match (&offer.deflate, extensions.first()) {
        (Some(deflate), _) => deflate
            .confirm(&extensions)
            .map_err(HandshakeFailure::Negotiation)?,
        (None, None) => None,
        (None, Some(extension)) => {
            let name = extension.name.to_owned();
            let not_offered = NegotiationError::ExtensionNotOffered { name };
            return Err(HandshakeFailure::Negotiation(not_offered));
        }
    };
    Ok(Negotiated {
        protocol: check_subprotocol(offer, headers)?,
        deflate,
    })
}

fn check_subprotocol(offer: &Offer, headers: &Headers) -> Result<Option<String>, HandshakeFailure> {
    // RFC 6455 §11.3.4: at most once in a response, with one value.
    let Some(field) = headers.single(name::PROTOCOL)? else {
        return if offer.subprotocol_required {
            Err(HandshakeFailure::SubprotocolMissing)
        } else {
            Ok(None)
        };
    };
    let chosen = headers.bytes(&field.value);
    if !is_token(chosen) {
        return Err(HandshakeFailure::HeaderInvalid {
            name: name::PROTOCOL,
        });
    }
    match offer
        .subprotocols
        .iter()
        .find(|offered| offered.as_bytes() == chosen)
    {
        Some(offered) => Ok(Some(offered.clone())),
        None => {
            let chosen = String::from_utf8_lossy(chosen).into_owned();
            Err(HandshakeFailure::SubprotocolNotOffered(chosen))
        }
    }
}
