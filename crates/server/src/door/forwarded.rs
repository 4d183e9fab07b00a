//! The client's address according to a trusted proxy: `X-Forwarded-For`, or `Forwarded` (RFC 7239).
//!
//! Each proxy on the way appends the address that it sees to the existing entries, which may come
//! from the client. Therefore the entries are read from the end, past those of trusted proxies.

use std::net::{IpAddr, SocketAddr};

use crate::config::Proxies;

/// The maximum number of entries that are read. 16: more than any real chain of proxies has.
const ENTRIES: usize = 16;

/// The client's address; none if no field names one. `X-Forwarded-For` takes precedence, because a
/// proxy that writes it may pass on a `Forwarded` field that it does not process.
pub(crate) fn client<'a>(
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    proxies: &Proxies,
) -> Option<IpAddr> {
    let (mut forwarded_for, mut forwarded) = (Vec::new(), Vec::new());
    for (name, value) in fields {
        let list = if name.eq_ignore_ascii_case("x-forwarded-for") {
            &mut forwarded_for
        } else if name.eq_ignore_ascii_case("forwarded") {
            &mut forwarded
        } else {
            continue;
        };
        list.extend(value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
    }
    if forwarded_for.is_empty() {
        let entries = forwarded.iter().rev().map(|element| of_element(element));
        return last_untrusted(entries, proxies);
    }
    let entries = forwarded_for.iter().rev().map(|entry| address(entry));
    last_untrusted(entries, proxies)
}

fn last_untrusted(
    entries: impl Iterator<Item = Option<IpAddr>>,
    proxies: &Proxies,
) -> Option<IpAddr> {
    let mut known = None;
    for entry in entries.take(ENTRIES) {
        // Entries before one that is not an address cannot be trusted.
        let Some(address) = entry else { break };
        known = Some(address);
        if !proxies.trusts(address) {
            break;
        }
    }
    known
}

/// RFC 7239 §4: pairs separated by semicolons; §6: an IPv6 address is quoted and in brackets.
fn of_element(element: &[u8]) -> Option<IpAddr> {
    element.split(|byte| *byte == b';').find_map(|pair| {
        let (name, value) = pair.trim_ascii().split_at_checked(b"for=".len())?;
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        let value = value.strip_suffix(b"\"").unwrap_or(value);
        let is_it = name.eq_ignore_ascii_case(b"for=");
        is_it.then(|| address(value)).flatten()
    })
}

/// An address, with or without a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(text).parse() {
        return Some(address);
    }
    text.parse::<SocketAddr>().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(fields: &[(&str, &str)]) -> Option<String> {
        let proxies = Proxies {
            trusted: vec!["10.0.0.0/8".parse().unwrap()],
            ..Proxies::default()
        };
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        client(fields, &proxies).map(|address| address.to_string())
    }

    #[test]
    fn the_last_address_that_is_not_a_trusted_proxy_is_the_client() {
        let entry = |value: &str| found(&[("X-Forwarded-For", value)]);
        assert_eq!(entry("203.0.113.7").as_deref(), Some("203.0.113.7"));
        // The client's own entries precede those of the proxy.
        assert_eq!(
            entry("1.2.3.4, 203.0.113.7").as_deref(),
            Some("203.0.113.7")
        );
        assert_eq!(
            entry("1.2.3.4, 203.0.113.7, 10.0.0.9").as_deref(),
            Some("203.0.113.7")
        );
        assert_eq!(entry("10.0.0.1, 10.0.0.9").as_deref(), Some("10.0.0.1"));
        assert_eq!(entry("203.0.113.7:4711").as_deref(), Some("203.0.113.7"));
        assert_eq!(entry("[2001:db8::1]:4711").as_deref(), Some("2001:db8::1"));
        assert_eq!(entry("1.2.3.4, unknown").as_deref(), None);
        assert_eq!(entry("").as_deref(), None);
        let two = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "203.0.113.7"),
        ];
        assert_eq!(found(&two).as_deref(), Some("203.0.113.7"));
    }

    #[test]
    fn the_field_forwarded_is_read_if_there_is_no_x_forwarded_for() {
        let entry = |value: &str| found(&[("Forwarded", value)]);
        assert_eq!(
            entry("for=203.0.113.7;proto=https").as_deref(),
            Some("203.0.113.7")
        );
        assert_eq!(
            entry("for=1.2.3.4, proto=https;For=\"[2001:db8::1]:80\"").as_deref(),
            Some("2001:db8::1")
        );
        assert_eq!(entry("for=_hidden").as_deref(), None);
        let both = [
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "203.0.113.7"),
        ];
        assert_eq!(found(&both).as_deref(), Some("203.0.113.7"));
    }
}
