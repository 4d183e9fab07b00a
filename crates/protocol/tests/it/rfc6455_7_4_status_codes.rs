//! RFC 6455 §7.4: all 65,536 status codes, received and sent.
//!
//! Which may be sent: 1000–1003 and 1007–1011 (§7.4.1), 1012–1014 (registered with IANA since),
//! 3000–3999 (registered by libraries) and 4000–4999 (private, §7.4.2). The others must not:
//! 0–999 are not used, 1004 is reserved, 1005, 1006 and 1015 "MUST NOT be set as a status code in
//! a Close control frame by an endpoint", 1016–2999 belong to future versions, and past 4999
//! nothing is defined.

use offhook_protocol::{CloseCode, Error, PeerError, SendError};
use offhook_testkit::frames::{close, close_body};
use offhook_testkit::{Heard, Talk};

const fn may_travel(code: u16) -> bool {
    matches!(
        code,
        1000 | 1001 | 1002 | 1003 | 1007 | 1008 | 1009 | 1010 | 1011 | 1012 | 1013 | 1014
    ) || (code >= 3000 && code <= 4999)
}

#[test]
fn each_permitted_code_is_reported_and_echoed_and_every_other_fails_with_1002() {
    for role in [Talk::with_server, Talk::with_client] {
        for code in 0..=u16::MAX {
            let mut talk = role();
            let heard = talk.hears([close(code, "why")]);
            if may_travel(code) {
                assert_eq!(heard, [Heard::close(code, "why")]);
                assert_eq!(talk.says(), [close(code, "why")]);
            } else {
                let error = Error::Peer(PeerError::CloseCode(code));
                assert_eq!(heard, [Heard::Error(error.clone())]);
                assert_eq!(talk.says(), [close(1002, error.to_string())]);
            }
        }
    }
}

#[test]
fn each_permitted_code_can_be_sent_and_every_other_is_refused() {
    for role in [Talk::with_server, Talk::with_client] {
        for code in 0..=u16::MAX {
            let mut talk = role();
            let now = talk.clock.now();
            let result = talk.connection.close(code.into(), "why", now);
            if may_travel(code) {
                assert_eq!((result, talk.says()), (Ok(()), vec![close(code, "why")]));
            } else if code == 1005 {
                // Without a code, which is what 1005 means (§7.4.1): an empty frame.
                assert_eq!((result, talk.says()), (Ok(()), vec![close_body("")]));
            } else {
                let refused = SendError::CloseCode(CloseCode::new(code));
                assert_eq!((result, talk.says()), (Err(refused), vec![]));
            }
        }
    }
}

/// §7.4.1: the right code for each error that this endpoint can detect.
#[test]
fn every_violation_closes_with_the_code_of_the_rfc() {
    let protocol_errors = [
        PeerError::ReservedBit,
        PeerError::ReservedOpcode(3),
        PeerError::FragmentedControl,
        PeerError::ControlTooLong,
        PeerError::LengthNotMinimal,
        PeerError::LengthTopBit,
        PeerError::NotMasked,
        PeerError::Masked,
        PeerError::UnexpectedContinuation,
        PeerError::MessageInterrupted,
        PeerError::CloseTooShort,
        PeerError::CloseCode(5),
        PeerError::DeflateWindow,
    ];
    for error in protocol_errors {
        assert_eq!(Error::from(error).close_code(), CloseCode::PROTOCOL_ERROR);
    }
    // "…data within a message that was not consistent with the type of the message."
    for error in [PeerError::InvalidUtf8, PeerError::CorruptDeflate] {
        assert_eq!(Error::from(error).close_code(), CloseCode::INVALID_DATA);
    }
    for error in protocol_errors {
        assert!(
            Error::from(error).to_string().len() <= 123,
            "{error} fits a reason"
        );
    }
}
