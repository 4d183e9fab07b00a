//! The rules that make a request a handshake (RFC 6455 §4.2.1), one by one.

use super::headers::{Headers, name};
use super::key::is_key;
use super::reject::Rejection;

/// The protocol's version, the only one outside of drafts.
pub(crate) const VERSION: &[u8] = b"13";

/// A handshake has no body. An announced body could hide another request in the bytes after the
/// head.
pub(crate) fn no_body(headers: &Headers) -> Result<(), Rejection> {
    let is_zero = headers
        .get_all(name::CONTENT_LENGTH)
        .all(|length| length == b"0");
    if !is_zero || headers.contains(name::TRANSFER_ENCODING) {
        return Err(Rejection::Body);
    }
    Ok(())
}

/// RFC 6455 §4.2.1 points 3 and 4: Upgrade and Connection.
pub(crate) fn upgrades(headers: &Headers) -> Result<(), Rejection> {
    if !names(headers, name::UPGRADE, b"websocket") {
        return Err(Rejection::NotAnUpgrade);
    }
    if !names(headers, name::CONNECTION, b"upgrade") {
        return Err(Rejection::HeaderMissing {
            name: name::CONNECTION,
        });
    }
    Ok(())
}

/// RFC 6455 §4.2.1 point 6 and §4.4.
pub(crate) fn version(headers: &Headers) -> Result<(), Rejection> {
    match headers.single(name::VERSION)? {
        Some(field) if headers.bytes(&field.value) == VERSION => Ok(()),
        Some(_) | None => Err(Rejection::Version),
    }
}

/// RFC 6455 §4.2.1 point 5.
pub(crate) fn key(headers: &Headers) -> Result<(), Rejection> {
    match headers.single(name::KEY)? {
        Some(field) if is_key(headers.bytes(&field.value)) => Ok(()),
        Some(_) => Err(Rejection::HeaderInvalid { name: name::KEY }),
        None => Err(Rejection::HeaderMissing { name: name::KEY }),
    }
}

/// Whether a list contains this token, compared without case.
pub(crate) fn names(headers: &Headers, name: &str, token: &[u8]) -> bool {
    headers
        .elements(name)
        .any(|element| element.eq_ignore_ascii_case(token))
}
