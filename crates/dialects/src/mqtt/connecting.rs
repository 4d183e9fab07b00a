//! CONNECT and CONNACK: what a client says about itself, and what it is told.

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
use crate::dialect::{Connect, Intent, Named, Welcome, Will};

/// The longest client id in bytes. Clients make up names of some thirty.
const CLIENT_ID: usize = 256;
/// How many messages of QoS 1 and 2 a client of 5.0 may have in flight. 64: as many as are decoded at
/// once.
pub(super) const RECEIVE_MAXIMUM: u16 = 64;
/// How many topics a client may give aliases to. 32: a device has fewer.
pub(super) const TOPIC_ALIASES: u16 = 32;
/// The longest keep-alive in seconds, with clients that can be told (5.0). 60: a client that is gone
/// is noticed after 90 seconds.
const KEEP_ALIVE: u16 = 60;
/// How many messages of QoS 1 and 2 are in flight to a client that allows more. 256: some hundred
/// kilobytes of small messages, on the longest ways.
const WINDOW: u16 = 256;

/// What a client said about itself in its CONNECT.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) version: Version,
    pub(super) receive_maximum: u16,
    pub(super) packet_size: usize,
    pub(super) topic_aliases: u16,
    /// Reason strings are wanted.
    pub(super) wants_reasons: bool,
    pub(super) keep_alive: Option<Duration>,
    /// Another than the client's, in seconds.
    server_keep_alive: Option<u16>,
    /// As asked for, in seconds.
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
        match self.introduced(connect) {
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
            // 3.1.1 §3.1.2.4: a session that is not clean has no end of its own.
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

    /// What the CONNECT asks of the server.
    fn introduced(&self, connect: ConnectPacket) -> Result<Connect, Invalid> {
        let given = connect.properties.as_deref();
        let method = given.and_then(|given| given.authentication_method.as_ref());
        if method.is_some() {
            let why = "there is no such authentication; use user name and password";
            return Err(Invalid::new(Reason::BAD_AUTHENTICATION_METHOD, why));
        }
        // 3.1.1 §3.1.3.1: a client without a name has nothing to come back to.
        let nameless = connect.client_id.is_empty() && !connect.clean;
        if connect.client_id.len() > CLIENT_ID || (nameless && connect.version == Version::V3) {
            let why = "the client id is empty or longer than 256 bytes";
            return Err(Invalid::new(Reason::CLIENT_ID_INVALID, why));
        }
        let token = connect.password.map(|password| {
            String::from_utf8(password.to_vec()).map_err(|_| {
                let why = "the password is no token: it is not UTF-8";
                Invalid::new(Reason::BAD_USER_OR_PASSWORD, why)
            })
        });
        let will = connect.will.map(|will| bequeathed(&will));
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

    /// Answers a CONNECT with this reason, and ends the connection.
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

    pub(super) fn greeting(&self, welcome: &Welcome<'_>) -> Packet {
        let named = welcome.named.as_ref();
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
                shared_available: Some(false),
                ..Properties::default()
            })
        });
        Packet::ConnAck(ConnAck {
            session_present: named.is_some_and(|named| named.resumed),
            reason: Reason::SUCCESS,
            properties,
        })
    }
}

/// The publication of a will.
fn bequeathed(will: &WillPacket) -> Result<Will, Invalid> {
    let properties = will.properties.as_deref();
    let channel = topics::channel_of(&will.topic).map_err(|_| {
        let why = "the will's topic is no channel's name";
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

/// How long a session is kept; none if it ends with its connection.
pub(super) fn seconds(expiry: u32) -> Option<Duration> {
    (expiry > 0).then(|| Duration::from_secs(expiry.into()))
}

fn whole_seconds(expiry: Option<Duration>) -> u32 {
    let seconds = expiry.unwrap_or_default().as_secs();
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
