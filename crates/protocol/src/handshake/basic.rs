//! The `Basic` authentication scheme (RFC 7617).

use data_encoding::BASE64;

use super::InvalidRequest;

/// The value of an `Authorization` or `Proxy-Authorization` field for a user name and a password.
///
/// # Errors
///
/// [`InvalidRequest::Credentials`] if the user name contains a colon, or either of them a control
/// character (RFC 7617 §2).
pub fn basic_credentials(user: &str, password: &str) -> Result<String, InvalidRequest> {
    let has_control = |text: &str| text.chars().any(char::is_control);
    if user.contains(':') || has_control(user) || has_control(password) {
        return Err(InvalidRequest::Credentials);
    }
    let encoded = BASE64.encode(format!("{user}:{password}").as_bytes());
    Ok(format!("Basic {encoded}"))
}
