//! The server's side of the handshake.
//!
//! ```text
//!   ServerHandshake --receive--> ServerDecision --accept--> Accepted
//!      |  ^    |                       |
//!      +--+    +--> Rejection          +--reject--> Response
//!   Incomplete
//! ```

use std::sync::Arc;

use super::Negotiated;
use super::forwarded;
use super::head::{HeadLimits, HeadReader, copy_fields, parse_request};
use super::headers::{Headers, InvalidHeader, name};
use super::key::accept_for_key;
use super::origin::{OriginPolicy, Scheme};
use super::reject::{Carrier, Refusal, Rejection};
use super::request::Request;
use super::response::Response;
use super::rules;
use super::subprotocol::{self, InvalidSubprotocol, Subprotocols};
use crate::deflate::{DeflateConfig, parse_extensions};

/// What a server accepts. The defaults are safe: same origin only.
#[derive(Debug, Clone, Default)]
pub struct ServerConfig {
    /// The maximum size of a request head.
    pub limits: HeadLimits,
    /// Which web pages may connect.
    pub origin: OriginPolicy,
    /// Whether to reject a request without `Origin`, which does not come from a browser. `false` by
    /// default: other programs can send any origin they like.
    pub require_origin: bool,
    /// The scheme under which browsers reach this server, for [`OriginPolicy::SameOrigin`].
    pub scheme: Scheme,
    /// Whether `X-Forwarded-Proto` or `Forwarded` (RFC 7239), if present, overrides
    /// [`scheme`](Self::scheme). `false` by default, because a client can send these fields: set it
    /// for requests from a proxy of yours.
    pub trust_forwarded: bool,
    /// The supported subprotocols. By default none: offers are ignored.
    pub subprotocols: Subprotocols,
    /// permessage-deflate, used if the client offers it. By default it is declined.
    pub deflate: Option<DeflateConfig>,
}

/// A server's handshake, waiting for the request.
///
/// ```
/// use std::sync::Arc;
/// use offhook_protocol::handshake::{Carrier, ServerConfig, ServerHandshake, ServerStep};
///
/// # fn from_socket() -> &'static [u8] {
/// #     b"GET /chat?room=7 HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
/// #       Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
/// #       Sec-WebSocket-Version: 13\r\n\r\n"
/// # }
/// let config = Arc::new(ServerConfig::default());
/// let mut handshake = ServerHandshake::new(config);
/// let response = loop {
///     match handshake.receive(from_socket()) {
///         Ok(ServerStep::Incomplete(waiting)) => handshake = waiting,
///         Ok(ServerStep::Request { decision, consumed: _ }) => {
///             assert_eq!(decision.request().path(), "/chat");
///             break decision.accept().response;
///         }
///         Err(rejection) => break rejection.response(Carrier::Upgrade),
///     }
/// };
/// assert_eq!(response.status(), 101);
/// let to_socket = response.into_bytes();
/// # assert!(String::from_utf8(to_socket).unwrap().contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
/// ```
#[derive(Debug)]
#[must_use = "a handshake does nothing until bytes are received"]
pub struct ServerHandshake {
    config: Arc<ServerConfig>,
    reader: HeadReader,
}

/// The state of the handshake after some bytes.
#[derive(Debug)]
pub enum ServerStep {
    /// The head is not complete: continue reading, until the driver's deadline.
    Incomplete(ServerHandshake),
    /// A valid handshake: the application decides.
    Request {
        /// The request to inspect and answer.
        decision: ServerDecision,
        /// How many of the given bytes belong to the head. The rest is the start of the frames: RFC
        /// 6455 §4.1 tells clients to wait for the answer, but bytes sent early may be valid once
        /// it is sent.
        consumed: usize,
    },
}

impl ServerHandshake {
    /// The server's end of a new connection.
    pub fn new(config: Arc<ServerConfig>) -> Self {
        let reader = HeadReader::of_request(config.limits);
        Self { config, reader }
    }

    /// Processes bytes from the connection, in any split.
    ///
    /// # Errors
    ///
    /// The [`Rejection`] to answer with before closing the connection.
    pub fn receive(mut self, bytes: &[u8]) -> Result<ServerStep, Rejection> {
        let Some(consumed) = self.reader.read(bytes)? else {
            return Ok(ServerStep::Incomplete(self));
        };
        let parsed = parse_request(self.reader.into_head(), self.config.limits)?;
        // RFC 6455 §4.2.1 point 1: HTTP/1.1 or higher, GET.
        if !parsed.is_http_1_1 {
            return Err(Rejection::HttpVersion);
        }
        if !parsed.is_get {
            return Err(Rejection::Method { allowed: "GET" });
        }
        let request = Request::over_http1(parsed.headers, parsed.target)?;
        let decision = ServerDecision::over_http1(&self.config, request)?;
        Ok(ServerStep::Request { decision, consumed })
    }
}

/// The start line of a request parsed by an HTTP library.
#[derive(Debug, Clone, Copy)]
pub struct RequestLine<'a> {
    /// The method.
    pub method: &'a str,
    /// The request target: path and query, or an absolute URI.
    pub target: &'a str,
    /// Major and minor version of HTTP.
    pub version: (u8, u8),
}

/// A valid handshake that waits for the application to accept or reject it.
#[derive(Debug)]
#[must_use = "accept or reject the handshake: the client is waiting"]
pub struct ServerDecision {
    request: Request,
    negotiated: Negotiated,
    headers: Headers,
}

/// An accepted handshake; the connection is open once the response is written.
#[derive(Debug)]
pub struct Accepted {
    /// The response to send.
    pub response: Response,
    /// What was negotiated.
    pub negotiated: Negotiated,
    /// The client's request.
    pub request: Request,
}

impl ServerDecision {
    /// Checks a request parsed by an HTTP/1.1 library such as hyper, by the same rules as
    /// [`ServerHandshake`]. Pass the response's [`headers`](Response::headers) to that library.
    ///
    /// ```
    /// use offhook_protocol::handshake::{RequestLine, ServerConfig, ServerDecision};
    ///
    /// let line = RequestLine { method: "GET", target: "/chat", version: (1, 1) };
    /// let headers: [(&str, &[u8]); 5] = [
    ///     ("host", b"example.com"),
    ///     ("connection", b"Upgrade"),
    ///     ("upgrade", b"websocket"),
    ///     ("sec-websocket-version", b"13"),
    ///     ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    /// ];
    /// let response =
    ///     ServerDecision::from_parsed(&ServerConfig::default(), line, headers)?.accept().response;
    /// assert_eq!(response.status(), 101);
    /// assert!(response.headers().contains("sec-websocket-accept"));
    /// # Ok::<(), offhook_protocol::handshake::Rejection>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The [`Rejection`] to answer with.
    pub fn from_parsed<'a>(
        config: &ServerConfig,
        line: RequestLine<'_>,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, Rejection> {
        if line.version < (1, 1) {
            return Err(Rejection::HttpVersion);
        }
        if line.method != "GET" {
            return Err(Rejection::Method { allowed: "GET" });
        }
        let mut copy = Headers::new();
        let target = copy.push_text(line.target.as_bytes());
        copy_fields(&mut copy, headers, config.limits)?;
        Self::over_http1(config, Request::over_http1(copy, target)?)
    }

    fn over_http1(config: &ServerConfig, request: Request) -> Result<Self, Rejection> {
        let headers = request.headers();
        rules::no_body(headers)?;
        rules::upgrades(headers)?;
        rules::version(headers)?;
        rules::key(headers)?;
        Self::by_policy(config, request)
    }

    /// The checks common to all carriers: origin, subprotocol, extensions.
    pub(crate) fn by_policy(config: &ServerConfig, request: Request) -> Result<Self, Rejection> {
        let headers = request.headers();
        let origin = headers
            .single(name::ORIGIN)?
            .map(|field| headers.bytes(&field.value));
        if origin.is_none() && config.require_origin {
            return Err(Rejection::OriginMissing);
        }
        // Checked under every policy: RFC 9112 §3.2 requires a valid host.
        let own = request.parsed_authority()?;
        let forwarded = config
            .trust_forwarded
            .then(|| forwarded::scheme(headers))
            .flatten();
        let scheme = forwarded.unwrap_or(config.scheme);
        config.origin.check(origin, own, scheme)?;
        subprotocol::check_offer(headers)?;
        let extensions =
            parse_extensions(headers.get_all(name::EXTENSIONS)).map_err(Rejection::Extensions)?;
        let negotiated = Negotiated {
            protocol: config.subprotocols.choose(headers)?,
            deflate: config
                .deflate
                .as_ref()
                .and_then(|deflate| deflate.accept(&extensions)),
        };
        Ok(Self {
            request,
            negotiated,
            headers: Headers::new(),
        })
    }

    /// The client's request.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// What will be agreed if this handshake is accepted now.
    #[must_use]
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// Selects a subprotocol other than the configured choice, or none.
    ///
    /// # Errors
    ///
    /// [`InvalidSubprotocol::NotOffered`] if the client did not offer it.
    pub fn select_subprotocol(&mut self, name: Option<&str>) -> Result<(), InvalidSubprotocol> {
        // RFC 6455 §4.2.2 point 5.5: one of the client's offers, or none.
        if let Some(name) = name
            && !self.request.subprotocols().any(|offered| offered == name)
        {
            return Err(InvalidSubprotocol::NotOffered(name.to_owned()));
        }
        self.negotiated.protocol = name.map(str::to_owned);
        Ok(())
    }

    /// Declines permessage-deflate for this connection.
    pub fn decline_deflate(&mut self) {
        self.negotiated.deflate = None;
    }

    /// Adds a header field, such as `Set-Cookie`, to the accepting response.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`], also for the fields that the handshake sets itself.
    pub fn add_header(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), InvalidHeader> {
        self.headers.append_extra(name, value)
    }

    /// Accepts: RFC 6455 §4.2.2 point 5, or RFC 8441 §5.
    #[must_use]
    pub fn accept(self) -> Accepted {
        let mut response = match self.request.carrier() {
            Carrier::Upgrade => {
                let key = self.request.headers().get(name::KEY).unwrap_or_default();
                let mut response = Response::switching_protocols();
                response.push(name::ACCEPT, &accept_for_key(key));
                response
            }
            // RFC 8441 §5: no Upgrade, no Connection, no Accept.
            Carrier::ExtendedConnect => Response::with_status(200),
        };
        if let Some(protocol) = &self.negotiated.protocol {
            response.push(name::PROTOCOL, protocol.as_bytes());
        }
        if let Some(deflate) = &self.negotiated.deflate {
            response.push(name::EXTENSIONS, deflate.to_string().as_bytes());
        }
        response.extend(&self.headers);
        if self.request.carrier() == Carrier::ExtendedConnect {
            response.lower_case_names();
        }
        Accepted {
            response,
            negotiated: self.negotiated,
            request: self.request,
        }
    }

    /// Rejects for the application's own reasons. Close the connection after the response.
    #[must_use]
    pub fn reject(self, refusal: Refusal) -> Response {
        refusal.response(self.request.carrier())
    }
}
