//! Violated rules, with their sections.

use offhook_protocol::PeerError;
use offhook_protocol::deflate::InflateError;

/// A violated rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// `RFC 6455 §5.1`.
    pub(crate) section: &'static str,
    /// The rule in words.
    pub(crate) rule: String,
}

impl Broken {
    pub(crate) fn new(section: &'static str, rule: impl Into<String>) -> Self {
        let rule = rule.into();
        Self { section, rule }
    }
}

impl From<PeerError> for Broken {
    fn from(error: PeerError) -> Self {
        let (section, rule) = match error {
            PeerError::ReservedBit => (
                "RFC 6455 §5.2",
                "reserved bits must be 0 unless a negotiated extension uses them",
            ),
            PeerError::ReservedOpcode(_) => {
                ("RFC 6455 §5.2", "opcodes 3 to 7 and 11 to 15 are reserved")
            }
            PeerError::FragmentedControl => {
                ("RFC 6455 §5.5", "control frames must not be fragmented")
            }
            PeerError::ControlTooLong => (
                "RFC 6455 §5.5",
                "control frames must carry at most 125 bytes",
            ),
            PeerError::LengthNotMinimal => (
                "RFC 6455 §5.2",
                "the length must be encoded in as few bytes as possible",
            ),
            PeerError::LengthTopBit => (
                "RFC 6455 §5.2",
                "the top bit of a 64-bit length must be 0; the frames that follow cannot be separated",
            ),
            PeerError::NotMasked => ("RFC 6455 §5.1", "a client must mask every frame"),
            PeerError::Masked => ("RFC 6455 §5.1", "a server must not mask frames"),
            PeerError::UnexpectedContinuation => (
                "RFC 6455 §5.4",
                "a continuation must continue an incomplete message",
            ),
            PeerError::MessageInterrupted => (
                "RFC 6455 §5.4",
                "a message must end before the next one starts",
            ),
            PeerError::CloseTooShort => (
                "RFC 6455 §5.5.1",
                "a Close must be empty or start with a code of two bytes",
            ),
            PeerError::CloseCode(_) => ("RFC 6455 §7.4", "this code must not be sent"),
            PeerError::InvalidUtf8 => ("RFC 6455 §8.1", "text must be UTF-8"),
            PeerError::CorruptDeflate => (
                "RFC 7692 §7.2.2",
                "compressed data must be a DEFLATE stream that ends with its message",
            ),
            PeerError::DeflateWindow => (
                "RFC 7692 §7.1.2",
                "references must not reach further back than the agreed window",
            ),
            _ => ("RFC 6455", "the protocol"),
        };
        Self::new(section, rule)
    }
}

/// The rule that compressed data violates; `None` if it only exceeds what is examined.
pub(super) fn of_inflating(error: InflateError) -> Option<Broken> {
    match error {
        InflateError::Corrupt => Some(PeerError::CorruptDeflate.into()),
        InflateError::WindowExceeded => Some(PeerError::DeflateWindow.into()),
        InflateError::TooLarge { .. } | InflateError::Ratio { .. } | _ => None,
    }
}
