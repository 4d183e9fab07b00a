//! How the client reached a trusted proxy, according to the proxy: `X-Forwarded-Proto`, or
//! `Forwarded` (RFC 7239).

use super::headers::{Headers, trim_space};
use super::origin::Scheme;

/// The scheme by which the client reached the proxy that sent this request. `None` if the proxy
/// does not say, or names a scheme that browsers do not use.
///
/// Each proxy on the way appends to these fields, and passes on earlier entries, including those of
/// the client: the last entry is from the trusted proxy. `X-Forwarded-Proto` takes precedence,
/// because a proxy that writes it may pass on a `Forwarded` field that it does not process.
pub(super) fn scheme(headers: &Headers) -> Option<Scheme> {
    let last = |name| {
        let field = headers.get_all(name).last()?;
        // A quoted comma of an earlier entry may be cut in two here: the last entry is still the last.
        field.rsplit(|byte| *byte == b',').next()
    };
    match last("x-forwarded-proto") {
        Some(entry) => named(trim_space(entry)),
        None => last("forwarded").and_then(of_element),
    }
}

/// RFC 7239 §4: pairs with semicolons between, `proto=https` or `proto="https"`.
fn of_element(element: &[u8]) -> Option<Scheme> {
    element.split(|byte| *byte == b';').find_map(|pair| {
        let (name, value) = trim_space(pair).split_at_checked(b"proto=".len())?;
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        let value = value.strip_suffix(b"\"").unwrap_or(value);
        name.eq_ignore_ascii_case(b"proto=")
            .then(|| named(value))
            .flatten()
    })
}

fn named(scheme: &[u8]) -> Option<Scheme> {
    let is = |name: &str| scheme.eq_ignore_ascii_case(name.as_bytes());
    if is("https") || is("wss") {
        Some(Scheme::Https)
    } else if is("http") || is("ws") {
        Some(Scheme::Http)
    } else {
        None
    }
}
