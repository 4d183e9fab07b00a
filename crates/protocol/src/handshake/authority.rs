//! `host[:port]`, as used in `Host`, `:authority` and `Origin` (RFC 3986 §3.2).

use std::net::Ipv6Addr;

/// A host and the port that was written with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    pub(crate) host: Host<'a>,
    pub(crate) port: Option<u16>,
}

/// A host. Names are compared without case, IPv6 addresses by value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Host<'a> {
    Name(&'a str),
    Ipv6(Ipv6Addr),
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(left), Self::Name(right)) => left.eq_ignore_ascii_case(right),
            (Self::Ipv6(left), Self::Ipv6(right)) => left == right,
            (Self::Name(_), Self::Ipv6(_)) | (Self::Ipv6(_), Self::Name(_)) => false,
        }
    }
}

impl Eq for Host<'_> {}

impl<'a> Authority<'a> {
    /// `None` if the text is not a host with an optional port. User information is not allowed
    /// where this is used (RFC 9110 §4.2.4).
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            let port = if rest.is_empty() {
                None
            } else {
                parse_port(rest.strip_prefix(':')?)?
            };
            return Some(Self {
                host: Host::Ipv6(address.parse().ok()?),
                port,
            });
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, parse_port(port)?),
            None => (text, None),
        };
        is_reg_name(name).then_some(Self {
            host: Host::Name(name),
            port,
        })
    }
}

/// RFC 3986 §3.2.3: the digits after the colon may be missing. The outer `None` is an error.
#[expect(clippy::option_option, reason = "a missing port is not an invalid one")]
fn parse_port(digits: &str) -> Option<Option<u16>> {
    if digits.is_empty() {
        return Some(None);
    }
    // `u16::from_str` would accept a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Some)
}

/// RFC 3986 §3.2.2: unreserved, percent-encoded and sub-delims; not empty, for
/// `http` and `ws` have no empty hosts.
fn is_reg_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_reg_name_byte)
}

fn is_reg_name_byte(byte: u8) -> bool {
    matches!(byte,
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
        | b'-' | b'.' | b'_' | b'~' | b'%'
        | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}
