//! Bytes to packets (MQTT 5.0 §3; the sections of 3.1.1 have the same numbers).

use bytes::Bytes;

use super::{
    Ack, Acks, ConnAck, Connect, Invalid, Options, Packet, Properties, Publish, Qos, Reason,
    Reasoned, RetainHandling, Subscribe, Unsubscribe, Version, Will, properties::Place,
    wire::Reader,
};

const fn malformed(why: &'static str) -> Invalid {
    Invalid::new(Reason::MALFORMED, why)
}

const fn protocol_error(why: &'static str) -> Invalid {
    Invalid::new(Reason::PROTOCOL_ERROR, why)
}

/// Decodes a complete packet. While the version is unknown, only a CONNECT is accepted, which
/// states it.
pub(super) fn packet(first: u8, body: &[u8], version: Option<Version>) -> Result<Packet, Invalid> {
    let mut r = Reader::new(body);
    let kind = first >> 4;
    let Some(version) = version else {
        // §3.1: the first packet must be a CONNECT.
        if kind != 1 {
            return Err(protocol_error("the first packet must be a CONNECT"));
        }
        flags(first, 0)?;
        return connect(&mut r).map(|connect| Packet::Connect(Box::new(connect)));
    };
    if kind != 3 {
        let wanted = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
        flags(first, wanted)?;
    }
    let packet = match kind {
        1 => Packet::Connect(Box::new(connect(&mut r)?)),
        2 => Packet::ConnAck(connack(&mut r, version)?),
        3 => Packet::Publish(publish(first, &mut r, version)?),
        4 => Packet::PubAck(ack(&mut r, version)?),
        5 => Packet::PubRec(ack(&mut r, version)?),
        6 => Packet::PubRel(ack(&mut r, version)?),
        7 => Packet::PubComp(ack(&mut r, version)?),
        8 => Packet::Subscribe(subscribe(&mut r, version)?),
        9 => Packet::SubAck(acks(&mut r, version)?),
        10 => Packet::Unsubscribe(unsubscribe(&mut r, version)?),
        11 => Packet::UnsubAck(acks(&mut r, version)?),
        12 => Packet::PingReq,
        13 => Packet::PingResp,
        14 => Packet::Disconnect(reasoned(&mut r, version, Place::DISCONNECT)?),
        15 if version == Version::V5 => Packet::Auth(reasoned(&mut r, version, Place::AUTH)?),
        _ => return Err(malformed("unknown packet type")),
    };
    r.end()?;
    Ok(packet)
}

/// §2.1.3: a packet with other flags than these is malformed.
fn flags(first: u8, wanted: u8) -> Result<(), Invalid> {
    if first & 0x0f == wanted {
        return Ok(());
    }
    Err(malformed(
        "the flags of the fixed header are not allowed for this packet type",
    ))
}

fn properties(
    r: &mut Reader<'_>,
    version: Version,
    place: Place,
) -> Result<Option<Box<Properties>>, Invalid> {
    match version {
        Version::V3 => Ok(None),
        Version::V5 => Properties::read(r, place),
    }
}

fn connect(r: &mut Reader<'_>) -> Result<Connect, Invalid> {
    let name = r.text()?;
    let level = r.u8()?;
    let version = match (name, level) {
        ("MQTT", 4) => Version::V3,
        ("MQTT", 5) => Version::V5,
        ("MQTT" | "MQIsdp", _) => {
            let why = "this server supports the versions 3.1.1 and 5.0";
            return Err(Invalid::new(Reason::UNSUPPORTED_VERSION, why));
        }
        _ => return Err(protocol_error("the protocol's name must be MQTT")),
    };
    let flags = r.u8()?;
    if flags & 1 != 0 {
        return Err(malformed("the reserved flag of a CONNECT must be 0"));
    }
    let has = |bit: u8| flags & bit != 0;
    let qos = Qos::new(flags >> 3 & 3).ok_or(malformed("the will's QoS is 3"))?;
    if !has(4) && (qos != Qos::AtMostOnce || has(0x20)) {
        return Err(malformed(
            "a will's QoS or retain flag is set without a will",
        ));
    }
    // 3.1.1 §3.1.2.9; 5.0 allows a password alone.
    if version == Version::V3 && has(0x40) && !has(0x80) {
        return Err(malformed(
            "MQTT 3.1.1 allows a password only with a user name",
        ));
    }
    let keep_alive = r.u16()?;
    let properties_given = properties(r, version, Place::CONNECT)?;
    let client_id = r.text()?.into();
    let will = match has(4) {
        true => Some(will(r, version, qos, has(0x20))?),
        false => None,
    };
    let user = has(0x80).then(|| r.text().map(Into::into)).transpose()?;
    let password = has(0x40).then(|| r.binary()).transpose()?;
    r.end()?;
    Ok(Connect {
        version,
        clean: has(2),
        keep_alive,
        properties: properties_given,
        client_id,
        will,
        user,
        password,
    })
}

fn will(r: &mut Reader<'_>, version: Version, qos: Qos, retain: bool) -> Result<Will, Invalid> {
    let properties = properties(r, version, Place::WILL)?;
    let topic = topic(r)?;
    if topic.is_empty() {
        return Err(Invalid::new(
            Reason::TOPIC_NAME_INVALID,
            "the will's topic is empty",
        ));
    }
    Ok(Will {
        topic,
        payload: r.binary()?,
        qos,
        retain,
        properties,
    })
}

/// §4.7.1: a topic name must not contain wildcards.
fn topic(r: &mut Reader<'_>) -> Result<Box<str>, Invalid> {
    let topic = r.text()?;
    if topic.contains(['+', '#']) {
        let why = "a topic name must not contain wildcards";
        return Err(Invalid::new(Reason::TOPIC_NAME_INVALID, why));
    }
    Ok(topic.into())
}

fn connack(r: &mut Reader<'_>, version: Version) -> Result<ConnAck, Invalid> {
    let flags = r.u8()?;
    if flags > 1 {
        return Err(malformed("the reserved flags of a CONNACK must be 0"));
    }
    Ok(ConnAck {
        session_present: flags == 1,
        reason: Reason(r.u8()?),
        properties: properties(r, version, Place::CONNACK)?,
    })
}

fn publish(first: u8, r: &mut Reader<'_>, version: Version) -> Result<Publish, Invalid> {
    let qos = Qos::new(first >> 1 & 3).ok_or(malformed("a message's QoS is 3"))?;
    let dup = first & 8 != 0;
    // §3.3.1.1.
    if dup && qos == Qos::AtMostOnce {
        return Err(malformed("a message of QoS 0 must not have the DUP flag"));
    }
    let topic = topic(r)?;
    let packet_id = match qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce | Qos::ExactlyOnce => r.packet_id()?,
    };
    let properties = properties(r, version, Place::PUBLISH)?;
    let alias = properties.as_ref().and_then(|all| all.topic_alias);
    if topic.is_empty() && alias.is_none() {
        let why = "a message has neither a topic nor a topic alias";
        let reason = match version {
            Version::V3 => Reason::MALFORMED,
            Version::V5 => Reason::PROTOCOL_ERROR,
        };
        return Err(Invalid::new(reason, why));
    }
    Ok(Publish {
        dup,
        qos,
        retain: first & 1 != 0,
        topic,
        packet_id,
        properties,
        payload: Bytes::copy_from_slice(r.rest()),
    })
}

/// §3.4.2: reason and properties may be omitted at the end.
fn ack(r: &mut Reader<'_>, version: Version) -> Result<Ack, Invalid> {
    let packet_id = r.packet_id()?;
    let Reasoned { reason, properties } = reasoned(r, version, Place::ACK)?;
    Ok(Ack {
        packet_id,
        reason,
        properties,
    })
}

fn reasoned(r: &mut Reader<'_>, version: Version, place: Place) -> Result<Reasoned, Invalid> {
    if version == Version::V3 || r.is_empty() {
        return Ok(Reasoned::default());
    }
    let reason = Reason(r.u8()?);
    let properties = match r.is_empty() {
        true => None,
        false => Properties::read(r, place)?,
    };
    Ok(Reasoned { reason, properties })
}

fn subscribe(r: &mut Reader<'_>, version: Version) -> Result<Subscribe, Invalid> {
    let packet_id = r.packet_id()?;
    let properties = properties(r, version, Place::SUBSCRIBE)?;
    let mut filters = Vec::new();
    while !r.is_empty() {
        let filter = r.text()?;
        let options = options(r.u8()?, version)?;
        // §3.8.3.1: no-local on a shared subscription is an error.
        if options.no_local && filter.starts_with("$share/") {
            return Err(protocol_error(
                "a shared subscription must not have the option no-local",
            ));
        }
        filters.push((filter.into(), options));
    }
    if filters.is_empty() {
        return Err(protocol_error("a SUBSCRIBE has no filter"));
    }
    Ok(Subscribe {
        packet_id,
        properties,
        filters,
    })
}

fn options(byte: u8, version: Version) -> Result<Options, Invalid> {
    let reserved = match version {
        Version::V3 => 0xfc,
        Version::V5 => 0xc0,
    };
    if byte & reserved != 0 {
        return Err(malformed(
            "the reserved bits of a subscription's options must be 0",
        ));
    }
    let qos = Qos::new(byte & 3).ok_or(malformed("a subscription's QoS is 3"))?;
    let retain_handling = match byte >> 4 & 3 {
        0 => RetainHandling::Always,
        1 => RetainHandling::IfNew,
        2 => RetainHandling::Never,
        _ => return Err(protocol_error("a subscription's retain handling is 3")),
    };
    Ok(Options {
        qos,
        no_local: byte & 4 != 0,
        retain_as_published: byte & 8 != 0,
        retain_handling,
    })
}

fn acks(r: &mut Reader<'_>, version: Version) -> Result<Acks, Invalid> {
    Ok(Acks {
        packet_id: r.packet_id()?,
        properties: properties(r, version, Place::ACK)?,
        reasons: r.rest().iter().copied().map(Reason).collect(),
    })
}

fn unsubscribe(r: &mut Reader<'_>, version: Version) -> Result<Unsubscribe, Invalid> {
    let packet_id = r.packet_id()?;
    let properties = properties(r, version, Place::UNSUBSCRIBE)?;
    let mut filters = Vec::new();
    while !r.is_empty() {
        filters.push(r.text()?.into());
    }
    if filters.is_empty() {
        return Err(protocol_error("an UNSUBSCRIBE has no filter"));
    }
    Ok(Unsubscribe {
        packet_id,
        properties,
        filters,
    })
}
