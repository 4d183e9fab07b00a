//! Errors in a server's answer.

use std::fmt;

use super::{
    FULL_WINDOW_BITS, PERMESSAGE_DEFLATE, SERVER_MAX_WINDOW_BITS, SERVER_NO_CONTEXT_TAKEOVER,
};

/// Why the client must fail the connection because of the server's answer (RFC 7692 §5.1 and §7.1,
/// RFC 6455 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NegotiationError {
    /// The server agreed to an extension that was not offered.
    ExtensionNotOffered {
        /// The extension's name.
        name: String,
    },
    /// The server agreed to permessage-deflate more than once.
    AgreedTwice,
    /// The parameter is not defined for permessage-deflate.
    UnknownParameter {
        /// The parameter's name.
        name: String,
    },
    /// A parameter appears twice.
    RepeatedParameter {
        /// The parameter's name.
        name: &'static str,
    },
    /// A parameter that takes no value has one.
    UnexpectedValue {
        /// The parameter's name.
        name: &'static str,
    },
    /// Window bits must be a number from 8 to 15 without leading zeros.
    InvalidWindowBits {
        /// The parameter's name.
        name: &'static str,
        /// The value in the answer, if any.
        value: Option<String>,
    },
    /// We requested a limit on the server's window; the server did not confirm it or named a larger
    /// one.
    ServerWindowTooLarge {
        /// The largest window allowed by our offer.
        offered: u8,
        /// The window named by the server, if any.
        answered: Option<u8>,
    },
    /// We asked the server to drop its context between messages; it did not confirm that.
    ServerContextKept,
}

impl fmt::Display for NegotiationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExtensionNotOffered { name } => {
                write!(
                    f,
                    "the server agreed to the extension \"{name}\", which was not offered"
                )
            }
            Self::AgreedTwice => write!(f, "the server agreed to {PERMESSAGE_DEFLATE} twice"),
            Self::UnknownParameter { name } => {
                write!(f, "{PERMESSAGE_DEFLATE} has no parameter \"{name}\"")
            }
            Self::RepeatedParameter { name } => {
                write!(f, "{PERMESSAGE_DEFLATE}: {name} appears twice")
            }
            Self::UnexpectedValue { name } => {
                write!(f, "{PERMESSAGE_DEFLATE}: {name} takes no value")
            }
            Self::InvalidWindowBits { name, value } => {
                write!(
                    f,
                    "{PERMESSAGE_DEFLATE}: {name}: expected a number from 8 to 15, found "
                )?;
                match value {
                    Some(value) => write!(f, "\"{value}\""),
                    None => f.write_str("nothing"),
                }
            }
            Self::ServerWindowTooLarge { offered, answered } => {
                let answered = answered.unwrap_or(FULL_WINDOW_BITS);
                write!(
                    f,
                    "{PERMESSAGE_DEFLATE}: {SERVER_MAX_WINDOW_BITS}: at most {offered} was offered, \
                     the server takes {answered}"
                )
            }
            Self::ServerContextKept => write!(
                f,
                "{PERMESSAGE_DEFLATE}: {SERVER_NO_CONTEXT_TAKEOVER} was asked for, \
                 the server did not confirm it"
            ),
        }
    }
}

impl std::error::Error for NegotiationError {}
