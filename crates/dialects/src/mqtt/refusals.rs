//! Maps the engine's refusals and close reasons to reason codes of MQTT.

use offhook_engine::{CloseReason, ErrorCode};

use super::Reason;

/// The reason code of a refused CONNECT.
pub(super) fn of_connect(code: ErrorCode) -> Reason {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "no other refusal has a specific reason code"
    )]
    match code {
        ErrorCode::Unauthenticated | ErrorCode::BadToken => Reason::BAD_USER_OR_PASSWORD,
        ErrorCode::Forbidden | ErrorCode::Rejected | ErrorCode::UnknownChannel => {
            Reason::NOT_AUTHORIZED
        }
        ErrorCode::TooManyConnections | ErrorCode::Busy | ErrorCode::RateLimited => {
            Reason::SERVER_BUSY
        }
        ErrorCode::Draining => Reason::SERVER_UNAVAILABLE,
        _ => Reason::UNSPECIFIED,
    }
}

/// The reason code of a refused PUBLISH, SUBSCRIBE or UNSUBSCRIBE.
pub(super) fn of_request(code: ErrorCode) -> Reason {
    match code {
        ErrorCode::BadChannelName => Reason::TOPIC_NAME_INVALID,
        ErrorCode::BadFilter => Reason::TOPIC_FILTER_INVALID,
        ErrorCode::UnknownChannel
        | ErrorCode::Forbidden
        | ErrorCode::Rejected
        | ErrorCode::Unauthenticated => Reason::NOT_AUTHORIZED,
        ErrorCode::TooLarge
        | ErrorCode::TooManySubscriptions
        | ErrorCode::TooManyConsumers
        | ErrorCode::TooManyChannels
        | ErrorCode::TooManyConnections
        | ErrorCode::RateLimited
        | ErrorCode::Busy
        | ErrorCode::StorageFull => Reason::QUOTA_EXCEEDED,
        ErrorCode::BadRequest
        | ErrorCode::BadKey
        | ErrorCode::BadTags
        | ErrorCode::BadToken
        | ErrorCode::AlreadySubscribed
        | ErrorCode::NoHistory
        | ErrorCode::NoState
        | ErrorCode::NoPresence => Reason::IMPLEMENTATION_SPECIFIC,
        ErrorCode::NotSubscribed => Reason::NO_SUBSCRIPTION_EXISTED,
        ErrorCode::TimedOut
        | ErrorCode::StorageFailed
        | ErrorCode::StorageCorrupt
        | ErrorCode::BackendAway
        | ErrorCode::Draining => Reason::UNSPECIFIED,
    }
}

/// The reason code with which the server closes a connection.
pub(super) fn of_close(reason: CloseReason) -> Reason {
    match reason {
        CloseReason::TooSlow => Reason::QUOTA_EXCEEDED,
        CloseReason::Flood => Reason::MESSAGE_RATE_TOO_HIGH,
        CloseReason::Replaced => Reason::SESSION_TAKEN_OVER,
        CloseReason::Disconnected => Reason::ADMINISTRATIVE_ACTION,
        CloseReason::Expired => Reason::NOT_AUTHORIZED,
    }
}

/// The close code, if the transport is a WebSocket.
pub(super) fn close_code(reason: Reason) -> u16 {
    match reason {
        Reason::SUCCESS => 1000,
        Reason::MALFORMED
        | Reason::PROTOCOL_ERROR
        | Reason::UNSUPPORTED_VERSION
        | Reason::TOPIC_ALIAS_INVALID
        | Reason::TOPIC_NAME_INVALID
        | Reason::RECEIVE_MAXIMUM_EXCEEDED => 1002,
        Reason::PACKET_TOO_LARGE => 1009,
        Reason::SERVER_SHUTTING_DOWN => 1012,
        _ => 1008,
    }
}
