//! Control packets of MQTT 3.1.1 and 5.0.

use offhook_dialects::mqtt::{
    Reason,
    packet::{Ack, Acks, Connect, Decoder, Packet, Publish, Qos, Version},
};

use super::super::conversation::Side;
use crate::screen::shown;

/// The longest packet that is interpreted: that of the protocol, which the limits of frames bound.
const LONGEST: usize = 256 << 20;
/// How many characters of a payload are shown.
const LETTERS: usize = 40;

/// The packets of both sides.
#[derive(Debug)]
pub(crate) struct Mqtt {
    client: Half,
    server: Half,
}

#[derive(Debug)]
struct Half {
    decoder: Decoder,
    /// Nothing that follows an invalid packet can be interpreted.
    is_lost: bool,
}

impl Default for Mqtt {
    fn default() -> Self {
        let half = || Half {
            decoder: Decoder::new(LONGEST),
            is_lost: false,
        };
        Self {
            client: half(),
            server: half(),
        }
    }
}

impl Mqtt {
    /// The packets that these bytes complete, in one line each.
    pub(super) fn explain(&mut self, side: Side, bytes: &[u8]) -> Vec<String> {
        let version = self.client.decoder.version();
        let half = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        if half.is_lost {
            return Vec::new();
        }
        // The CONNECT says which version both speak.
        if side == Side::Server
            && let Some(version) = version
        {
            half.decoder.set_version(version);
        }
        half.decoder.push(bytes);
        let mut lines = Vec::new();
        loop {
            match half.decoder.next_packet() {
                Ok(Some(packet)) => lines.push(format!("MQTT: {}", one(&packet))),
                Ok(None) => return lines,
                Err(invalid) => {
                    half.is_lost = true;
                    half.decoder.clear();
                    let (why, reason) = (invalid.why, invalid.reason.0);
                    lines.push(format!("MQTT: {why} (reason 0x{reason:02x})"));
                    return lines;
                }
            }
        }
    }
}

fn one(packet: &Packet) -> String {
    match packet {
        Packet::Connect(connect) => connecting(connect),
        Packet::ConnAck(answer) => {
            let session = match answer.session_present {
                true => ", the session is present",
                false => "",
            };
            format!("CONNACK{}{session}", reason(answer.reason))
        }
        Packet::Publish(publish) => published(publish),
        Packet::PubAck(ack) => acknowledged("PUBACK", ack),
        Packet::PubRec(ack) => acknowledged("PUBREC", ack),
        Packet::PubRel(ack) => acknowledged("PUBREL", ack),
        Packet::PubComp(ack) => acknowledged("PUBCOMP", ack),
        Packet::Subscribe(subscribe) => {
            let filters = subscribe.filters.iter();
            let filters = filters.map(|(filter, options)| {
                format!("{} with QoS {}", shown(filter), options.qos.number())
            });
            let filters: Vec<_> = filters.collect();
            format!("SUBSCRIBE {}: {}", subscribe.packet_id, filters.join(", "))
        }
        Packet::SubAck(acks) => answered("SUBACK", acks),
        Packet::Unsubscribe(unsubscribe) => {
            let filters = unsubscribe
                .filters
                .iter()
                .map(|filter| shown(filter).to_string());
            let filters: Vec<_> = filters.collect();
            format!(
                "UNSUBSCRIBE {}: {}",
                unsubscribe.packet_id,
                filters.join(", ")
            )
        }
        Packet::UnsubAck(acks) => answered("UNSUBACK", acks),
        Packet::PingReq => "PINGREQ".to_owned(),
        Packet::PingResp => "PINGRESP".to_owned(),
        Packet::Disconnect(reasoned) => format!("DISCONNECT{}", reason(reasoned.reason)),
        Packet::Auth(reasoned) => format!("AUTH{}", reason(reasoned.reason)),
    }
}

/// Passwords are not shown.
fn connecting(connect: &Connect) -> String {
    let version = match connect.version {
        Version::V3 => "3.1.1",
        Version::V5 => "5.0",
    };
    let mut text = format!("CONNECT {version} as {:?}", &*connect.client_id);
    if connect.clean {
        text += ", a new session";
    }
    text += &format!(", keep-alive {} s", connect.keep_alive);
    if let Some(user) = &connect.user {
        text += &format!(", user {}", shown(user));
    }
    if connect.password.is_some() {
        text += ", with a password";
    }
    if let Some(will) = &connect.will {
        text += &format!(", will to {}", shown(&will.topic));
    }
    text
}

fn published(publish: &Publish) -> String {
    let mut text = format!("PUBLISH QoS {}", publish.qos.number());
    if publish.qos != Qos::AtMostOnce {
        text += &format!(", id {}", publish.packet_id);
    }
    if publish.dup {
        text += ", again";
    }
    if publish.retain {
        text += ", retained";
    }
    let properties = publish.properties.as_deref();
    if let Some(alias) = properties.and_then(|all| all.topic_alias) {
        text += &format!(", alias {alias}");
    }
    let payload = match std::str::from_utf8(&publish.payload) {
        Ok(payload) => {
            let payload = shown(payload);
            let start: String = payload.chars().take(LETTERS).collect();
            if start.len() < payload.len() {
                start + "…"
            } else {
                start
            }
        }
        Err(_) => "not text".to_owned(),
    };
    let bytes = publish.payload.len();
    format!(
        "{text}, to {}: {bytes} bytes: {payload}",
        shown(&publish.topic)
    )
}

fn acknowledged(name: &str, ack: &Ack) -> String {
    format!("{name} of {}{}", ack.packet_id, reason(ack.reason))
}

fn answered(name: &str, acks: &Acks) -> String {
    let reasons = acks
        .reasons
        .iter()
        .map(|reason| format!("0x{:02x}", reason.0));
    let reasons: Vec<_> = reasons.collect();
    format!("{name} of {}: {}", acks.packet_id, reasons.join(", "))
        .trim_end_matches(": ")
        .to_owned()
}

/// Nothing for success.
fn reason(reason: Reason) -> String {
    match reason {
        Reason::SUCCESS => String::new(),
        other => format!(", reason 0x{:02x}", other.0),
    }
}
