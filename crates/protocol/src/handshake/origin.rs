//! Which web pages may connect (RFC 6455 §10.2).

use std::fmt;
use std::str::FromStr;

use super::authority::{Authority, Host};
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
    /// Only pages from these origins. `null` (sandboxed frames, files) never matches.
    AllowList(Vec<Origin>),
    /// Pages from any origin. Only correct if the server does not use cookies.
    Any,
}

impl OriginPolicy {
    /// Pages from these origins, each as browsers write it: `https://chat.example.com`,
    /// `http://localhost:3000`.
    ///
    /// # Errors
    ///
    /// [`InvalidOrigin`] names the first text that is not an origin.
    pub fn allow_list<'a>(
        origins: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidOrigin> {
        origins
            .into_iter()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self::AllowList)
    }

    /// `own` is the authority the request was sent to.
    pub(crate) fn check(
        &self,
        origin: Option<&[u8]>,
        own: Authority<'_>,
        scheme: Scheme,
    ) -> Result<(), Rejection> {
        let Some(origin) = origin else { return Ok(()) };
        let origin = std::str::from_utf8(origin)
            .ok()
            .and_then(OriginParts::parse);
        let allowed = match self {
            Self::Any => true,
            Self::AllowList(list) => {
                origin.is_some_and(|origin| list.iter().any(|listed| listed.is(&origin)))
            }
            Self::SameOrigin => origin == Some(OriginParts::new(scheme.as_str(), own)),
        };
        if allowed {
            Ok(())
        } else {
            Err(Rejection::OriginDenied)
        }
    }
}

/// A web origin: scheme, host and port (RFC 6454).
#[derive(Debug, Clone)]
pub struct Origin {
    text: String,
}

/// The text is not an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidOrigin(String);

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not an origin: expected scheme://host or scheme://host:port, without a path or a wildcard",
            self.0
        )
    }
}

impl std::error::Error for InvalidOrigin {}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        match OriginParts::parse(text) {
            // A star is allowed in a host name, but it is most likely meant as a wildcard.
            Some(_) if !text.contains('*') => Ok(Self {
                text: text.to_ascii_lowercase(),
            }),
            Some(_) | None => Err(InvalidOrigin(text.to_owned())),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Origin {
    fn is(&self, other: &OriginParts<'_>) -> bool {
        OriginParts::parse(&self.text).as_ref() == Some(other)
    }
}

/// The parts of an origin, with the default port filled in: RFC 6454 §5 compares these three.
#[derive(Debug, Clone, Copy)]
struct OriginParts<'a> {
    scheme: &'a str,
    host: Host<'a>,
    port: Option<u16>,
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

    fn parse(text: &'a str) -> Option<Self> {
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
