//! Properties of MQTT 5.0 (§2.2.2).

use bytes::Bytes;

use super::{
    Invalid,
    wire::{Reader, Writer},
};
use crate::mqtt::Reason;

/// The properties of a packet or of a will. Which of them a packet may have is checked where it is
/// decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Whether the payload is UTF-8 text.
    pub payload_format: Option<bool>,
    /// Seconds until the message expires.
    pub message_expiry: Option<u32>,
    /// What the payload is.
    pub content_type: Option<Box<str>>,
    /// The topic for the answer.
    pub response_topic: Option<Box<str>>,
    /// Data that the answer must repeat.
    pub correlation_data: Option<Bytes>,
    /// The subscription's identifier; several in a message that several subscriptions match.
    pub subscription_ids: Vec<u32>,
    /// Seconds that the session is kept after its connection; `u32::MAX` is forever.
    pub session_expiry: Option<u32>,
    /// The client id that the server chose.
    pub assigned_client_id: Option<Box<str>>,
    /// The keep-alive set by the server, in seconds.
    pub server_keep_alive: Option<u16>,
    /// How to authenticate.
    pub authentication_method: Option<Box<str>>,
    /// The data of that method.
    pub authentication_data: Option<Bytes>,
    /// Whether the client wants reason strings.
    pub request_problem_information: Option<bool>,
    /// Seconds between the end of the connection and its will.
    pub will_delay: Option<u32>,
    /// Whether the client wants response information.
    pub request_response_information: Option<bool>,
    /// The basis of response topics.
    pub response_information: Option<Box<str>>,
    /// The address of another server.
    pub server_reference: Option<Box<str>>,
    /// The reason in words.
    pub reason_string: Option<Box<str>>,
    /// How many messages of QoS 1 and 2 may be in flight.
    pub receive_maximum: Option<u16>,
    /// The highest topic alias.
    pub topic_alias_maximum: Option<u16>,
    /// The alias of this packet's topic.
    pub topic_alias: Option<u16>,
    /// The highest QoS, if it is 0 or 1.
    pub maximum_qos: Option<bool>,
    /// Whether the server supports retained messages.
    pub retain_available: Option<bool>,
    /// Names and values chosen by users.
    pub user: Vec<(Box<str>, Box<str>)>,
    /// The largest packet.
    pub maximum_packet_size: Option<u32>,
    /// Whether the server supports wildcards.
    pub wildcards_available: Option<bool>,
    /// Whether the server supports subscription identifiers.
    pub subscription_ids_available: Option<bool>,
    /// Whether the server supports shared subscriptions.
    pub shared_available: Option<bool>,
}

/// The packets in which properties are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u16);

impl Place {
    pub(super) const CONNECT: Self = Self(1);
    pub(super) const CONNACK: Self = Self(2);
    pub(super) const PUBLISH: Self = Self(4);
    pub(super) const WILL: Self = Self(8);
    pub(super) const SUBSCRIBE: Self = Self(16);
    pub(super) const UNSUBSCRIBE: Self = Self(32);
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    pub(super) const ACK: Self = Self(64);
    pub(super) const DISCONNECT: Self = Self(128);
    pub(super) const AUTH: Self = Self(256);
    const MESSAGE: Self = Self(4 | 8);
}

/// Where the property with this number is allowed (table 2-4); none if there is no such property.
const fn places(property: u32) -> Option<u16> {
    Some(match property {
        0x01 | 0x02 | 0x03 | 0x08 | 0x09 => Place::MESSAGE.0,
        0x0b => Place::PUBLISH.0 | Place::SUBSCRIBE.0,
        0x11 => Place::CONNECT.0 | Place::CONNACK.0 | Place::DISCONNECT.0,
        0x12 | 0x13 | 0x1a | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => Place::CONNACK.0,
        0x15 | 0x16 => Place::CONNECT.0 | Place::CONNACK.0 | Place::AUTH.0,
        0x17 | 0x19 => Place::CONNECT.0,
        0x18 => Place::WILL.0,
        0x1c => Place::CONNACK.0 | Place::DISCONNECT.0,
        0x1f => Place::CONNACK.0 | Place::ACK.0 | Place::DISCONNECT.0 | Place::AUTH.0,
        0x21 | 0x22 | 0x27 => Place::CONNECT.0 | Place::CONNACK.0,
        0x23 => Place::PUBLISH.0,
        0x26 => u16::MAX,
        _ => return None,
    })
}

fn protocol_error(why: &'static str) -> Invalid {
    Invalid::new(Reason::PROTOCOL_ERROR, why)
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Invalid> {
    if slot.replace(value).is_some() {
        return Err(protocol_error("a property appears twice"));
    }
    Ok(())
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Invalid> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(protocol_error(
            "a property that must be 0 or 1 has another value",
        )),
    }
}

fn text(reader: &mut Reader<'_>) -> Result<Box<str>, Invalid> {
    reader.text().map(Into::into)
}

impl Properties {
    /// Reads the length of the properties and the properties. None if their length is 0.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        place: Place,
    ) -> Result<Option<Box<Self>>, Invalid> {
        let len = reader.variable()?;
        if len == 0 {
            return Ok(None);
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut reader = Reader::new(reader.take(len)?);
        let mut properties = Box::<Self>::default();
        while !reader.is_empty() {
            let property = reader.variable()?;
            let Some(places) = places(property) else {
                let why = "no property has this number";
                return Err(Invalid::new(Reason::MALFORMED, why));
            };
            if places & place.0 == 0 {
                return Err(protocol_error("a property is not allowed in this packet"));
            }
            properties.read_one(property, place, &mut reader)?;
        }
        Ok(Some(properties))
    }

    fn read_one(&mut self, property: u32, place: Place, r: &mut Reader<'_>) -> Result<(), Invalid> {
        match property {
            0x01 => once(&mut self.payload_format, flag(r)?),
            0x02 => once(&mut self.message_expiry, r.u32()?),
            0x03 => once(&mut self.content_type, text(r)?),
            0x08 => once(&mut self.response_topic, text(r)?),
            0x09 => once(&mut self.correlation_data, r.binary()?),
            0x0b => self.subscription_id(place, r.variable()?),
            0x11 => once(&mut self.session_expiry, r.u32()?),
            0x12 => once(&mut self.assigned_client_id, text(r)?),
            0x13 => once(&mut self.server_keep_alive, r.u16()?),
            0x15 => once(&mut self.authentication_method, text(r)?),
            0x16 => once(&mut self.authentication_data, r.binary()?),
            0x17 => once(&mut self.request_problem_information, flag(r)?),
            0x18 => once(&mut self.will_delay, r.u32()?),
            0x19 => once(&mut self.request_response_information, flag(r)?),
            0x1a => once(&mut self.response_information, text(r)?),
            0x1c => once(&mut self.server_reference, text(r)?),
            0x1f => once(&mut self.reason_string, text(r)?),
            0x21 => match r.u16()? {
                0 => Err(protocol_error("the receive maximum must not be 0")),
                maximum => once(&mut self.receive_maximum, maximum),
            },
            0x22 => once(&mut self.topic_alias_maximum, r.u16()?),
            0x23 => match r.u16()? {
                0 => Err(Invalid::new(
                    Reason::TOPIC_ALIAS_INVALID,
                    "a topic alias must not be 0",
                )),
                alias => once(&mut self.topic_alias, alias),
            },
            0x24 => once(&mut self.maximum_qos, flag(r)?),
            0x25 => once(&mut self.retain_available, flag(r)?),
            0x26 => {
                let pair = (text(r)?, text(r)?);
                self.user.push(pair);
                Ok(())
            }
            0x27 => match r.u32()? {
                0 => Err(protocol_error("the maximum packet size must not be 0")),
                size => once(&mut self.maximum_packet_size, size),
            },
            0x28 => once(&mut self.wildcards_available, flag(r)?),
            0x29 => once(&mut self.subscription_ids_available, flag(r)?),
            0x2a => once(&mut self.shared_available, flag(r)?),
            _ => Ok(()),
        }
    }

    /// §3.3.2.3.8: a message can match several subscriptions; a SUBSCRIBE has one identifier.
    fn subscription_id(&mut self, place: Place, id: u32) -> Result<(), Invalid> {
        if id == 0 {
            return Err(protocol_error("a subscription identifier must not be 0"));
        }
        if place == Place::SUBSCRIBE && !self.subscription_ids.is_empty() {
            return Err(protocol_error("a property appears twice"));
        }
        self.subscription_ids.push(id);
        Ok(())
    }

    /// Writes the properties and their length.
    pub(super) fn write(properties: Option<&Self>, writer: &mut Writer) {
        let mut all = Writer::new();
        if let Some(properties) = properties {
            properties.write_messages(&mut all);
            properties.write_others(&mut all);
        }
        writer.counted(&all);
    }

    /// Properties of messages.
    fn write_messages(&self, w: &mut Writer) {
        put_flag(w, 0x01, self.payload_format);
        put_u32(w, 0x02, self.message_expiry);
        put_text(w, 0x03, self.content_type.as_deref());
        put_text(w, 0x08, self.response_topic.as_deref());
        put_binary(w, 0x09, self.correlation_data.as_ref());
        for id in &self.subscription_ids {
            w.u8(0x0b);
            w.variable(*id);
        }
        put_u32(w, 0x18, self.will_delay);
        put_u16(w, 0x23, self.topic_alias);
        for (name, value) in &self.user {
            w.u8(0x26);
            w.text(name);
            w.text(value);
        }
    }

    fn write_others(&self, w: &mut Writer) {
        put_u32(w, 0x11, self.session_expiry);
        put_text(w, 0x12, self.assigned_client_id.as_deref());
        put_u16(w, 0x13, self.server_keep_alive);
        put_text(w, 0x15, self.authentication_method.as_deref());
        put_binary(w, 0x16, self.authentication_data.as_ref());
        put_flag(w, 0x17, self.request_problem_information);
        put_flag(w, 0x19, self.request_response_information);
        put_text(w, 0x1a, self.response_information.as_deref());
        put_text(w, 0x1c, self.server_reference.as_deref());
        put_text(w, 0x1f, self.reason_string.as_deref());
        put_u16(w, 0x21, self.receive_maximum);
        put_u16(w, 0x22, self.topic_alias_maximum);
        put_flag(w, 0x24, self.maximum_qos);
        put_flag(w, 0x25, self.retain_available);
        put_u32(w, 0x27, self.maximum_packet_size);
        put_flag(w, 0x28, self.wildcards_available);
        put_flag(w, 0x29, self.subscription_ids_available);
        put_flag(w, 0x2a, self.shared_available);
    }
}

fn put_flag(w: &mut Writer, property: u8, value: Option<bool>) {
    if let Some(value) = value {
        w.u8(property);
        w.u8(value.into());
    }
}

fn put_u16(w: &mut Writer, property: u8, value: Option<u16>) {
    if let Some(value) = value {
        w.u8(property);
        w.u16(value);
    }
}

fn put_u32(w: &mut Writer, property: u8, value: Option<u32>) {
    if let Some(value) = value {
        w.u8(property);
        w.u32(value);
    }
}

fn put_text(w: &mut Writer, property: u8, value: Option<&str>) {
    if let Some(value) = value {
        w.u8(property);
        w.text(value);
    }
}

fn put_binary(w: &mut Writer, property: u8, value: Option<&Bytes>) {
    if let Some(value) = value {
        w.u8(property);
        w.binary(value);
    }
}
