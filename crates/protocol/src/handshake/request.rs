//! A handshake's request, as seen by the server's application.

use std::ops::Range;

use super::authority::Authority;
use super::head::{MalformedHead, range_in};
use super::headers::{Headers, name};
use super::reject::{Carrier, Rejection};
use crate::deflate::{Extension, parse_extensions};

/// A client's request. All of it was checked against the rules of the handshake; the application
/// decides whether this user may connect.
#[derive(Debug, Clone)]
pub struct Request {
    carrier: Carrier,
    headers: Headers,
    target: Range<usize>,
    path: Range<usize>,
    query: Option<Range<usize>>,
    authority: Range<usize>,
}

impl Request {
    /// How the request was transported.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// `GET`, or `CONNECT` for [`Carrier::ExtendedConnect`].
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self.carrier {
            Carrier::Upgrade => "GET",
            Carrier::ExtendedConnect => "CONNECT",
        }
    }

    /// The request target as sent: path and query, rarely a whole URI.
    #[must_use]
    pub fn target(&self) -> &str {
        self.headers.str(&self.target)
    }

    /// The target's path, with percent-encoding as sent.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.headers.str(&self.path) {
            // RFC 9110 §4.2.3: an empty path is the path "/".
            "" => "/",
            path => path,
        }
    }

    /// What follows the `?`, if there is one.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_ref().map(|query| self.headers.str(query))
    }

    /// The host and port the client wants to reach, as sent.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.headers.str(&self.authority)
    }

    /// All header fields.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The page's origin, if a browser sent this request. The policy allowed it.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.headers.get_str(name::ORIGIN)
    }

    /// The request's cookies as pairs of name and value (RFC 6265 §4.2.1). Parts that are not pairs
    /// are skipped.
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers
            .get_all("cookie")
            .filter_map(|field| std::str::from_utf8(field).ok())
            .flat_map(|field| field.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
    }

    /// The first cookie of this name.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies()
            .find_map(|(known, value)| (known == name).then_some(value))
    }

    /// The subprotocols offered, in the client's order of preference.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.headers
            .elements(name::PROTOCOL)
            .filter_map(|offered| std::str::from_utf8(offered).ok())
    }

    /// The extensions offered, in the client's order of preference.
    #[must_use]
    pub fn extensions(&self) -> Vec<Extension<'_>> {
        parse_extensions(self.headers.get_all(name::EXTENSIONS)).unwrap_or_default()
    }

    /// A request over HTTP/1.1. `target` is a range of the headers' text.
    pub(crate) fn over_http1(headers: Headers, target: Range<usize>) -> Result<Self, Rejection> {
        // RFC 9112 §3.2: exactly one valid Host, or 400.
        let host = headers.single(name::HOST)?;
        let host = host
            .ok_or(Rejection::HeaderMissing { name: name::HOST })?
            .value
            .clone();
        let split =
            split_target(&headers, &target).ok_or(Rejection::Malformed(MalformedHead::Target))?;
        let request = Self {
            carrier: Carrier::Upgrade,
            target,
            path: split.path,
            query: split.query,
            // RFC 9112 §3.2.2: with an absolute target, Host is ignored.
            authority: split.authority.unwrap_or_else(|| host.clone()),
            headers,
        };
        let is_other = host != request.authority;
        if is_other && Authority::parse(request.headers.str(&host)).is_none() {
            return Err(Rejection::HeaderInvalid { name: name::HOST });
        }
        Ok(request)
    }

    /// A request over HTTP/2 or HTTP/3.
    pub(crate) fn over_extended_connect(
        headers: Headers,
        path: Range<usize>,
        authority: Range<usize>,
    ) -> Result<Self, Rejection> {
        let split =
            split_target(&headers, &path).ok_or(Rejection::Malformed(MalformedHead::Target))?;
        let request = Self {
            carrier: Carrier::ExtendedConnect,
            headers,
            target: path,
            path: split.path,
            query: split.query,
            authority,
        };
        // RFC 9113 §8.3.1: :path starts with a slash; it is not a whole URI.
        if split.authority.is_some() {
            return Err(Rejection::Malformed(MalformedHead::Target));
        }
        Ok(request)
    }

    /// Parses the [`authority`](Self::authority).
    pub(crate) fn parsed_authority(&self) -> Result<Authority<'_>, Rejection> {
        let name = match self.carrier {
            Carrier::Upgrade => name::HOST,
            Carrier::ExtendedConnect => ":authority",
        };
        Authority::parse(self.authority()).ok_or(Rejection::HeaderInvalid { name })
    }
}

struct Target {
    authority: Option<Range<usize>>,
    path: Range<usize>,
    query: Option<Range<usize>>,
}

/// RFC 9112 §3.2.1 and §3.2.2: a path, or an absolute URI. RFC 6455 §3: no fragment.
fn split_target(headers: &Headers, target: &Range<usize>) -> Option<Target> {
    let text = headers.str(target);
    if !is_target_text(text) {
        return None;
    }
    let (authority, rest) = if text.starts_with('/') {
        (None, text)
    } else {
        let (scheme, rest) = text.split_once(':')?;
        let rest = rest.strip_prefix("//").filter(|_| is_http(scheme))?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end)?;
        (Some(authority), rest)
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let within = |part: &str| {
        let range = range_in(text.as_bytes(), part.as_bytes());
        range.start.saturating_add(target.start)..range.end.saturating_add(target.start)
    };
    Some(Target {
        authority: authority.map(within),
        path: within(path),
        query: query.map(within),
    })
}

/// Whether it is visible ASCII without a fragment, as required in a request line. (httparse accepts
/// UTF-8, RFC 3986 does not.)
pub(crate) fn is_target_text(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}
