//! Rules that were broken, with their sections.

use offhook_protocol::PeerError;
use offhook_protocol::deflate::InflateError;

/// A rule that was broken.
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
                "reserved bits are 0 unless an extension was negotiated that uses them",
            ),
            PeerError::ReservedOpcode(_) => {
                ("RFC 6455 §5.2", "opcodes 3 to 7 and 11 to 15 are reserved")
            }
            PeerError::FragmentedControl => {
                ("RFC 6455 §5.5", "control frames are never fragmented")
            }
            PeerError::ControlTooLong => {
                ("RFC 6455 §5.5", "control frames carry at most 125 bytes")
            }
            PeerError::LengthNotMinimal => (
                "RFC 6455 §5.2",
                "the length takes as few bytes as can say it",
            ),
            PeerError::LengthTopBit => (
                "RFC 6455 §5.2",
                "the top bit of a 64-bit length is 0; what follows can't be told apart",
            ),
            PeerError::NotMasked => ("RFC 6455 §5.1", "a client masks every frame"),
            PeerError::Masked => ("RFC 6455 §5.1", "a server masks no frame"),
            PeerError::UnexpectedContinuation => (
                "RFC 6455 §5.4",
                "a continuation follows a message that was begun",
            ),
            PeerError::MessageInterrupted => {
                ("RFC 6455 §5.4", "a message ends before the next one begins")
            }
            PeerError::CloseTooShort => (
                "RFC 6455 §5.5.1",
                "a Close is empty or begins with a code of two bytes",
            ),
            PeerError::CloseCode(_) => ("RFC 6455 §7.4", "this code never travels"),
            PeerError::InvalidUtf8 => ("RFC 6455 §8.1", "text is UTF-8"),
            PeerError::CorruptDeflate => (
                "RFC 7692 §7.2.2",
                "compressed data is a DEFLATE stream that ends with its message",
            ),
            PeerError::DeflateWindow => (
                "RFC 7692 §7.1.2",
                "nothing is referred to that lies further back than the agreed window",
            ),
            _ => ("RFC 6455", "the protocol"),
        };
        Self::new(section, rule)
    }
}

/// The rule that compressed data breaks; none if it only exceeds what is looked at.
pub(super) fn of_inflating(error: InflateError) -> Option<Broken> {
    match error {
        InflateError::Corrupt => Some(PeerError::CorruptDeflate.into()),
        InflateError::WindowExceeded => Some(PeerError::DeflateWindow.into()),
        InflateError::TooLarge { .. } | InflateError::Ratio { .. } | _ => None,
    }
}
