//! Maps the engine's refusals and close reasons to close codes.

use offhook_engine::{CloseReason, ErrorCode, Refusal, Retry};

use super::frame::Invalid;

/// The content of the ERROR for a refusal.
pub(super) fn of_refusal(refusal: &Refusal) -> Invalid {
    let code = match (refusal.code, refusal.code.retry()) {
        (ErrorCode::TooLarge, _) => 1009,
        (_, Retry::Never) => 1008,
        // Clients reconnect and try again.
        (_, Retry::Later) => 1013,
        (_, Retry::Reconnect) => 1012,
    };
    Invalid::new(refusal.code.name(), refusal.detail.clone()).code(code)
}

/// The close code of a connection that the server ends.
pub(super) fn of_close(reason: CloseReason) -> u16 {
    match reason {
        // The client may reconnect, and continue where it was.
        CloseReason::TooSlow => 1013,
        CloseReason::Flood
        | CloseReason::Replaced
        | CloseReason::Disconnected
        | CloseReason::Expired => 1008,
    }
}
