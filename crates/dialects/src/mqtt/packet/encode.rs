//! Packets to bytes.

use super::{
    Ack, Acks, Connect, Options, Packet, Properties, Publish, Qos, Reason, Reasoned,
    RetainHandling, Version, wire::Writer,
};

impl Packet {
    /// The packet's bytes.
    #[must_use]
    pub fn encode(&self, version: Version) -> Vec<u8> {
        match self {
            Self::Connect(connect) => connect.encode(),
            Self::ConnAck(connack) => {
                let mut w = Writer::new();
                w.u8(connack.session_present.into());
                w.u8(connack.reason.0);
                properties(&mut w, version, connack.properties.as_deref());
                w.packet(0x20)
            }
            Self::Publish(publish) => publish.encode(version),
            Self::PubAck(ack) => ack.encode(0x40, version),
            Self::PubRec(ack) => ack.encode(0x50, version),
            Self::PubRel(ack) => ack.encode(0x62, version),
            Self::PubComp(ack) => ack.encode(0x70, version),
            Self::Subscribe(subscribe) => {
                let mut w = Writer::new();
                w.u16(subscribe.packet_id);
                properties(&mut w, version, subscribe.properties.as_deref());
                for (filter, options) in &subscribe.filters {
                    w.text(filter);
                    w.u8(options.encode(version));
                }
                w.packet(0x82)
            }
            Self::SubAck(acks) => acks.encode(0x90, version),
            Self::Unsubscribe(unsubscribe) => {
                let mut w = Writer::new();
                w.u16(unsubscribe.packet_id);
                properties(&mut w, version, unsubscribe.properties.as_deref());
                for filter in &unsubscribe.filters {
                    w.text(filter);
                }
                w.packet(0xa2)
            }
            Self::UnsubAck(acks) => acks.encode(0xb0, version),
            Self::PingReq => Writer::new().packet(0xc0),
            Self::PingResp => Writer::new().packet(0xd0),
            Self::Disconnect(reasoned) => reasoned.encode(0xe0, version),
            Self::Auth(reasoned) => reasoned.encode(0xf0, version),
        }
    }
}

fn properties(w: &mut Writer, version: Version, properties: Option<&Properties>) {
    if version == Version::V5 {
        Properties::write(properties, w);
    }
}

impl Connect {
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.text("MQTT");
        w.u8(match self.version {
            Version::V3 => 4,
            Version::V5 => 5,
        });
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 4 | will.qos.number() << 3 | u8::from(will.retain) << 5;
        }
        flags |= u8::from(self.password.is_some()) << 6 | u8::from(self.user.is_some()) << 7;
        w.u8(flags);
        w.u16(self.keep_alive);
        properties(&mut w, self.version, self.properties.as_deref());
        w.text(&self.client_id);
        if let Some(will) = &self.will {
            properties(&mut w, self.version, will.properties.as_deref());
            w.text(&will.topic);
            w.binary(&will.payload);
        }
        if let Some(user) = &self.user {
            w.text(user);
        }
        if let Some(password) = &self.password {
            w.binary(password);
        }
        w.packet(0x10)
    }
}

impl Publish {
    fn encode(&self, version: Version) -> Vec<u8> {
        let mut w = Writer::new();
        w.text(&self.topic);
        if self.qos != Qos::AtMostOnce {
            w.u16(self.packet_id);
        }
        properties(&mut w, version, self.properties.as_deref());
        w.raw(&self.payload);
        let flags = u8::from(self.dup) << 3 | self.qos.number() << 1 | u8::from(self.retain);
        w.packet(0x30 | flags)
    }
}

impl Options {
    fn encode(self, version: Version) -> u8 {
        let qos = self.qos.number();
        if version == Version::V3 {
            return qos;
        }
        let retain_handling = match self.retain_handling {
            RetainHandling::Always => 0,
            RetainHandling::IfNew => 1,
            RetainHandling::Never => 2,
        };
        let retain_as_published = u8::from(self.retain_as_published);
        qos | u8::from(self.no_local) << 2 | retain_as_published << 3 | retain_handling << 4
    }
}

impl Ack {
    fn encode(&self, first: u8, version: Version) -> Vec<u8> {
        let mut w = Writer::new();
        w.u16(self.packet_id);
        tail(&mut w, version, self.reason, self.properties.as_deref());
        w.packet(first)
    }
}

impl Reasoned {
    fn encode(&self, first: u8, version: Version) -> Vec<u8> {
        let mut w = Writer::new();
        tail(&mut w, version, self.reason, self.properties.as_deref());
        w.packet(first)
    }
}

/// Reason and properties, omitted if they have their default values.
fn tail(w: &mut Writer, version: Version, reason: Reason, given: Option<&Properties>) {
    if version == Version::V3 || (reason == Reason::SUCCESS && given.is_none()) {
        return;
    }
    w.u8(reason.0);
    if given.is_some() {
        properties(w, version, given);
    }
}

impl Acks {
    fn encode(&self, first: u8, version: Version) -> Vec<u8> {
        let mut w = Writer::new();
        w.u16(self.packet_id);
        properties(&mut w, version, self.properties.as_deref());
        for reason in &self.reasons {
            w.u8(reason.0);
        }
        w.packet(first)
    }
}
