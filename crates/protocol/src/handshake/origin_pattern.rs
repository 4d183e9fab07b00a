//! Patterns of origins, for allow-lists.

use std::fmt;
use std::str::FromStr;

use super::authority::Host;
use super::origin::OriginParts;

/// The word for the server's own origin.
const SAME: &str = "same";

/// The prefix of a host that stands for all names below a domain.
const ANY_LABELS: &str = "*.";

/// The suffix of a pattern that matches every port.
const ANY_PORT: &str = ":*";

/// Top-level names that nobody can register, so that a wildcard below them matches only hosts of
/// one's own: RFC 6761 §6, RFC 6762 §3, and `internal`, which ICANN reserves for private use.
const PRIVATE: [&str; 4] = ["localhost", "local", "test", "internal"];

/// Web origins (RFC 6454) that an allow-list contains.
///
/// | pattern | matches |
/// |---|---|
/// | `https://chat.example.com` | this origin; the port is the scheme's default |
/// | `http://localhost:3000` | this origin |
/// | `https://*.example.com` | every name below `example.com`, at any depth, but not `example.com` itself |
/// | `http://localhost:*` | this host at every port |
/// | `https://*.example.com:*` | both |
/// | `same` | the server's own pages, as by [`OriginPolicy::SameOrigin`](super::OriginPolicy::SameOrigin) |
///
/// A wildcard is allowed only in the places shown here. The scheme is required, because anyone on
/// the way can change a page that is loaded by `http`.
///
/// ```
/// use offhook_protocol::handshake::OriginPattern;
///
/// let pattern: OriginPattern = "https://*.example.com".parse()?;
/// assert_eq!(pattern.to_string(), "https://*.example.com");
/// assert!("https://*.com".parse::<OriginPattern>().is_err());
/// # Ok::<(), offhook_protocol::handshake::InvalidOrigin>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern(Pattern);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Same,
    Origins {
        /// An origin in lower case, without the wildcards.
        base: String,
        /// Whether the host is that of `base`, or any name below it.
        below: bool,
        /// Whether the port may be any.
        any_port: bool,
    },
}

/// The text is not a pattern of origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidOrigin {
    text: String,
    reason: &'static str,
}

const EXPECTED: &str = "expected scheme://host or scheme://host:port, without a path; \
                        wildcards are https://*.example.com and http://localhost:*";

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not an origin: {}", self.text, self.reason)
    }
}

impl std::error::Error for InvalidOrigin {}

impl FromStr for OriginPattern {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let wrong = |reason| InvalidOrigin {
            text: text.to_owned(),
            reason,
        };
        if text == SAME {
            return Ok(Self(Pattern::Same));
        }
        let lower = text.to_ascii_lowercase();
        let (rest, any_port) = match lower.strip_suffix(ANY_PORT) {
            Some(rest) => (rest, true),
            None => (&*lower, false),
        };
        let (scheme, host) = rest.split_once("://").ok_or_else(|| wrong(EXPECTED))?;
        let (host, below) = match host.strip_prefix(ANY_LABELS) {
            Some(host) => (host, true),
            None => (host, false),
        };
        let base = format!("{scheme}://{host}");
        // A star is a valid character in a host name (RFC 3986 §3.2.2), but is meant as a wildcard
        // here.
        let parts = OriginParts::parse(&base).filter(|_| !base.contains('*'));
        let parts = parts.ok_or_else(|| wrong(EXPECTED))?;
        if any_port && host.contains(':') && !host.ends_with(']') {
            return Err(wrong("it has two ports"));
        }
        if below && !can_have_names_below(&parts.host) {
            let reason = "a wildcard stands for the names below a domain of your own, \
                          like https://*.example.com; for all pages, use \"any\"";
            return Err(wrong(reason));
        }
        Ok(Self(Pattern::Origins {
            base,
            below,
            any_port,
        }))
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pattern::Origins {
            base,
            below,
            any_port,
        } = &self.0
        else {
            return f.write_str(SAME);
        };
        let (scheme, host) = base.split_once("://").unwrap_or_default();
        let labels = if *below { ANY_LABELS } else { "" };
        let port = if *any_port { ANY_PORT } else { "" };
        write!(f, "{scheme}://{labels}{host}{port}")
    }
}

impl OriginPattern {
    /// `own` is the server's origin; without it, `same` matches nothing.
    pub(super) fn matches(&self, origin: &OriginParts<'_>, own: Option<&OriginParts<'_>>) -> bool {
        let Pattern::Origins {
            base,
            below,
            any_port,
        } = &self.0
        else {
            return own == Some(origin);
        };
        let Some(base) = OriginParts::parse(base) else {
            return false;
        };
        let same_host = match below {
            true => is_below(&origin.host, &base.host),
            false => origin.host == base.host,
        };
        same_host
            && (*any_port || origin.port == base.port)
            && origin.scheme.eq_ignore_ascii_case(base.scheme)
    }
}

/// Whether a wildcard below this name is allowed: it has to be a domain, but not a top-level one, below
/// which anybody can register names.
fn can_have_names_below(host: &Host<'_>) -> bool {
    let Host::Name(name) = host else { return false };
    let is_address = name
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let labels = name.split('.');
    !is_address
        && labels.clone().all(|label| !label.is_empty())
        && (labels.count() > 1 || PRIVATE.contains(name))
}

fn is_below(host: &Host<'_>, domain: &Host<'_>) -> bool {
    let (Host::Name(host), Host::Name(domain)) = (host, domain) else {
        return false;
    };
    let Some(split) = host.len().checked_sub(domain.len()) else {
        return false;
    };
    let Some((labels, rest)) = host.split_at_checked(split) else {
        return false;
    };
    let Some(labels) = labels.strip_suffix('.') else {
        return false;
    };
    // Other characters could hide where the host name ends.
    let is_label = |label: &str| {
        let is_own = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.bytes().all(is_own)
    };
    rest.eq_ignore_ascii_case(domain) && labels.split('.').all(is_label)
}
