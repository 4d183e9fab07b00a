//! Reason codes of MQTT 5.0, and the corresponding return codes of 3.1.1.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $words:literal;)*) => {
        impl Reason {
            $($(#[$doc])* pub const $name: Self = Self($code);)*

            /// What the code means, in the words of the specification; empty for an unknown code.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self.0 {
                    $($code => $words,)*
                    _ => "",
                }
            }
        }
    };
}

/// A reason code (MQTT 5.0 §2.4). Codes from 0x80 are failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(pub u8);

reasons! {
    /// Success, a normal disconnection, or a grant of QoS 0.
    SUCCESS = 0x00, "success";
    /// A grant of QoS 1.
    GRANTED_1 = 0x01, "granted QoS 1";
    /// A grant of QoS 2.
    GRANTED_2 = 0x02, "granted QoS 2";
    /// The client disconnects, and its will must be published.
    DISCONNECT_WITH_WILL = 0x04, "disconnect with will message";
    /// The message was accepted, but there are no matching subscribers.
    NO_MATCHING_SUBSCRIBERS = 0x10, "no matching subscribers";
    /// There was nothing to unsubscribe from.
    NO_SUBSCRIPTION_EXISTED = 0x11, "no subscription existed";
    /// A failure without a more precise reason.
    UNSPECIFIED = 0x80, "unspecified error";
    /// The bytes violate the specification's format.
    MALFORMED = 0x81, "malformed packet";
    /// The packet is well-formed, but not allowed here or with this content.
    PROTOCOL_ERROR = 0x82, "protocol error";
    /// The packet is valid, but not accepted by this server.
    IMPLEMENTATION_SPECIFIC = 0x83, "implementation specific error";
    /// The server does not support the version of the protocol.
    UNSUPPORTED_VERSION = 0x84, "unsupported protocol version";
    /// The client id is not allowed.
    CLIENT_ID_INVALID = 0x85, "client identifier not valid";
    /// The user name or password is wrong.
    BAD_USER_OR_PASSWORD = 0x86, "bad user name or password";
    /// The client is not permitted to do that.
    NOT_AUTHORIZED = 0x87, "not authorized";
    /// The server cannot serve now.
    SERVER_UNAVAILABLE = 0x88, "server unavailable";
    /// The server is busy; try again later.
    SERVER_BUSY = 0x89, "server busy";
    /// The server is going away.
    SERVER_SHUTTING_DOWN = 0x8B, "server shutting down";
    /// The method of authentication is not supported.
    BAD_AUTHENTICATION_METHOD = 0x8C, "bad authentication method";
    /// Nothing was received within one and a half times the keep-alive.
    KEEP_ALIVE_TIMEOUT = 0x8D, "keep alive timeout";
    /// Another connection uses the same client id.
    SESSION_TAKEN_OVER = 0x8E, "session taken over";
    /// The topic filter is not allowed.
    TOPIC_FILTER_INVALID = 0x8F, "topic filter invalid";
    /// The topic is not allowed.
    TOPIC_NAME_INVALID = 0x90, "topic name invalid";
    /// The packet identifier is in use.
    PACKET_ID_IN_USE = 0x91, "packet identifier in use";
    /// The packet identifier is not known.
    PACKET_ID_NOT_FOUND = 0x92, "packet identifier not found";
    /// More messages are in flight than the receive maximum allows.
    RECEIVE_MAXIMUM_EXCEEDED = 0x93, "receive maximum exceeded";
    /// The topic alias is 0, too high, or undefined.
    TOPIC_ALIAS_INVALID = 0x94, "topic alias invalid";
    /// The packet is larger than the maximum packet size.
    PACKET_TOO_LARGE = 0x95, "packet too large";
    /// The client sends messages too fast.
    MESSAGE_RATE_TOO_HIGH = 0x96, "message rate too high";
    /// A limit was exceeded.
    QUOTA_EXCEEDED = 0x97, "quota exceeded";
    /// The server's operator ended the connection.
    ADMINISTRATIVE_ACTION = 0x98, "administrative action";
    /// The payload does not have the format that the packet states.
    PAYLOAD_FORMAT_INVALID = 0x99, "payload format invalid";
    /// Retained messages are not supported.
    RETAIN_NOT_SUPPORTED = 0x9A, "retain not supported";
    /// The QoS is not supported.
    QOS_NOT_SUPPORTED = 0x9B, "QoS not supported";
    /// Use another server for now.
    USE_ANOTHER_SERVER = 0x9C, "use another server";
    /// Shared subscriptions are not supported.
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E, "shared subscriptions not supported";
    /// Clients connect too fast.
    CONNECTION_RATE_EXCEEDED = 0x9F, "connection rate exceeded";
    /// Subscription identifiers are not supported.
    SUBSCRIPTION_IDS_NOT_SUPPORTED = 0xA1, "subscription identifiers not supported";
    /// Wildcards are not supported.
    WILDCARDS_NOT_SUPPORTED = 0xA2, "wildcard subscriptions not supported";
}

impl Reason {
    /// Whether the code means failure.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        self.0 >= 0x80
    }

    /// The return code in a CONNACK of 3.1.1 (§3.2.2.3); none if there is no such code, and the
    /// connection must be closed without one.
    #[must_use]
    pub fn connack_3_1_1(self) -> Option<u8> {
        match self {
            Self::SUCCESS => Some(0),
            Self::UNSUPPORTED_VERSION => Some(1),
            Self::CLIENT_ID_INVALID => Some(2),
            Self::SERVER_UNAVAILABLE | Self::SERVER_BUSY | Self::QUOTA_EXCEEDED => Some(3),
            Self::BAD_USER_OR_PASSWORD => Some(4),
            Self::NOT_AUTHORIZED => Some(5),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.words() {
            "" => write!(f, "reason {:#04x}", self.0),
            words => f.write_str(words),
        }
    }
}
