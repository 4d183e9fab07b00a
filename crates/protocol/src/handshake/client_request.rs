//! The request of a client.

use std::fmt;

use super::authority::Authority;
use super::basic::basic_credentials;
use super::client::ClientHandshake;
use super::head::HeadLimits;
use super::headers::{Headers, InvalidHeader, name};
use super::key::{accept_for_key, encode_key};
use super::request::is_target_text;
use super::subprotocol::{self, InvalidSubprotocol};
use crate::deflate::DeflateConfig;

/// How much of a refusal's body is stored by default: enough for a message or a JSON error to show
/// to a person.
const BODY_LIMIT: usize = 16 * 1024;

/// Builds a client's request. Each part is validated when it is added, so that starting cannot
/// fail.
///
/// ```
/// use offhook_protocol::handshake::ClientRequest;
///
/// let (bytes, _handshake) = ClientRequest::new("example.com:8080", "/chat?room=7")?
///     .subprotocol("chat.v1")?
///     .basic_auth("ada", "secret")?
///     .header("User-Agent", "napkin/1.0")?
///     .start([7; 16]); // 16 random bytes, fresh for every attempt
/// assert!(bytes.starts_with(b"GET /chat?room=7 HTTP/1.1\r\nHost: example.com:8080\r\n"));
/// # Ok::<(), offhook_protocol::handshake::InvalidRequest>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClientRequest {
    pub(crate) authority: String,
    pub(crate) target: String,
    pub(crate) offer: Offer,
    pub(crate) limits: AnswerLimits,
    origin: Option<String>,
    extra: Headers,
}

/// The parts of the request that the answer is checked against.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offer {
    pub(crate) subprotocols: Vec<String>,
    pub(crate) subprotocol_required: bool,
    pub(crate) deflate: Option<DeflateConfig>,
}

/// Limits on the server's answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerLimits {
    pub(crate) head: HeadLimits,
    pub(crate) body: usize,
}

/// Why a request cannot be sent: a mistake of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// The authority is not `host` or `host:port`.
    Authority(String),
    /// The target does not start with `/`, or holds a fragment, a space, a control character or a
    /// non-ASCII character that must be percent-encoded.
    Target(String),
    /// The origin is not a single line of visible ASCII.
    Origin(String),
    /// RFC 7617 §2: a user name must not contain a colon, and neither part a control character.
    Credentials,
    /// An extra header field is invalid.
    Header(InvalidHeader),
    /// A subprotocol is invalid.
    Subprotocol(InvalidSubprotocol),
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority(text) => write!(f, "{text:?}: expected host or host:port"),
            Self::Target(text) => write!(
                f,
                "{text:?}: expected a percent-encoded path that starts with / and has no fragment"
            ),
            Self::Origin(text) => write!(f, "{text:?}: expected an origin, scheme://host"),
            Self::Credentials => f.write_str(
                "basic auth: the user name must not contain a colon, and neither part a control character",
            ),
            Self::Header(why) => why.fmt(f),
            Self::Subprotocol(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for InvalidRequest {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Header(why) => Some(why),
            Self::Subprotocol(why) => Some(why),
            Self::Authority(_) | Self::Target(_) | Self::Origin(_) | Self::Credentials => None,
        }
    }
}

impl From<InvalidHeader> for InvalidRequest {
    fn from(why: InvalidHeader) -> Self {
        Self::Header(why)
    }
}

impl From<InvalidSubprotocol> for InvalidRequest {
    fn from(why: InvalidSubprotocol) -> Self {
        Self::Subprotocol(why)
    }
}

impl ClientRequest {
    /// A request for a path on a host.
    ///
    /// `authority` is the host, with its port unless that is the scheme's default (RFC 6455 §4.1
    /// point 4); `target` is the path and query of the URL.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest::Authority`] and [`InvalidRequest::Target`].
    pub fn new(authority: &str, target: &str) -> Result<Self, InvalidRequest> {
        if Authority::parse(authority).is_none() {
            return Err(InvalidRequest::Authority(authority.to_owned()));
        }
        // RFC 6455 §3: no fragment. Characters that could end the request line early would let a
        // URL inject header fields.
        if !target.starts_with('/') || !is_target_text(target) {
            return Err(InvalidRequest::Target(target.to_owned()));
        }
        Ok(Self {
            authority: authority.to_owned(),
            target: target.to_owned(),
            offer: Offer::default(),
            limits: AnswerLimits {
                head: HeadLimits::default(),
                body: BODY_LIMIT,
            },
            origin: None,
            extra: Headers::new(),
        })
    }

    /// Offers a subprotocol. Those offered earlier are preferred.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest::Subprotocol`] if it is not a token or was already offered.
    pub fn subprotocol(mut self, name: &str) -> Result<Self, InvalidRequest> {
        subprotocol::add(&mut self.offer.subprotocols, name)?;
        Ok(self)
    }

    /// Fails the handshake if the server selects none of the subprotocols, as browsers do.
    /// Otherwise the connection opens without one.
    #[must_use]
    pub fn require_subprotocol(mut self) -> Self {
        self.offer.subprotocol_required = true;
        self
    }

    /// Offers permessage-deflate.
    #[must_use]
    pub fn deflate(mut self, config: DeflateConfig) -> Self {
        self.offer.deflate = Some(config);
        self
    }

    /// Sends an `Origin`, as a browser would for a page of that origin.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest::Origin`] if it is not visible ASCII.
    pub fn origin(mut self, origin: &str) -> Result<Self, InvalidRequest> {
        if origin.is_empty() || !origin.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidRequest::Origin(origin.to_owned()));
        }
        self.origin = Some(origin.to_owned());
        Ok(self)
    }

    /// Sends a user name and password (RFC 7617).
    ///
    /// # Errors
    ///
    /// [`InvalidRequest::Credentials`] if they contain characters that are not allowed.
    pub fn basic_auth(mut self, user: &str, password: &str) -> Result<Self, InvalidRequest> {
        let credentials = basic_credentials(user, password)?;
        self.extra.append(name::AUTHORIZATION, credentials)?;
        Ok(self)
    }

    /// Adds any other header field.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest::Header`], also for the fields the handshake sets itself; `Origin` has its
    /// [own method](Self::origin).
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, InvalidRequest> {
        if name.eq_ignore_ascii_case(name::ORIGIN) {
            return Err(InvalidHeader::Reserved(name.to_owned()).into());
        }
        self.extra.append_extra(name, value)?;
        Ok(self)
    }

    /// Limits the size of the answer's head.
    #[must_use]
    pub fn head_limits(mut self, limits: HeadLimits) -> Self {
        self.limits.head = limits;
        self
    }

    /// How much of a refusal's body is stored; 16 KiB by default.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.limits.body = bytes;
        self
    }

    /// Returns the bytes to send and the state that waits for the answer.
    ///
    /// `random` must be fresh for every attempt (RFC 6455 §4.1 point 7).
    pub fn start(self, random: [u8; 16]) -> (Vec<u8>, ClientHandshake) {
        let key = encode_key(random);
        let mut head = Headers::new();
        head.reserve(self.target.len().saturating_add(512), 12);
        head.push_text(b"GET ");
        head.push_text(self.target.as_bytes());
        head.push_text(b" HTTP/1.1\r\n");
        head.push(name::HOST, self.authority.as_bytes());
        head.push(name::UPGRADE, b"websocket");
        head.push(name::CONNECTION, b"Upgrade");
        head.push(name::KEY, &key);
        self.push_shared(&mut head);
        head.push_text(b"\r\n");
        (
            head.into_text(),
            ClientHandshake::new(self.offer, self.limits, accept_for_key(&key)),
        )
    }

    /// The header fields common to all carriers.
    pub(crate) fn push_shared(&self, head: &mut Headers) {
        head.push(name::VERSION, super::rules::VERSION);
        if !self.offer.subprotocols.is_empty() {
            head.push(
                name::PROTOCOL,
                self.offer.subprotocols.join(", ").as_bytes(),
            );
        }
        if let Some(deflate) = &self.offer.deflate {
            head.push(name::EXTENSIONS, deflate.offer().as_bytes());
        }
        if let Some(origin) = &self.origin {
            head.push(name::ORIGIN, origin.as_bytes());
        }
        head.extend(&self.extra);
    }
}
