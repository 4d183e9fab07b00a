//! CONNECT and CONNACK: the client's parameters, and the server's answer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use offhook_engine::CommandId;

use super::{
    Reason, content,
    dialect::{Mqtt, Phase},
    packet::{
        ConnAck, Connect as ConnectPacket, Invalid, Packet, Properties, Version, Will as WillPacket,
    },
    topics,
};
use crate::dialect::{Connect, Intent, Known, Named, Welcome, Will};

/// The longest client id in bytes. 256: client libraries generate ids of about thirty.
const CLIENT_ID: usize = 256;
/// How many messages of QoS 1 and 2 a client of 5.0 may have in flight. 64: the number of packets
/// that are decoded in one turn.
pub(super) const RECEIVE_MAXIMUM: u16 = 64;
/// How many topic aliases a client may define. 32: devices use fewer topics.
pub(super) const TOPIC_ALIASES: u16 = 32;
/// The longest keep-alive in seconds. It is imposed on clients of 5.0 only, because 3.1.1 has no
/// server keep-alive. 60: a vanished client is noticed after 90 seconds.
const KEEP_ALIVE: u16 = 60;
/// How many messages of QoS 1 and 2 are in flight to a client that allows more. 256: with small
/// messages that is about a hundred kilobytes, enough for links with a long round trip.
const WINDOW: u16 = 256;

/// The parameters of a client, from its CONNECT.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) version: Version,
    pub(super) receive_maximum: u16,
    pub(super) packet_size: usize,
    pub(super) topic_aliases: u16,
    /// Whether the client accepts reason strings.
    pub(super) wants_reasons: bool,
    pub(super) keep_alive: Option<Duration>,
    /// The keep-alive imposed by the server, in seconds; none if the client's own is used.
    server_keep_alive: Option<u16>,
    /// As requested by the client, in seconds.
    pub(super) session_expiry: u32,
    has_name: bool,
}

impl Client {
    pub(super) const UNKNOWN: Self = Self {
        version: Version::V3,
        receive_maximum: WINDOW,
        packet_size: usize::MAX,
        topic_aliases: 0,
        wants_reasons: true,
        keep_alive: None,
        server_keep_alive: None,
        session_expiry: 0,
        has_name: true,
    };
}

impl Mqtt {
    pub(super) fn connect(&mut self, connect: ConnectPacket, now: Instant) {
        self.clock = Some((now, 0));
        self.client = self.client_of(&connect);
        match self.request_of(connect) {
            Ok(connect) => {
                self.phase = Phase::Asked;
                self.queue.push_back(Intent::Connect(connect));
            }
            Err(invalid) => self.refuse_connect(invalid.reason, invalid.why),
        }
    }

    fn client_of(&self, connect: &ConnectPacket) -> Client {
        let given = connect.properties.as_deref();
        let receive_maximum = given.and_then(|given| given.receive_maximum);
        let packet_size = given.and_then(|given| given.maximum_packet_size);
        let packet_size = packet_size.and_then(|size| usize::try_from(size).ok());
        let (mut seconds, mut server_keep_alive) = (connect.keep_alive, None);
        if connect.version == Version::V5 && (seconds == 0 || seconds > KEEP_ALIVE) {
            (seconds, server_keep_alive) = (KEEP_ALIVE, Some(KEEP_ALIVE));
        }
        let keep_alive = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        let session_expiry = match connect.version {
            // 3.1.1 §3.1.2.4: a session that is not clean does not expire.
            Version::V3 if connect.clean => 0,
            Version::V3 => u32::MAX,
            Version::V5 => given.and_then(|given| given.session_expiry).unwrap_or(0),
        };
        Client {
            version: connect.version,
            receive_maximum: receive_maximum.unwrap_or(u16::MAX).min(WINDOW),
            packet_size: packet_size.unwrap_or(usize::MAX),
            topic_aliases: given
                .and_then(|given| given.topic_alias_maximum)
                .unwrap_or(0),
            wants_reasons: given.and_then(|given| given.request_problem_information) != Some(false),
            keep_alive,
            server_keep_alive,
            session_expiry,
            has_name: !connect.client_id.is_empty(),
        }
    }

    /// The request to the server that corresponds to a CONNECT.
    fn request_of(&self, connect: ConnectPacket) -> Result<Connect, Invalid> {
        let given = connect.properties.as_deref();
        let method = given.and_then(|given| given.authentication_method.as_ref());
        if method.is_some() {
            let why = "authentication methods are not supported; use a user name and a password";
            return Err(Invalid::new(Reason::BAD_AUTHENTICATION_METHOD, why));
        }
        // §3.1.2.11.10.
        if given.is_some_and(|given| given.authentication_data.is_some()) {
            let why = "authentication data requires an authentication method";
            return Err(Invalid::new(Reason::PROTOCOL_ERROR, why));
        }
        // 3.1.1 §3.1.3.1: without a client id, a session cannot be found again.
        let nameless = connect.client_id.is_empty() && !connect.clean;
        if connect.client_id.len() > CLIENT_ID || (nameless && connect.version == Version::V3) {
            let why = "the client id is empty or longer than 256 bytes";
            return Err(Invalid::new(Reason::CLIENT_ID_INVALID, why));
        }
        let token = connect.password.map(|password| {
            String::from_utf8(password.to_vec()).map_err(|_| {
                let why = "the password is not a token: it is not UTF-8";
                Invalid::new(Reason::BAD_USER_OR_PASSWORD, why)
            })
        });
        let will = connect.will.map(|will| will_of(&will));
        let named = Named {
            name: connect.client_id.into(),
            fresh: connect.clean,
            expiry: seconds(self.client.session_expiry),
            window: self.client.receive_maximum,
            will: will.transpose()?,
        };
        Ok(Connect {
            id: CommandId(0),
            token: token.transpose()?,
            resume: None,
            info: Bytes::new(),
            positions: Vec::new(),
            lineage: false,
            named: Some(Box::new(named)),
        })
    }

    /// Refuses a CONNECT with this reason, and ends the connection.
    pub(super) fn refuse_connect(&mut self, reason: Reason, why: &'static str) {
        if let Some(connack) = self.refusing_connack(reason, why) {
            self.say(&connack);
        }
        self.end(reason, why);
    }

    pub(super) fn refusing_connack(&self, reason: Reason, why: &str) -> Option<Packet> {
        let (reason, properties) = match self.client.version {
            Version::V3 => (Reason(reason.connack_3_1_1()?), None),
            Version::V5 => (reason, self.reason_string(why)),
        };
        Some(Packet::ConnAck(ConnAck {
            session_present: false,
            reason,
            properties,
        }))
    }

    pub(super) fn greeting(&self, welcome: &Welcome<'_>, is_resumed: bool) -> Packet {
        let named = welcome.named.as_ref();
        // A session that has stored nothing has nothing that could be lost.
        let is_whole = |named: &Known<'_>| named.resumed && (is_resumed || named.note.is_empty());
        let properties = (self.client.version == Version::V5).then(|| {
            let kept = named.map_or(0, |named| whole_seconds(named.expiry));
            let name = named
                .filter(|_| !self.client.has_name)
                .map(|named| named.name.into());
            let packet_size = u32::try_from(self.decoder.limit()).unwrap_or(u32::MAX);
            Box::new(Properties {
                session_expiry: (kept != self.client.session_expiry).then_some(kept),
                receive_maximum: Some(RECEIVE_MAXIMUM),
                maximum_packet_size: Some(packet_size),
                assigned_client_id: name,
                topic_alias_maximum: Some(TOPIC_ALIASES),
                server_keep_alive: self.client.server_keep_alive,
                ..Properties::default()
            })
        });
        Packet::ConnAck(ConnAck {
            session_present: named.is_some_and(is_whole),
            reason: Reason::SUCCESS,
            properties,
        })
    }
}

/// The publication that a will stands for.
fn will_of(will: &WillPacket) -> Result<Will, Invalid> {
    let properties = will.properties.as_deref();
    if topics::is_reserved(&will.topic) {
        let why = "topics below $SYS/ are reserved for the server";
        return Err(Invalid::new(Reason::NOT_AUTHORIZED, why));
    }
    let channel = topics::channel_of(&will.topic).map_err(|_| {
        let why = "the will's topic is not a valid channel name";
        Invalid::new(Reason::TOPIC_NAME_INVALID, why)
    })?;
    let content = content::content(will.qos, will.retain, &will.payload, properties);
    let content = content.map_err(|no| Invalid::new(no.reason, no.why))?;
    let delay = properties.and_then(|given| given.will_delay).unwrap_or(0);
    Ok(Will {
        channel,
        data: content.data,
        format: content.format,
        tags: content.tags,
        delay: Duration::from_secs(delay.into()),
    })
}

/// How long a session is kept after its connection; none if it ends with the connection.
pub(super) fn seconds(expiry: u32) -> Option<Duration> {
    (expiry > 0).then(|| Duration::from_secs(expiry.into()))
}

fn whole_seconds(expiry: Option<Duration>) -> u32 {
    let seconds = expiry.unwrap_or_default().as_secs();
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
