//! Close codes: those that RFC 6455 §7.4 and the IANA registry define, and which of them may be
//! sent.

use std::fmt;

/// Why a connection was closed, as a number that both ends understand.
///
/// ```
/// use offhook_protocol::CloseCode;
///
/// assert_eq!(CloseCode::NORMAL.to_string(), "1000 (normal closure)");
/// assert!(CloseCode::new(4001).is_sendable());
/// // 1006 is what an endpoint tells its own user; it never goes on the wire.
/// assert!(!CloseCode::ABNORMAL.is_sendable());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

macro_rules! registry {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        impl CloseCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)*

            /// The registry's short description, or `None` for a code without one.
            #[must_use]
            pub const fn description(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

registry! {
    /// The connection has fulfilled its purpose.
    NORMAL = 1000, "normal closure";
    /// The endpoint is going away: a server is stopping, or the user left the page.
    GOING_AWAY = 1001, "going away";
    /// The peer violated the protocol.
    PROTOCOL_ERROR = 1002, "protocol error";
    /// The peer sent a type of data that this endpoint does not accept.
    UNSUPPORTED_DATA = 1003, "unsupported data";
    /// The Close frame carried no code. Never on the wire.
    NO_STATUS = 1005, "no status received";
    /// The connection was lost without a Close frame. Never on the wire.
    ABNORMAL = 1006, "abnormal closure";
    /// The data does not fit the message's type: text that is not UTF-8, broken compression.
    INVALID_DATA = 1007, "invalid frame payload data";
    /// The message violates a policy of this endpoint. The code for cases in which no other fits.
    POLICY_VIOLATION = 1008, "policy violation";
    /// The message is too big to process.
    TOO_BIG = 1009, "message too big";
    /// The client needs an extension that the server did not negotiate.
    MANDATORY_EXTENSION = 1010, "mandatory extension";
    /// The server met an unexpected condition.
    INTERNAL_ERROR = 1011, "internal error";
    /// The server is restarting. Clients should reconnect after a random delay.
    SERVICE_RESTART = 1012, "service restart";
    /// The server is overloaded. Clients should reconnect later.
    TRY_AGAIN_LATER = 1013, "try again later";
    /// A gateway received an invalid response from its upstream server.
    BAD_GATEWAY = 1014, "bad gateway";
    /// The TLS handshake failed. Never on the wire.
    TLS_HANDSHAKE = 1015, "TLS handshake failed";
}

impl CloseCode {
    /// Makes a code of any number. [`is_sendable`](Self::is_sendable) returns whether it may be
    /// sent.
    #[must_use]
    pub const fn new(code: u16) -> Self {
        Self(code)
    }

    /// The code as a number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether a Close frame may carry this code, in either direction.
    ///
    /// RFC 6455 §7.4.1: 1004 is reserved; 1005, 1006 and 1015 must not be set by an endpoint.
    /// §7.4.2: codes below 1000 are not used; codes up to 2999 that the registry has not assigned
    /// belong to future versions; 3000–3999 are registered by libraries and frameworks; 4000–4999
    /// are private.
    #[must_use]
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Whether the code reports an ordinary end: 1000 or 1001.
    #[must_use]
    pub const fn is_normal(self) -> bool {
        matches!(self.0, 1000 | 1001)
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.description() {
            Some(text) => write!(f, "{} ({text})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_codes_of_the_rfc_and_the_registry_can_be_sent() {
        let sendable: Vec<u16> = (0..=u16::MAX)
            .filter(|&code| CloseCode::new(code).is_sendable())
            .collect();
        let expected: Vec<u16> = (1000..=1003)
            .chain(1007..=1014)
            .chain(3000..=4999)
            .collect();
        assert_eq!(sendable, expected);
    }

    #[test]
    fn a_private_code_prints_as_its_number() {
        assert_eq!(CloseCode::new(4000).to_string(), "4000");
    }
}
