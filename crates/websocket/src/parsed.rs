//! Requests parsed by an HTTP library, and responses for it to write.

#[cfg(feature = "hyper")]
use http::Version;
use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
#[cfg(feature = "hyper")]
use offhook_protocol::handshake::RequestLine;
use offhook_protocol::handshake::{
    ConnectRequest, Headers, Response, ServerConfig, ServerDecision,
};

use crate::Rejection;

/// A request's head, as far as a handshake needs it.
pub(crate) struct Parsed<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    /// RFC 9113 §8.2.3: over HTTP/2, cookies may be split over several fields; they are joined for
    /// code that expects one.
    cookie: Option<Vec<u8>>,
}

impl<'a> Parsed<'a> {
    pub(crate) fn new(method: &'a Method, uri: &'a Uri, headers: &'a HeaderMap) -> Self {
        let crumbs = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        let crumbs: Vec<&[u8]> = crumbs.collect();
        let cookie = (crumbs.len() > 1).then(|| crumbs.join(&b"; "[..]));
        Self {
            method,
            uri,
            headers,
            cookie,
        }
    }

    fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let joined = self.cookie.as_deref().map(|value| (COOKIE.as_str(), value));
        fields(self.headers)
            .filter(move |(name, _)| self.cookie.is_none() || *name != COOKIE.as_str())
            .chain(joined)
    }

    /// Checks an extended CONNECT (RFC 8441 §4).
    pub(crate) fn extended_connect(
        &self,
        config: &ServerConfig,
        protocol: Option<&str>,
    ) -> Result<ServerDecision, Rejection> {
        let uri = self.uri;
        let connect = ConnectRequest {
            method: self.method.as_str(),
            protocol,
            scheme: uri.scheme_str().unwrap_or_default(),
            authority: uri.authority().map_or("", |authority| authority.as_str()),
            path: uri.path_and_query().map_or("", |path| path.as_str()),
        };
        ServerDecision::from_extended_connect(config, connect, self.fields())
    }

    /// Checks an upgrade (RFC 6455 §4.2.1).
    #[cfg(feature = "hyper")]
    pub(crate) fn upgrade(
        &self,
        config: &ServerConfig,
        version: Version,
    ) -> Result<ServerDecision, Rejection> {
        let target = self.uri.to_string();
        let line = RequestLine {
            method: self.method.as_str(),
            target: &target,
            version: if version < Version::HTTP_11 {
                (1, 0)
            } else {
                (1, 1)
            },
        };
        ServerDecision::from_parsed(config, line, self.fields())
    }
}

/// Names and values, in order.
pub(crate) fn fields(headers: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// Converts header fields for the library. They were validated when they were added.
pub(crate) fn header_map(fields: &Headers) -> HeaderMap {
    fields
        .iter()
        .filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(value).ok()?))
        })
        .collect()
}

/// Converts a response for the library.
pub(crate) fn response<B>(response: &Response, body: B) -> http::Response<B> {
    let mut converted = http::Response::new(body);
    *converted.status_mut() =
        StatusCode::from_u16(response.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *converted.headers_mut() = header_map(response.headers());
    converted
}
