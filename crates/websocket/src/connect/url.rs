//! URLs, parsed strictly: anything that two parsers could interpret differently is rejected, with
//! the reason.
//!
//! RFC 6455 §3 and RFC 3986. There is no IDNA: its tables are larger than the rest of this crate,
//! and such names are also available in Punycode.

#[cfg(test)]
mod tests;

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use data_encoding::HEXLOWER_PERMISSIVE;

use crate::error::UrlError;

/// A parsed WebSocket URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// Whether over TLS.
    pub(super) secure: bool,
    pub(super) host: Host,
    pub(super) port: u16,
    /// Path and query; starts with `/` and contains no characters that must be encoded.
    pub(super) target: Box<str>,
    pub(super) credentials: Option<Credentials>,
}

/// A host; names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Name(Box<str>),
    Ip(IpAddr),
}

/// User name and password, decoded.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: Box<str>,
    pub(super) password: Box<str>,
}

/// The parts of a URL of any scheme.
pub(super) struct Parts<'a> {
    pub(super) scheme: &'a str,
    pub(super) credentials: Option<Credentials>,
    pub(super) host: Host,
    pub(super) port: Option<u16>,
    /// From the first `/` or `?` after the host to the end.
    pub(super) rest: &'a str,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        Self::read(text).map_err(|reason| UrlError {
            url: without_password(text),
            reason,
        })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let parts = Parts::parse(text)?;
        let secure = match parts.scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err("expected the scheme ws or wss (http and https also work)"),
        };
        let target = parts.rest;
        // RFC 6455 §3: fragment identifiers MUST NOT be used on these URIs; # MUST be escaped.
        if target.contains('#') {
            return Err("it must not have a fragment; write # in a path or query as %23");
        }
        if !target
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        {
            return Err("path and query must be percent-encoded ASCII");
        }
        // RFC 6455 §3: "/" if the path is empty.
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            secure,
            host: parts.host,
            port: parts.port.unwrap_or(default_port(secure)),
            target: format!("{slash}{target}").into(),
            credentials: parts.credentials,
        })
    }

    /// The same server with another path and query.
    #[cfg(feature = "http2")]
    pub(super) fn with_target(&self, target: &str) -> Self {
        Self {
            target: target.into(),
            ..self.clone()
        }
    }

    /// The value of `Host`: with the port unless it is the scheme's default (RFC 6455 §4.1 point
    /// 4).
    pub(super) fn authority(&self) -> String {
        if self.has_default_port() {
            self.host.to_string()
        } else {
            self.host_and_port()
        }
    }

    /// Host and port, even if it is the default.
    pub(super) fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(super) fn has_default_port(&self) -> bool {
        self.port == default_port(self.secure)
    }
}

const fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

impl<'a> Parts<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("expected scheme://host, such as wss://example.com/chat")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (credentials, authority) = match authority.split_once('@') {
            Some((_, authority)) if authority.contains('@') => {
                return Err("only one @ may come before the host; write @ in a password as %40");
            }
            // Browsers treat a backslash as a slash and drop tabs and line breaks: where the host
            // starts must be unambiguous.
            Some((credentials, _)) if !credentials.bytes().all(is_credential_byte) => {
                return Err("user name and password must be percent-encoded");
            }
            Some((credentials, authority)) => (Some(Credentials::parse(credentials)?), authority),
            None => (None, authority),
        };
        let (host, port) = split_port(authority)?;
        Ok(Self {
            scheme,
            credentials,
            host: Host::parse(host)?,
            port,
            rest,
        })
    }
}

/// Splits off the port, if there is one.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    // Colons inside brackets belong to the address.
    let behind_host = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = authority[behind_host..].find(':') else {
        return Ok((authority, None));
    };
    let (host, port) = authority.split_at(behind_host + colon);
    let digits = &port[1..];
    // RFC 3986 §3.2.3: the digits may be missing.
    if digits.is_empty() {
        return Ok((host, None));
    }
    // `u16::from_str` would accept a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("the port must be a number; put an IPv6 address in brackets");
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err("the port must be between 1 and 65535"),
        Ok(port) => Ok((host, Some(port))),
    }
}

impl Host {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(address) = text.strip_prefix('[') {
            return parse_ipv6(address);
        }
        if text.is_empty() {
            return Err("the host is missing");
        }
        if !text.is_ascii() {
            return Err("the host must be ASCII: write an international name in Punycode (xn--…)");
        }
        // RFC 3986 §3.2.2 allows more characters; DNS and its users do not.
        if !text.bytes().all(is_name_byte) {
            return Err("the host may contain only letters, digits, hyphens, dots and underscores");
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if ends_in_number(name) {
            // The C library would accept 127.1 and 0x7f000001 as addresses, and others would not.
            return Err("an IPv4 address must be four numbers from 0 to 255 with dots between");
        }
        // RFC 1035 §2.3.4.
        let labels_fit = name.split('.').all(|label| (1..=63).contains(&label.len()));
        if name.len() > 253 || !labels_fit {
            return Err(
                "the host is not a DNS name: labels must have 1 to 63 characters, and the name at most 253",
            );
        }
        Ok(Self::Name(text.to_ascii_lowercase().into()))
    }
}

fn parse_ipv6(behind_bracket: &str) -> Result<Host, &'static str> {
    let address = behind_bracket
        .strip_suffix(']')
        .ok_or("the bracket of the IPv6 address must be closed, and only a port may follow it")?;
    // RFC 6874 would allow a zone; browsers and proxies do not, and it means nothing to the server.
    if address.contains('%') {
        return Err("an IPv6 address must not have a zone; bind to an address of the link instead");
    }
    let address: Ipv6Addr = address
        .parse()
        .map_err(|_| "the host in brackets must be an IPv6 address")?;
    Ok(Host::Ip(address.into()))
}

/// RFC 3986 §3.2.1.
fn is_credential_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:%".contains(&byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last
        .strip_prefix("0x")
        .or_else(|| last.strip_prefix("0X"))
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hexadecimal || (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()))
}

impl fmt::Display for Host {
    /// As in a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(address)) => address.fmt(f),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl Credentials {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self {
            user: percent_decode(user)?,
            password: percent_decode(password)?,
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(not shown)")
    }
}

fn percent_decode(text: &str) -> Result<Box<str>, &'static str> {
    const BROKEN: &str = "in user name and password % must be followed by two hex digits";
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        if *first == b'%' {
            let (digits, behind) = behind.split_first_chunk::<2>().ok_or(BROKEN)?;
            let byte = HEXLOWER_PERMISSIVE.decode(digits).map_err(|_| BROKEN)?;
            decoded.extend(byte);
            rest = behind;
        } else {
            decoded.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(decoded)
        .map(Into::into)
        .map_err(|_| "user name and password must be UTF-8")
}

/// A URL without its password, for errors and logs.
pub(super) fn without_password(url: &str) -> Box<str> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return match url.rsplit_once('@') {
            Some((_, rest)) => format!("***@{rest}").into(),
            None => url.into(),
        };
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]).into(),
        None => url.into(),
    }
}

impl fmt::Display for Url {
    /// Formats the URL without user name and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "wss" } else { "ws" })?;
        f.write_str("://")?;
        self.host.fmt(f)?;
        if !self.has_default_port() {
            f.write_char(':')?;
            self.port.fmt(f)?;
        }
        f.write_str(&self.target)
    }
}
