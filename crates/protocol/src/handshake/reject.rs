//! A server's answer when it does not accept (RFC 6455 §4.2.2, §4.4).

use std::fmt;

use super::head::{HeadError, MalformedHead};
use super::headers::{Headers, InvalidHeader, Repeated, name};
use super::response::Response;
use crate::deflate::ExtensionsError;

/// How the handshake is transported, which determines the fields a response may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// RFC 6455 §4: `GET` with `Upgrade`, over HTTP/1.1.
    Upgrade,
    /// RFC 8441, RFC 9220: extended `CONNECT`, over HTTP/2 or HTTP/3.
    ExtendedConnect,
}

/// A request that is not a valid handshake, by the rule it violates.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// 400: the head is not HTTP.
    Malformed(MalformedHead),
    /// 431: the head did not end within the limit.
    HeadTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// 431: there are more header fields than allowed.
    TooManyHeaders {
        /// The limit, in fields.
        limit: usize,
    },
    /// 505: neither HTTP/1.1 nor anything newer.
    HttpVersion,
    /// 405: a method other than `GET` (or other than extended `CONNECT` over HTTP/2).
    Method {
        /// The method that is allowed.
        allowed: &'static str,
    },
    /// 501: extended `CONNECT` to something other than `websocket` (RFC 9220 §3).
    UnknownProtocol,
    /// 400: the request announces a body, which a handshake does not have.
    Body,
    /// 400: a required field is missing.
    HeaderMissing {
        /// The field's name.
        name: &'static str,
    },
    /// 400: a field that may occur once occurs several times.
    HeaderRepeated {
        /// The field's name.
        name: &'static str,
    },
    /// 400: a field's value violates its grammar.
    HeaderInvalid {
        /// The field's name.
        name: &'static str,
    },
    /// 426: an ordinary request, with no `Upgrade: websocket`.
    NotAnUpgrade,
    /// 426 naming version 13: the client requests another version.
    Version,
    /// 400: the offered extensions violate the grammar.
    Extensions(ExtensionsError),
    /// 400: the client offers none of the supported subprotocols, and one is required.
    NoCommonSubprotocol,
    /// 403: pages from this origin may not connect.
    OriginDenied {
        /// The origin, for the person who configures the server: visible ASCII only, and truncated
        /// after 200 characters.
        origin: Box<str>,
    },
    /// 403: an `Origin` is required and missing.
    OriginMissing,
}

impl Rejection {
    /// The HTTP status to answer with over HTTP/1.1.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_)
            | Self::Body
            | Self::HeaderMissing { .. }
            | Self::HeaderRepeated { .. }
            | Self::HeaderInvalid { .. }
            | Self::Extensions(_)
            | Self::NoCommonSubprotocol => 400,
            Self::OriginDenied { .. } | Self::OriginMissing => 403,
            Self::Method { .. } => 405,
            Self::NotAnUpgrade | Self::Version => 426,
            Self::HeadTooLarge { .. } | Self::TooManyHeaders { .. } => 431,
            Self::UnknownProtocol => 501,
            Self::HttpVersion => 505,
        }
    }

    /// The complete answer: status, header fields, and a body that states the reason.
    ///
    /// It repeats nothing the peer sent but the origin of a refused page. Close the connection after it: bytes after a head that was
    /// not understood cannot be trusted.
    #[must_use]
    pub fn response(&self, carrier: Carrier) -> Response {
        let status = match (carrier, self.status()) {
            // RFC 9110 §15.5.22: a 426 MUST send Upgrade, and RFC 9113 §8.2.2
            // forbids that field in HTTP/2.
            (Carrier::ExtendedConnect, 426) => 400,
            (_, status) => status,
        };
        let mut response = Response::with_status(status);
        if status == 426 {
            response.push(name::UPGRADE, b"websocket");
        }
        if *self == Self::Version || *self == Self::NotAnUpgrade {
            // RFC 6455 §4.4: name the supported versions.
            response.push(name::VERSION, b"13");
        }
        if let Self::Method { allowed } = self {
            response.push(name::ALLOW, allowed.as_bytes());
        }
        response.push(name::CONTENT_TYPE, b"text/plain; charset=utf-8");
        finish(response, format!("{self}\n").into_bytes(), carrier)
    }
}

/// Adds the body and the fields that the carrier requires.
fn finish(mut response: Response, body: Vec<u8>, carrier: Carrier) -> Response {
    match (carrier, response.status()) {
        // RFC 9110 §7.8: a sender of Upgrade MUST also name it in Connection.
        (Carrier::Upgrade, 426) => response.push(name::CONNECTION, b"Upgrade, close"),
        (Carrier::Upgrade, _) => response.push(name::CONNECTION, b"close"),
        (Carrier::ExtendedConnect, _) => {}
    }
    response.set_body(body);
    if carrier == Carrier::ExtendedConnect {
        response.lower_case_names();
    }
    response
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => why.fmt(f),
            Self::HeadTooLarge { limit } => {
                write!(f, "the request head is larger than {limit} bytes")
            }
            Self::TooManyHeaders { limit } => write!(f, "more than {limit} header fields"),
            Self::HttpVersion => f.write_str("the WebSocket handshake needs HTTP/1.1 or higher"),
            Self::Method { allowed } => {
                write!(f, "the WebSocket handshake needs the method {allowed}")
            }
            Self::UnknownProtocol => f.write_str("the only supported protocol is \"websocket\""),
            Self::Body => f.write_str("the WebSocket handshake has no body"),
            Self::HeaderMissing {
                name: name::CONNECTION,
            } => f.write_str(
                "the Connection header must name Upgrade; a proxy on the way may have removed it",
            ),
            Self::HeaderMissing { name } => write!(f, "the {name} header is missing"),
            Self::HeaderRepeated { name } => write!(f, "the {name} header may appear only once"),
            Self::HeaderInvalid { name } => write!(f, "the {name} header is malformed"),
            Self::NotAnUpgrade => {
                f.write_str("this is a WebSocket endpoint: send Upgrade: websocket")
            }
            Self::Version => f.write_str("the only supported version is Sec-WebSocket-Version: 13"),
            Self::Extensions(why) => why.fmt(f),
            Self::NoCommonSubprotocol => {
                f.write_str("none of the offered subprotocols is supported")
            }
            Self::OriginDenied { origin } => {
                write!(f, "pages from {origin} may not connect here")
            }
            Self::OriginMissing => f.write_str("the Origin header is required here"),
        }
    }
}

impl std::error::Error for Rejection {}

impl From<HeadError> for Rejection {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Malformed(why) => Self::Malformed(why),
            HeadError::TooLarge { limit } => Self::HeadTooLarge { limit },
            HeadError::TooManyHeaders { limit } => Self::TooManyHeaders { limit },
            HeadError::Version => Self::HttpVersion,
        }
    }
}

impl From<Repeated> for Rejection {
    fn from(Repeated(name): Repeated) -> Self {
        Self::HeaderRepeated { name }
    }
}

/// The application's own refusal: not logged in, no such path, try again later.
///
/// ```
/// use offhook_protocol::handshake::Refusal;
///
/// let busy = Refusal::new(503)?.header("Retry-After", "7")?.body("come back in 7 seconds\n");
/// assert_eq!(busy.status(), 503);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Refusal {
    status: u16,
    headers: Headers,
    body: Vec<u8>,
}

/// A refusal's status must be a final one: 200 to 599.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidStatus(u16);

impl fmt::Display for InvalidStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "status {} cannot refuse a handshake: use 200 to 599",
            self.0
        )
    }
}

impl std::error::Error for InvalidStatus {}

impl Refusal {
    /// A refusal with this status, without extra fields or a body.
    ///
    /// # Errors
    ///
    /// [`InvalidStatus`] unless it is 200 to 599.
    pub fn new(status: u16) -> Result<Self, InvalidStatus> {
        if !(200..600).contains(&status) {
            return Err(InvalidStatus(status));
        }
        Ok(Self {
            status,
            headers: Headers::new(),
            body: Vec::new(),
        })
    }

    /// Adds a field, such as `Location`, `Retry-After` or `WWW-Authenticate`.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`], also for the fields that frame the response.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, InvalidHeader> {
        self.headers.append_extra(name, value)?;
        Ok(self)
    }

    /// Sets the body. It is plain text unless you set `Content-Type` with [`header`](Self::header).
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The complete answer.
    #[must_use]
    pub fn response(self, carrier: Carrier) -> Response {
        let mut response = Response::with_status(self.status);
        response.extend(&self.headers);
        if !self.body.is_empty() && !self.headers.contains(name::CONTENT_TYPE) {
            response.push(name::CONTENT_TYPE, b"text/plain; charset=utf-8");
        }
        finish(response, self.body, carrier)
    }
}
