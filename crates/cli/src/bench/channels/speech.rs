//! The dialects in which publishers and subscribers speak: requests to messages, and messages to
//! what they mean here.

use std::borrow::Cow;

use clap::ValueEnum;
use offhook::Message;
use offhook_dialects::mqtt::{
    self,
    packet::{Connect, Decoder, Options, Packet, Publish, Qos, Subscribe, Version},
};
use serde::Deserialize;
use serde_json::json;

use super::STAMP;

/// The longest packet of MQTT that is received.
const LONGEST: usize = 128 << 20;

/// What publishers and subscribers speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::bench) enum Dialect {
    /// The native dialect, at /ws
    #[default]
    Native,
    /// Socket.IO, at /socket.io/?EIO=4&transport=websocket
    Socketio,
    /// MQTT 3.1.1, at /mqtt: publications of QoS 1, deliveries of QoS 0
    Mqtt,
}

impl Dialect {
    /// The subprotocol that its clients offer.
    pub(in crate::bench) const fn subprotocol(self) -> Option<&'static str> {
        match self {
            Self::Native => Some(offhook_client::SUBPROTOCOL),
            Self::Socketio => None,
            Self::Mqtt => Some(mqtt::SUBPROTOCOL),
        }
    }
}

/// One connection's side of the conversation.
#[derive(Debug)]
pub(super) enum Speech {
    Native,
    Socketio,
    Mqtt(Box<Decoder>),
}

/// What a message means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The server speaks first, and has.
    Opened,
    /// The client is connected.
    Welcome,
    Subscribed,
    /// The publication with this number.
    Published(u64),
    /// The request with this number, and why.
    Refused {
        number: Option<u64>,
        code: String,
        why: String,
    },
    Delivered {
        /// None if the dialect has none.
        offset: Option<u64>,
        /// The intended time.
        stamp: u64,
    },
    Gap,
    /// Must be answered with this text.
    Ping(&'static str),
    /// Something that this conversation has no use for.
    Other,
    Wrong,
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Text(String),
    Bytes(Vec<u8>),
}

impl Speech {
    pub(super) fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Native => Self::Native,
            Dialect::Socketio => Self::Socketio,
            Dialect::Mqtt => {
                let mut decoder = Decoder::new(LONGEST);
                decoder.set_version(Version::V3);
                Self::Mqtt(Box::new(decoder))
            }
        }
    }

    /// Whether the server speaks first.
    pub(super) const fn listens_first(&self) -> bool {
        matches!(self, Self::Socketio)
    }

    pub(super) fn connect(&self, token: Option<&str>) -> Said {
        match self {
            Self::Native => {
                let mut connect = json!({ "type": "connect", "id": 0 });
                if let Some(token) = token {
                    connect["token"] = token.into();
                }
                Said::Text(connect.to_string())
            }
            Self::Socketio => {
                let auth = token.map_or(json!({}), |token| json!({ "token": token }));
                Said::Text(format!("40{auth}"))
            }
            Self::Mqtt(_) => bytes(&Packet::Connect(Box::new(Connect {
                version: Version::V3,
                clean: true,
                // A run may be longer than a subscriber is silent.
                keep_alive: 0,
                properties: None,
                client_id: "".into(),
                will: None,
                // 3.1.1 has no password without a name.
                user: token.map(|_| "bench".into()),
                password: token.map(|token| token.to_owned().into()),
            }))),
        }
    }

    pub(super) fn subscribe(&self, channel: &str) -> Said {
        match self {
            Self::Native => {
                let subscribe = json!({ "type": "subscribe", "id": 1, "channel": channel });
                Said::Text(subscribe.to_string())
            }
            Self::Socketio => {
                let event = json!(["subscribe", { "channel": channel }]);
                Said::Text(format!("420{event}"))
            }
            Self::Mqtt(_) => bytes(&Packet::Subscribe(Subscribe {
                packet_id: 1,
                properties: None,
                filters: vec![(channel.into(), Options::default())],
            })),
        }
    }

    /// The number of a publication in its acknowledgement: packet identifiers are reused.
    pub(super) fn number(&self, count: u64) -> u64 {
        match self {
            Self::Native | Self::Socketio => count,
            Self::Mqtt(_) => count % u64::from(u16::MAX) + 1,
        }
    }

    /// The message that publishes `data`, which needs no escaping. Neither does the channel's name.
    pub(super) fn publish(&self, number: u64, channel: &str, data: &str) -> Said {
        match self {
            Self::Native => Said::Text(format!(
                "{{\"type\":\"publish\",\"id\":{number},\"channel\":\"{channel}\",\"data\":\"{data}\"}}"
            )),
            Self::Socketio => Said::Text(format!(
                "42{number}[\"publish\",{{\"channel\":\"{channel}\",\"data\":\"{data}\"}}]"
            )),
            Self::Mqtt(_) => bytes(&Packet::Publish(Publish {
                dup: false,
                qos: Qos::AtLeastOnce,
                retain: false,
                topic: channel.into(),
                packet_id: u16::try_from(number).unwrap_or(u16::MAX),
                properties: None,
                payload: data.to_owned().into(),
            })),
        }
    }

    /// What a message means. Several packets of MQTT may be in one.
    pub(super) fn hear(&mut self, message: &Message, mut each: impl FnMut(Heard)) {
        match (self, message) {
            (Self::Native, Message::Text(text)) => each(native(text)),
            (Self::Socketio, Message::Text(text)) => each(socketio(text)),
            (Self::Mqtt(decoder), Message::Binary(bytes)) => {
                decoder.push(bytes);
                loop {
                    match decoder.next_packet() {
                        Ok(Some(packet)) => each(packet_of_mqtt(&packet)),
                        Ok(None) => return,
                        Err(_) => return each(Heard::Wrong),
                    }
                }
            }
            (Self::Native | Self::Socketio | Self::Mqtt(_), _) => each(Heard::Wrong),
        }
    }
}

fn bytes(packet: &Packet) -> Said {
    Said::Bytes(packet.encode(Version::V3))
}

fn stamp(data: &str) -> Option<u64> {
    u64::from_str_radix(data.get(..STAMP)?, 16).ok()
}

/// The fields of a server's message that are used here.
#[derive(Debug, Deserialize)]
struct Fields<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: Option<u64>,
    position: Option<&'a str>,
    data: Option<&'a str>,
    code: Option<&'a str>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

fn native(text: &str) -> Heard {
    let Ok(fields) = serde_json::from_str::<Fields<'_>>(text) else {
        return Heard::Wrong;
    };
    match (fields.kind, fields.id) {
        ("welcome", _) => Heard::Welcome,
        ("subscribed", _) => Heard::Subscribed,
        ("published", Some(number)) => Heard::Published(number),
        ("error", number) => Heard::Refused {
            number,
            code: fields.code.unwrap_or("unknown").to_owned(),
            why: fields.message.unwrap_or_default().into_owned(),
        },
        ("message", _) => {
            let position = fields
                .position
                .and_then(|position| position.split_once('.'));
            let offset = position.and_then(|(_, offset)| offset.parse().ok());
            delivered(offset, fields.data, true)
        }
        ("gap", _) => Heard::Gap,
        _ => Heard::Other,
    }
}

fn delivered(offset: Option<u64>, data: Option<&str>, has_offset: bool) -> Heard {
    match data.and_then(stamp) {
        Some(stamp) if offset.is_some() || !has_offset => Heard::Delivered { offset, stamp },
        Some(_) | None => Heard::Wrong,
    }
}

/// A publication, as far as it is used here.
#[derive(Debug, Deserialize)]
struct Published<'a> {
    offset: u64,
    data: Option<&'a str>,
}

/// The acknowledgement of a refused event.
#[derive(Debug, Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    error: Option<Refusal<'a>>,
}

#[derive(Debug, Deserialize)]
struct Refusal<'a> {
    code: &'a str,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

fn socketio(text: &str) -> Heard {
    if text == "2" {
        return Heard::Ping("3");
    }
    if let Some(publication) = text.strip_prefix("42[\"publication\",") {
        let fields = publication.strip_suffix(']').unwrap_or_default();
        return match serde_json::from_str::<Published<'_>>(fields) {
            Ok(fields) => delivered(Some(fields.offset), fields.data, true),
            Err(_) => Heard::Wrong,
        };
    }
    if let Some(answer) = text.strip_prefix("43") {
        let (number, answer) = answer.split_once('[').unwrap_or_default();
        let answer = answer.strip_suffix(']').unwrap_or_default();
        let answer = serde_json::from_str::<Answer<'_>>(answer);
        return match (number.parse(), answer) {
            (Ok(0), Ok(Answer { error: None })) => Heard::Subscribed,
            (Ok(number), Ok(Answer { error: None })) => Heard::Published(number),
            (Ok(number), Ok(Answer { error: Some(error) })) => Heard::Refused {
                number: Some(number),
                code: error.code.to_owned(),
                why: error.message.into_owned(),
            },
            (Err(_), _) | (_, Err(_)) => Heard::Wrong,
        };
    }
    match text {
        _ if text.starts_with("0{") => Heard::Opened,
        _ if text.starts_with("40") => Heard::Welcome,
        _ if text.starts_with("44") => Heard::Refused {
            number: None,
            code: "connect_error".to_owned(),
            why: text.to_owned(),
        },
        _ if text.starts_with("42[\"gap\"") => Heard::Gap,
        _ => Heard::Other,
    }
}

fn packet_of_mqtt(packet: &Packet) -> Heard {
    match packet {
        Packet::ConnAck(answer) if answer.reason.0 == 0 => Heard::Welcome,
        Packet::ConnAck(answer) => refused_by_mqtt(answer.reason.0),
        Packet::SubAck(acks) => match acks.reasons.first() {
            Some(reason) if reason.0 < 0x80 => Heard::Subscribed,
            reason => refused_by_mqtt(reason.map_or(0x80, |reason| reason.0)),
        },
        Packet::PubAck(ack) => Heard::Published(ack.packet_id.into()),
        Packet::Publish(publish) => {
            let data = std::str::from_utf8(&publish.payload).ok();
            delivered(None, data, false)
        }
        Packet::PingResp => Heard::Other,
        Packet::Connect(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubAck(_)
        | Packet::PingReq
        | Packet::Disconnect(_)
        | Packet::Auth(_) => Heard::Wrong,
    }
}

fn refused_by_mqtt(reason: u8) -> Heard {
    Heard::Refused {
        number: None,
        code: format!("reason 0x{reason:02x}"),
        why: "refused by MQTT".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(speech: &mut Speech, said: Said) -> Vec<Heard> {
        let message: Message = match said {
            Said::Text(text) => text.into(),
            Said::Bytes(bytes) => bytes.into(),
        };
        let mut heard = Vec::new();
        speech.hear(&message, |one| heard.push(one));
        heard
    }

    #[test]
    fn a_delivery_is_recognised_in_each_dialect() {
        let data = format!("{:016x}xxxx", 77);
        let stamp = 77;
        let text = |text: String| Said::Text(text);
        let native = format!("{{\"type\":\"message\",\"position\":\"5.9\",\"data\":\"{data}\"}}");
        let expected = [Heard::Delivered {
            offset: Some(9),
            stamp,
        }];
        assert_eq!(heard(&mut Speech::Native, text(native)), expected);
        let event = format!(
            "42[\"publication\",{{\"channel\":\"a\",\"epoch\":\"5\",\"offset\":9,\"data\":\"{data}\",\"time\":1}}]"
        );
        assert_eq!(heard(&mut Speech::Socketio, text(event)), expected);
        // What a publisher sends is what a subscriber receives, but for the QoS.
        let mut mqtt = Speech::new(Dialect::Mqtt);
        let published = mqtt.publish(mqtt.number(0), "a", &data);
        let expected = [Heard::Delivered {
            offset: None,
            stamp,
        }];
        assert_eq!(heard(&mut mqtt, published), expected);
    }

    #[test]
    fn answers_are_recognised_in_each_dialect() {
        let mut speech = Speech::Socketio;
        for (text, expected) in [
            ("0{\"sid\":\"a\"}", Heard::Opened),
            ("40{\"sid\":\"a\"}", Heard::Welcome),
            ("430[{\"epoch\":\"5\",\"offset\":0}]", Heard::Subscribed),
            ("437[{\"epoch\":\"5\",\"offset\":1}]", Heard::Published(7)),
            (
                "437[{\"error\":{\"code\":\"busy\",\"message\":\"no\",\"retry\":\"later\"}}]",
                Heard::Refused {
                    number: Some(7),
                    code: "busy".to_owned(),
                    why: "no".to_owned(),
                },
            ),
            ("2", Heard::Ping("3")),
            ("42[\"gap\",{}]", Heard::Gap),
            ("43x[{}]", Heard::Wrong),
        ] {
            assert_eq!(heard(&mut speech, Said::Text(text.to_owned())), [expected]);
        }
        let mut mqtt = Speech::new(Dialect::Mqtt);
        let packets = [
            vec![0x20, 2, 0, 0],
            vec![0x90, 3, 0, 1, 0],
            vec![0x40, 2, 0, 7],
        ];
        assert_eq!(
            heard(&mut mqtt, Said::Bytes(packets.concat())),
            [Heard::Welcome, Heard::Subscribed, Heard::Published(7)]
        );
        assert_eq!(mqtt.number(65_534), 65_535);
        assert_eq!(mqtt.number(65_535), 1);
    }
}
