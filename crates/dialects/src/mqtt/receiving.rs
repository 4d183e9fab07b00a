//! Messages from the client. They are acknowledged once they are durable. A message of QoS 2 is
//! published once, even if it is received several times.

use std::collections::HashMap;

use offhook_engine::{Command, ErrorCode, Key, MAX_CHANNEL_NAME, Refusal, Reply};

use super::{
    Reason,
    connecting::{RECEIVE_MAXIMUM, TOPIC_ALIASES},
    content,
    dialect::{Mqtt, PUBLISHING, Publishing, Purpose},
    packet::{Ack, Invalid, Packet, Publish, Qos, Version},
    refusals,
    session::{Received, Taking},
    topics,
};
use crate::dialect::Intent;

/// How many messages of QoS 2 a client of 3.1.1, which has no receive maximum, may leave
/// unreleased. 16,384: clients send their whole queue first, and release the messages afterwards.
const UNRELEASED: usize = 16_384;

/// The topics for which the client has defined aliases.
#[derive(Debug, Default)]
pub(super) struct Aliases(HashMap<u16, Box<str>>);

/// Why a message was not published.
struct Unpublished {
    reason: Reason,
    why: &'static str,
}

impl Unpublished {
    const fn new(reason: Reason, why: &'static str) -> Self {
        Self { reason, why }
    }
}

impl Mqtt {
    /// Handles a PUBLISH.
    pub(super) fn publish(&mut self, mut publish: Publish) {
        if let Err(invalid) = self.resolve_alias(&mut publish) {
            return self.fail(invalid);
        }
        let (qos, packet_id) = (publish.qos, publish.packet_id);
        self.messages = self.messages.wrapping_add(1);
        let publishing = Publishing {
            number: self.messages,
            qos,
            packet_id,
        };
        let key = match qos {
            Qos::AtMostOnce | Qos::AtLeastOnce => None,
            Qos::ExactlyOnce => {
                let content = self.content_of(&publish);
                match self.first_seen(publish.packet_id, content) {
                    Some(number) => self.key(number, content),
                    None => return,
                }
            }
        };
        match command(&publish, key) {
            Ok(command) => self.publish_as(command, publishing),
            Err(no) => self.unpublished(publishing, &no),
        }
    }

    fn publish_as(&mut self, command: Command, publishing: Publishing) {
        self.publishing = self.publishing.saturating_add(1);
        let purpose = Purpose::Publish(Box::new((command.clone(), publishing)));
        self.ask(command, purpose);
    }

    /// Replaces a topic alias by its topic (5.0 §3.3.2.3.4).
    fn resolve_alias(&mut self, publish: &mut Publish) -> Result<(), Invalid> {
        let Some(given) = &publish.properties else {
            return Ok(());
        };
        // §3.3.2.3.8: a client must not send one.
        if !given.subscription_ids.is_empty() {
            let why = "a client's message must not have a subscription identifier";
            return Err(Invalid::new(Reason::PROTOCOL_ERROR, why));
        }
        let Some(alias) = given.topic_alias else {
            return Ok(());
        };
        let aliases = &mut self.receiving.0;
        if alias > TOPIC_ALIASES {
            let why = "the topic alias exceeds the maximum";
            return Err(Invalid::new(Reason::TOPIC_ALIAS_INVALID, why));
        }
        if publish.topic.is_empty() {
            let known = aliases.get(&alias).cloned();
            let why = "the topic alias is not defined";
            publish.topic = known.ok_or(Invalid::new(Reason::TOPIC_ALIAS_INVALID, why))?;
        } else {
            aliases.insert(alias, kept(&publish.topic).into());
        }
        Ok(())
    }

    /// The number of the idempotency key with which to publish a message of QoS 2; none if the
    /// message must not be published.
    fn first_seen(&mut self, id: u16, content: u64) -> Option<u64> {
        match self.session.received.get_mut(&id) {
            // It is being published, and the PUBREC follows.
            Some(Received {
                state: Taking::Pending,
                ..
            }) => return None,
            // §4.3.3: until the PUBREL, the same identifier is the same message. On another connection, a
            // client may have lost its state.
            Some(received)
                if received.state == Taking::Taken
                    || (received.state == Taking::TakenBefore && received.content == content) =>
            {
                received.state = Taking::Taken;
                self.say(&Packet::PubRec(Ack::new(id, Reason::SUCCESS)));
                return None;
            }
            // An earlier connection started to publish it. The same key publishes it only if that
            // did not succeed. MQTT.js repeats messages without the DUP flag.
            Some(received) => {
                (received.state, received.content) = (Taking::Pending, content);
                return Some(received.key);
            }
            None => {}
        }
        let most = match self.client.version {
            Version::V5 => RECEIVE_MAXIMUM.into(),
            Version::V3 => UNRELEASED,
        };
        if self.session.received.len() >= most {
            let why = "too many messages of QoS 2 are unreleased";
            self.fail(Invalid::new(Reason::RECEIVE_MAXIMUM_EXCEEDED, why));
            return None;
        }
        let key = self.session.next_key;
        self.session.next_key = key.wrapping_add(1);
        let state = Taking::Pending;
        let received = Received {
            key,
            content,
            state,
        };
        self.session.received.insert(id, received);
        self.changed = true;
        Some(key)
    }

    /// What distinguishes a message from others of the same identifier, if the session outlives its
    /// connection: a client that has lost its state uses an unreleased identifier for a different message,
    /// which is published.
    fn content_of(&self, publish: &Publish) -> u64 {
        match self.is_durable {
            true => digest(&[publish.topic.as_bytes(), &[0], &publish.payload]),
            false => 0,
        }
    }

    /// The idempotency key with this number; none if the session ends with its connection, because
    /// nothing is published twice within one connection.
    fn key(&self, number: u64, content: u64) -> Option<Key> {
        let name = self.name.filter(|_| self.is_durable)?;
        Key::new(&format!("mqtt/{name}/{number}/{content:x}")).ok()
    }

    /// PUBREL: the client has received the PUBREC, and will not send the message again.
    pub(super) fn client_releases(&mut self, ack: &Ack) {
        let known = self.session.received.remove(&ack.packet_id).is_some();
        // §3.7.2.1: an unknown identifier is no error if the client resumes its session, because the
        // PUBCOMP may have been lost. MQTT.js would report the message as not published.
        let reason = match known || self.is_durable {
            true => Reason::SUCCESS,
            false => Reason::PACKET_ID_NOT_FOUND,
        };
        let packet = Packet::PubComp(Ack::new(ack.packet_id, reason));
        // After the PUBCOMP, the client may use the identifier for another message. Therefore the
        // note without it is stored first, so that a crash does not bring it back.
        self.changed |= known;
        self.after_note.push(packet.encode(self.client.version));
    }

    /// Handles the broker's answer to a publication.
    pub(super) fn published(&mut self, command: Command, publishing: Publishing, reply: &Reply) {
        self.publishing = self.publishing.saturating_sub(1);
        let Publishing { qos, packet_id, .. } = publishing;
        let Reply::Refused(refusal) = reply else {
            let ack = Ack::new(packet_id, Reason::SUCCESS);
            match qos {
                Qos::AtMostOnce => {}
                Qos::AtLeastOnce => self.say(&Packet::PubAck(ack)),
                Qos::ExactlyOnce => {
                    if let Some(received) = self.session.received.get_mut(&packet_id) {
                        received.state = Taking::Taken;
                        self.note_is_old = true;
                    }
                    self.say(&Packet::PubRec(ack));
                }
            }
            return;
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "every other refusal is final"
        )]
        match refusal.code {
            // Until it is published, nothing more is read from the client, which slows it down.
            ErrorCode::RateLimited | ErrorCode::Busy if self.again.len() < PUBLISHING => {
                // The engine refuses a message for its rate earlier than the broker one before it
                // for its full queue.
                let is_earlier =
                    |(_, other): &(Command, Publishing)| other.number < publishing.number;
                let at = self.again.partition_point(is_earlier);
                self.again.insert(at, (command, publishing));
                self.try_again_after(refusal.retry_after);
            }
            // Whether it was published is unknown. The client sends it again on its next
            // connection.
            ErrorCode::TimedOut | ErrorCode::StorageFailed if qos != Qos::AtMostOnce => {
                let why = "it is unknown whether a message was published; send it again";
                self.disconnect_for(Reason::UNSPECIFIED, why);
            }
            code => {
                let why = code.name();
                let no = Unpublished::new(refusals::of_request(code), why);
                self.not_taken(publishing, &no);
            }
        }
    }

    pub(super) fn publish_again(&mut self) {
        for (command, publishing) in std::mem::take(&mut self.again) {
            self.publish_as(command, publishing);
        }
    }

    /// Reports a message that the dialect itself refuses, so that the engine counts and logs it.
    fn unpublished(&mut self, publishing: Publishing, no: &Unpublished) {
        let refusal = Refusal::new(ErrorCode::BadRequest, no.why);
        self.queue.push_back(Intent::Refuse { id: None, refusal });
        self.not_taken(publishing, no);
    }

    /// Tells the client that a message was not published.
    fn not_taken(&mut self, publishing: Publishing, no: &Unpublished) {
        let Publishing { qos, packet_id, .. } = publishing;
        if qos == Qos::ExactlyOnce {
            // §4.3.3: a PUBREC with a failure ends the exchange.
            self.session.received.remove(&packet_id);
            self.changed = true;
        }
        // A message of QoS 0 is not acknowledged (§4.3.1).
        if qos == Qos::AtMostOnce {
            return;
        }
        // 3.1.1 §3.3.5: there is no negative acknowledgement, so the connection ends.
        if self.client.version == Version::V3 {
            return self.disconnect_for(no.reason, no.why);
        }
        let ack = Ack {
            packet_id,
            reason: no.reason,
            properties: self.reason_string(no.why),
        };
        self.say(&match qos {
            Qos::AtMostOnce | Qos::AtLeastOnce => Packet::PubAck(ack),
            Qos::ExactlyOnce => Packet::PubRec(ack),
        });
    }
}

/// The topic of an alias, as far as it is kept. A longer one names no channel, also without its end, so
/// that messages with its alias are refused. It may have 64 KiB.
fn kept(topic: &str) -> &str {
    let most = topic.floor_char_boundary(MAX_CHANNEL_NAME.saturating_add(4));
    topic.get(..most).unwrap_or(topic)
}

/// FNV-1a with 64 bits. A client can only make messages of its own collide.
fn digest(parts: &[&[u8]]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(BASIS, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    })
}

/// The command that publishes a message.
fn command(publish: &Publish, key: Option<Key>) -> Result<Command, Unpublished> {
    if topics::is_reserved(&publish.topic) {
        let why = "topics below $SYS/ are reserved for the server";
        return Err(Unpublished::new(Reason::NOT_AUTHORIZED, why));
    }
    let channel = topics::channel_of(&publish.topic).map_err(|_| {
        let why = "the topic is longer than 200 bytes or contains control characters";
        Unpublished::new(Reason::TOPIC_NAME_INVALID, why)
    })?;
    let properties = publish.properties.as_deref();
    let content = content::content(publish.qos, publish.retain, &publish.payload, properties);
    let content = content.map_err(|no| Unpublished::new(no.reason, no.why))?;
    Ok(Command::Publish {
        channel,
        data: content.data,
        format: content.format,
        tags: content.tags,
        key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_keeps_a_topic_only_as_far_as_it_may_name_a_channel() {
        assert_eq!(kept("a/b"), "a/b");
        for topic in ["x".repeat(65_535), "ü".repeat(32_767), "*".repeat(65_535)] {
            let kept = kept(&topic);
            assert!(kept.len() <= 204, "{}", kept.len());
            assert!(topics::channel_of(kept).is_err());
        }
    }
}
