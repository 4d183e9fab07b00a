//! Which web pages may connect (RFC 6455 §10.2).

use super::authority::{Authority, Host};
use super::origin_pattern::{InvalidOrigin, OriginPattern};
use super::reject::Rejection;

/// The scheme under which browsers reach this server.
///
/// Behind a proxy that terminates TLS this is [`Https`](Scheme::Https), although the server itself
/// receives plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// `http://` and `ws://`, default port 80.
    #[default]
    Http,
    /// `https://` and `wss://`, default port 443.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Which web pages may open a WebSocket to this server.
///
/// A browser sends the page's origin in every handshake, scripts cannot change it, and the browser
/// sends the user's cookies along from *any* page. Without a policy, every site could act with the
/// user's login. Programs other than browsers send no `Origin`, or any value they like; a missing
/// one is therefore allowed (unless the configuration requires it), and this policy is not
/// authentication.
#[derive(Debug, Clone, Default)]
pub enum OriginPolicy {
    /// Only pages from this server: the origin must have the configured [`Scheme`] and the host and
    /// port of the request. A proxy in front must forward `Host`; if it does not, use an
    /// [`AllowList`](Self::AllowList).
    #[default]
    SameOrigin,
    /// Only pages from origins that match one of these patterns. `null` (sandboxed frames, files)
    /// never matches.
    AllowList(Vec<OriginPattern>),
    /// Pages from any origin. Only correct if the server does not use cookies.
    Any,
}

impl OriginPolicy {
    /// Pages from these origins, each written as an [`OriginPattern`]: `https://chat.example.com`,
    /// `https://*.example.com`, `http://localhost:*`, or `same` for the server's own pages.
    ///
    /// # Errors
    ///
    /// [`InvalidOrigin`] names the first text that is not a pattern.
    pub fn allow_list<'a>(
        patterns: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidOrigin> {
        patterns
            .into_iter()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self::AllowList)
    }

    /// Whether an origin is allowed whatever host the request was sent to: by
    /// [`Any`](Self::Any), or by a pattern of the list other than `same`.
    #[must_use]
    pub fn allows_everywhere(&self, origin: &str) -> bool {
        match self {
            Self::SameOrigin => false,
            Self::Any => true,
            Self::AllowList(list) => {
                let origin = OriginParts::parse(origin);
                origin.is_some_and(|origin| list.iter().any(|one| one.matches(&origin, None)))
            }
        }
    }

    /// `own` is the authority the request was sent to.
    pub(crate) fn check(
        &self,
        origin: Option<&[u8]>,
        own: Authority<'_>,
        scheme: Scheme,
    ) -> Result<(), Rejection> {
        let Some(sent) = origin else { return Ok(()) };
        let origin = std::str::from_utf8(sent).ok().and_then(OriginParts::parse);
        let own = OriginParts::new(scheme.as_str(), own);
        let allowed = match self {
            Self::Any => true,
            Self::AllowList(list) => {
                origin.is_some_and(|origin| list.iter().any(|one| one.matches(&origin, Some(&own))))
            }
            Self::SameOrigin => origin == Some(own),
        };
        if allowed {
            Ok(())
        } else {
            Err(Rejection::OriginDenied {
                origin: printable(sent),
            })
        }
    }
}

/// How many characters of a refused origin are repeated. Origins of real pages are not longer.
const SHOWN: usize = 200;

/// An origin for logs and answers: visible ASCII only, and of limited length.
fn printable(origin: &[u8]) -> Box<str> {
    let visible = |byte: &u8| match byte {
        b'!'..=b'~' => char::from(*byte),
        _ => '?',
    };
    origin
        .iter()
        .take(SHOWN)
        .map(visible)
        .collect::<String>()
        .into()
}

/// The parts of an origin, with the default port filled in: RFC 6454 §5 compares these three.
#[derive(Debug, Clone, Copy)]
pub(super) struct OriginParts<'a> {
    pub(super) scheme: &'a str,
    pub(super) host: Host<'a>,
    pub(super) port: Option<u16>,
}

impl PartialEq for OriginParts<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.scheme.eq_ignore_ascii_case(other.scheme)
            && self.host == other.host
            && self.port == other.port
    }
}

impl<'a> OriginParts<'a> {
    fn new(scheme: &'a str, authority: Authority<'a>) -> Self {
        let port = authority.port.or_else(|| default_port(scheme));
        Self {
            scheme,
            host: authority.host,
            port,
        }
    }

    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let authority = rest.strip_prefix("//")?;
        let mut letters = scheme.bytes();
        let is_scheme = letters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme {
            return None;
        }
        Some(Self::new(scheme, Authority::parse(authority)?))
    }
}

/// Other schemes (browser extensions) have no default port.
fn default_port(scheme: &str) -> Option<u16> {
    if scheme.eq_ignore_ascii_case("http") {
        Some(80)
    } else if scheme.eq_ignore_ascii_case("https") {
        Some(443)
    } else {
        None
    }
}
