//! WebSocket over HTTP/2 and HTTP/3 by extended CONNECT (RFC 8441, RFC 9220).
//!
//! An HTTP library transports the fields; nothing here parses bytes. `:protocol` replaces Key,
//! Accept, Upgrade and Connection; origin, subprotocols and extensions work as in HTTP/1.1 (RFC
//! 8441 §5).

use super::client::check_agreement;
use super::client_request::{AnswerLimits, ClientRequest, Offer};
use super::failure::HandshakeFailure;
use super::head::copy_fields;
use super::headers::{Headers, name};
use super::origin::Scheme;
use super::refused::Refused;
use super::reject::Rejection;
use super::request::Request;
use super::server::{ServerConfig, ServerDecision};
use super::{Negotiated, Opened, rules};

/// The pseudo-header fields of an extended CONNECT.
///
/// The HTTP library must have announced `SETTINGS_ENABLE_CONNECT_PROTOCOL`, or received it from the
/// peer (RFC 8441 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectRequest<'a> {
    /// `:method`, which must be `CONNECT`.
    pub method: &'a str,
    /// `:protocol`, which must be `websocket`; `None` for an ordinary CONNECT.
    pub protocol: Option<&'a str>,
    /// `:scheme`: `https` for `wss`, `http` for `ws`.
    pub scheme: &'a str,
    /// `:authority`: host and port.
    pub authority: &'a str,
    /// `:path`: path and query.
    pub path: &'a str,
}

impl ServerDecision {
    /// Checks an extended CONNECT. Pass the response's status and
    /// [`headers`](super::Response::headers) to the HTTP/2 library; its stream then carries the
    /// frames.
    ///
    /// ```
    /// use offhook_protocol::handshake::{ConnectRequest, ServerConfig, ServerDecision};
    ///
    /// let request = ConnectRequest {
    ///     method: "CONNECT",
    ///     protocol: Some("websocket"),
    ///     scheme: "https",
    ///     authority: "server.example.com",
    ///     path: "/chat",
    /// };
    /// let headers: [(&str, &[u8]); 1] = [("sec-websocket-version", b"13")];
    /// let config = ServerConfig::default();
    /// let accepted = ServerDecision::from_extended_connect(&config, request, headers)?.accept();
    /// assert_eq!(accepted.response.status(), 200);
    /// assert!(accepted.response.headers().is_empty());
    /// # Ok::<(), offhook_protocol::handshake::Rejection>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The [`Rejection`] to answer with on this stream.
    pub fn from_extended_connect<'a>(
        config: &ServerConfig,
        connect: ConnectRequest<'_>,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, Rejection> {
        check_pseudo_fields(connect)?;
        let mut copy = Headers::new();
        let path = copy.push_text(connect.path.as_bytes());
        let authority = copy.push_text(connect.authority.as_bytes());
        copy_fields(&mut copy, headers, config.limits)?;
        // RFC 9113 §8.2.2: a message with these fields is malformed.
        for name in [name::CONNECTION, name::UPGRADE, name::TRANSFER_ENCODING] {
            if copy.contains(name) {
                return Err(Rejection::HeaderInvalid { name });
            }
        }
        rules::version(&copy)?;
        Self::by_policy(
            config,
            Request::over_extended_connect(copy, path, authority)?,
        )
    }
}

fn check_pseudo_fields(connect: ConnectRequest<'_>) -> Result<(), Rejection> {
    // RFC 8441 §4: the method is CONNECT, and :protocol names the protocol.
    if connect.method != "CONNECT" {
        return Err(Rejection::Method { allowed: "CONNECT" });
    }
    // RFC 9220 §3: 501 for an unknown protocol.
    match connect.protocol {
        Some(protocol) if protocol.eq_ignore_ascii_case("websocket") => {}
        Some(_) | None => return Err(Rejection::UnknownProtocol),
    }
    // RFC 8441 §5: https for wss, http for ws.
    if !["http", "https"]
        .iter()
        .any(|known| connect.scheme.eq_ignore_ascii_case(known))
    {
        return Err(Rejection::HeaderInvalid { name: ":scheme" });
    }
    Ok(())
}

/// A client's handshake, waiting for the answer to an extended CONNECT.
#[derive(Debug)]
#[must_use = "the answer must be checked"]
pub struct ConnectHandshake {
    offer: Offer,
    limits: AnswerLimits,
    authority: String,
    path: String,
    scheme: Scheme,
    headers: Headers,
}

/// The server's answer to an extended CONNECT.
#[derive(Debug)]
pub enum ConnectOutcome {
    /// The connection is open: the stream carries frames from now on.
    Open(Opened),
    /// Any other final status. The stream's data is the body; pass it to [`Refused::receive_body`].
    Refused(Refused),
}

impl ClientRequest {
    /// Makes the same request for an HTTP/2 or HTTP/3 connection.
    ///
    /// ```
    /// use offhook_protocol::handshake::{ClientRequest, ConnectOutcome, Scheme};
    ///
    /// let handshake = ClientRequest::new("server.example.com", "/chat")?
    ///     .subprotocol("chat")?
    ///     .extended_connect(Scheme::Https);
    /// assert_eq!(handshake.request().protocol, Some("websocket"));
    /// assert_eq!(handshake.headers().get_str("sec-websocket-protocol"), Some("chat"));
    ///
    /// let answer: [(&str, &[u8]); 1] = [("sec-websocket-protocol", b"chat")];
    /// let ConnectOutcome::Open(opened) = handshake.answered(200, answer)? else {
    ///     unreachable!("200 opens")
    /// };
    /// assert_eq!(opened.negotiated.protocol.as_deref(), Some("chat"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn extended_connect(self, scheme: Scheme) -> ConnectHandshake {
        let mut headers = Headers::new();
        self.push_shared(&mut headers);
        headers.lower_case_names();
        ConnectHandshake {
            offer: self.offer,
            limits: self.limits,
            authority: self.authority,
            path: self.target,
            scheme,
            headers,
        }
    }
}

impl ConnectHandshake {
    /// The pseudo-header fields to send.
    #[must_use]
    pub fn request(&self) -> ConnectRequest<'_> {
        ConnectRequest {
            method: "CONNECT",
            protocol: Some("websocket"),
            scheme: self.scheme.as_str(),
            authority: &self.authority,
            path: &self.path,
        }
    }

    /// The header fields to send, with names in lower case.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Checks the final answer.
    ///
    /// # Errors
    ///
    /// The answer accepts something that was not offered, or is too large: reset the stream.
    pub fn answered<'a>(
        self,
        status: u16,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<ConnectOutcome, HandshakeFailure> {
        let mut copy = Headers::new();
        copy_fields(&mut copy, headers, self.limits.head)?;
        // RFC 9110 §9.3.6: any 2xx means that the tunnel is established.
        if !(200..300).contains(&status) {
            return Ok(ConnectOutcome::Refused(Refused::new(
                status,
                copy,
                self.limits.body,
            )));
        }
        let negotiated: Negotiated = check_agreement(&self.offer, &copy)?;
        Ok(ConnectOutcome::Open(Opened {
            negotiated,
            headers: copy,
        }))
    }
}
