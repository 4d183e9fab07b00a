//! Where a redirect leads, and whether to follow it.
//!
//! RFC 6455 §4.1: the client might follow a redirect, with a new handshake. Browsers do not. A
//! program that moves from `ws://` to `wss://`, or to another host, needs it.

#[cfg(test)]
mod tests;

use offhook_protocol::handshake::Refused;

use super::url::{Url, without_password};
use crate::Error;

/// Whether an answer is a redirect. 300 and 304 are not, and 305 must not be followed (RFC 9110
/// §15.4.6).
pub(super) fn is_redirect(refused: &Refused) -> bool {
    matches!(refused.status(), 301 | 302 | 303 | 307 | 308)
        && refused.headers().contains("location")
}

/// The URL that a redirect names.
pub(super) fn follow(from: &Url, refused: &Refused) -> Result<Url, Error> {
    let Some(location) = refused.headers().get_str("location") else {
        return Err(refuse("", "its Location is not text"));
    };
    // RFC 9110 §10.2.2: a Location may have a fragment, which is dropped.
    let location = location.split('#').next().unwrap_or_default();
    let mut to = resolve(from, location).map_err(|reason| refuse(location, reason))?;
    if from.secure && !to.secure {
        return Err(refuse(
            location,
            "it leads from wss to ws, which is not encrypted",
        ));
    }
    if to.credentials.is_none() && trusts(from, &to) {
        to.credentials.clone_from(&from.credentials);
    }
    Ok(to)
}

pub(super) fn refuse(to: &str, reason: &'static str) -> Error {
    Error::Redirect {
        to: without_password(to),
        reason,
    }
}

/// Whether headers meant for one server may be sent to another: only to the same one, or over TLS
/// to the same host.
pub(super) fn trusts(from: &Url, to: &Url) -> bool {
    let both_default = from.has_default_port() && to.has_default_port();
    from.host == to.host && (from.port == to.port || both_default) && (to.secure || !from.secure)
}

/// RFC 3986 §5.2.2, for the references that a server may send.
fn resolve(base: &Url, reference: &str) -> Result<Url, &'static str> {
    let scheme = if base.secure { "wss" } else { "ws" };
    if has_scheme(reference) {
        return parse(reference);
    }
    if reference.starts_with("//") {
        return parse(&format!("{scheme}:{reference}"));
    }
    let (path, query) = split_query(reference);
    let (base_path, base_query) = split_query(&base.target);
    let target = match path {
        "" if query.is_empty() => format!("{base_path}{base_query}"),
        "" => format!("{base_path}{query}"),
        absolute if absolute.starts_with('/') => without_dots(absolute) + query,
        relative => {
            let folder = base_path
                .rfind('/')
                .map_or("/", |slash| &base_path[..=slash]);
            without_dots(&format!("{folder}{relative}")) + query
        }
    };
    // Parsed, to validate it.
    parse(&format!("{scheme}://{}{target}", base.host_and_port()))
}

fn parse(url: &str) -> Result<Url, &'static str> {
    Url::parse(url).map_err(|error| error.reason)
}

/// RFC 3986 §3.1.
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else {
        return false;
    };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// The query keeps its question mark.
fn split_query(target: &str) -> (&str, &str) {
    target.split_at(target.find('?').unwrap_or(target.len()))
}

/// RFC 3986 §5.2.4, of a path that begins with a slash.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => {
                kept.push(segment);
                continue;
            }
        }
        // A path that ends in a dot segment names a folder.
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}
