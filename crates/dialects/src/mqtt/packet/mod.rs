//! The control packets of MQTT 3.1.1 and 5.0: bytes to packets, and back.

mod decode;
mod encode;
mod properties;
mod wire;

use bytes::Bytes;

use super::Reason;

pub use properties::Properties;

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1, level 4.
    V3,
    /// 5.0, level 5.
    V5,
}

/// The bytes are not a packet, or the packet is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The reason code of MQTT 5.0.
    pub reason: Reason,
    /// What is wrong.
    pub why: &'static str,
}

impl Invalid {
    pub(super) const fn new(reason: Reason, why: &'static str) -> Self {
        Self { reason, why }
    }
}

/// How reliably a message is delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// At most once.
    #[default]
    AtMostOnce,
    /// At least once.
    AtLeastOnce,
    /// Exactly once.
    ExactlyOnce,
}

impl Qos {
    /// The QoS with this number.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::AtMostOnce,
            1 => Self::AtLeastOnce,
            2 => Self::ExactlyOnce,
            _ => return None,
        })
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
}

/// A control packet. In 3.1.1 its properties are empty, and its reason is [`Reason::SUCCESS`] if
/// that packet has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A client opens its session.
    Connect(Box<Connect>),
    /// The server's answer to CONNECT.
    ConnAck(ConnAck),
    /// A message.
    Publish(Publish),
    /// A message of QoS 1 was received.
    PubAck(Ack),
    /// A message of QoS 2 was received.
    PubRec(Ack),
    /// The receiver of a message of QoS 2 may forget its packet identifier.
    PubRel(Ack),
    /// The receiver of a message of QoS 2 has forgotten its packet identifier.
    PubComp(Ack),
    /// A client subscribes.
    Subscribe(Subscribe),
    /// The answer to SUBSCRIBE: a reason for each filter.
    SubAck(Acks),
    /// A client unsubscribes.
    Unsubscribe(Unsubscribe),
    /// The answer to UNSUBSCRIBE: a reason for each filter, or none in 3.1.1.
    UnsubAck(Acks),
    /// A client shows that it is alive.
    PingReq,
    /// The answer to PINGREQ.
    PingResp,
    /// The last packet of a connection.
    Disconnect(Reasoned),
    /// A step of an authentication.
    Auth(Reasoned),
}

/// CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The client's version.
    pub version: Version,
    /// Whether an earlier session is forgotten: clean session, or clean start.
    pub clean: bool,
    /// The keep-alive in seconds; 0 disables it.
    pub keep_alive: u16,
    /// The properties of 5.0.
    pub properties: Option<Box<Properties>>,
    /// May be empty.
    pub client_id: Box<str>,
    /// The message to publish if the connection is lost.
    pub will: Option<Will>,
    /// The user's name.
    pub user: Option<Box<str>>,
    /// The password.
    pub password: Option<Bytes>,
}

/// A message that is published when its client is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Its topic.
    pub topic: Box<str>,
    /// Its payload.
    pub payload: Bytes,
    /// Its QoS.
    pub qos: Qos,
    /// Whether it is retained.
    pub retain: bool,
    /// The properties of 5.0.
    pub properties: Option<Box<Properties>>,
}

/// CONNACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server had a session of this client.
    pub session_present: bool,
    /// Whether the connection is accepted. In 3.1.1 the number is a return code.
    pub reason: Reason,
    /// The properties of 5.0.
    pub properties: Option<Box<Properties>>,
}

/// PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Whether this may be a repetition.
    pub dup: bool,
    /// Its QoS.
    pub qos: Qos,
    /// From a client: whether to retain the message. From a server: whether it is a retained one,
    /// or, if the subscription asks for that, whether it was published with this flag.
    pub retain: bool,
    /// Empty if a topic alias is used instead.
    pub topic: Box<str>,
    /// 0 with QoS 0.
    pub packet_id: u16,
    /// The properties of 5.0.
    pub properties: Option<Box<Properties>>,
    /// The payload.
    pub payload: Bytes,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The packet identifier of the message.
    pub packet_id: u16,
    /// Whether the message was accepted.
    pub reason: Reason,
    /// The properties of 5.0.
    pub properties: Option<Box<Properties>>,
}

impl Ack {
    /// An acknowledgement with the default values.
    #[must_use]
    pub const fn new(packet_id: u16, reason: Reason) -> Self {
        Self {
            packet_id,
            reason,
            properties: None,
        }
    }
}

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The packet identifier, which the answer repeats.
    pub packet_id: u16,
    /// The properties of 5.0.
    pub properties: Option<Box<Properties>>,
    /// At least one.
    pub filters: Vec<(Box<str>, Options)>,
}

/// The options of a subscription (5.0 §3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The highest QoS of messages.
    pub qos: Qos,
    /// Whether the client's own messages are excluded.
    pub no_local: bool,
    /// Whether messages keep the retain flag that they were published with.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When a subscription gets the retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// With every SUBSCRIBE.
    #[default]
    Always,
    /// With a SUBSCRIBE that creates the subscription.
    IfNew,
    /// Never.
    Never,
}

/// SUBACK or UNSUBACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acks {
    /// The packet identifier of the request.
    pub packet_id: u16,
    /// The properties of 5.0.
    pub properties: Option<Box<Properties>>,
    /// One for each filter.
    pub reasons: Vec<Reason>,
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The packet identifier, which the answer repeats.
    pub packet_id: u16,
    /// The properties of 5.0.
    pub properties: Option<Box<Properties>>,
    /// At least one.
    pub filters: Vec<Box<str>>,
}

/// DISCONNECT or AUTH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoned {
    /// The reason for it.
    pub reason: Reason,
    /// The properties of 5.0.
    pub properties: Option<Box<Properties>>,
}

/// Where a packet ends in a stream of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    /// Type and flags.
    first: u8,
    /// The length of the fixed header.
    header: usize,
    /// The length of everything after it.
    body: usize,
}

/// The packet at the start of these bytes, as far as its fixed header describes it; none if the
/// header is incomplete. The length is known before the packet is complete, and nothing is
/// allocated for it.
fn frame(bytes: &[u8], limit: usize) -> Result<Option<Frame>, Invalid> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let Some((body, len)) = wire::variable(rest)? else {
        return Ok(None);
    };
    let body = usize::try_from(body).unwrap_or(usize::MAX);
    let header = len.saturating_add(1);
    if body.saturating_add(header) > limit {
        let why = "the packet is larger than the maximum packet size";
        return Err(Invalid::new(Reason::PACKET_TOO_LARGE, why));
    }
    Ok(Some(Frame {
        first,
        header,
        body,
    }))
}

/// Splits a stream of bytes into packets. It buffers at most an incomplete packet, which the limit
/// bounds, and the bytes received with it. Between packets it holds no buffer.
#[derive(Debug)]
pub struct Decoder {
    /// The version, known with the first packet.
    version: Option<Version>,
    limit: usize,
    bytes: Vec<u8>,
    /// Bytes before this index were decoded.
    done: usize,
}

impl Decoder {
    /// Decodes packets of at most this many bytes, including the fixed header.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            version: None,
            limit,
            bytes: Vec::new(),
            done: 0,
        }
    }

    /// The version of the conversation, once its CONNECT has been decoded.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// Sets the version, to decode the packets of a server.
    pub const fn set_version(&mut self, version: Version) {
        self.version = Some(version);
    }

    /// The largest packet.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Discards all bytes that were not decoded.
    pub fn clear(&mut self) {
        (self.bytes, self.done) = (Vec::new(), 0);
    }

    /// Adds received bytes. The stream may be split anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        // Only once half of it was decoded: otherwise a buffer of many small packets would be moved
        // again and again.
        if self.done >= self.bytes.len().div_ceil(2) {
            self.bytes.drain(..self.done.min(self.bytes.len()));
            self.done = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes are buffered: of an incomplete packet, or not decoded yet.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.bytes.len().saturating_sub(self.done)
    }

    /// Whether a packet or an error can be taken.
    #[must_use]
    pub fn has_packet(&self) -> bool {
        let waiting = self.bytes.get(self.done..).unwrap_or_default();
        match frame(waiting, self.limit) {
            Ok(None) => false,
            Ok(Some(frame)) => waiting.len() >= frame.header.saturating_add(frame.body),
            Err(_) => true,
        }
    }

    /// The next packet; none if it is incomplete.
    ///
    /// # Errors
    /// [`Invalid`]: the rest of the stream cannot be decoded.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, Invalid> {
        let waiting = self.bytes.get(self.done..).unwrap_or_default();
        let Some(frame) = frame(waiting, self.limit)? else {
            self.settle();
            return Ok(None);
        };
        let end = frame.header.saturating_add(frame.body);
        let Some(body) = waiting.get(frame.header..end) else {
            return Ok(None);
        };
        let packet = decode::packet(frame.first, body, self.version)?;
        if let Packet::Connect(connect) = &packet {
            self.version.get_or_insert(connect.version);
        }
        self.done = self.done.saturating_add(end);
        self.settle();
        Ok(Some(packet))
    }

    /// The buffer is freed between packets.
    fn settle(&mut self) {
        if self.done == self.bytes.len() {
            (self.bytes, self.done) = (Vec::new(), 0);
        }
    }
}
