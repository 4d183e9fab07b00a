//! Clients of MQTT with persistent sessions. Those with even numbers speak 5.0, the others 3.1.1.

use std::collections::{HashSet, VecDeque};

use offhook::Message;
use offhook_dialects::mqtt::{
    Reason, SUBPROTOCOL,
    packet::{
        Ack, Connect, Decoder, Options, Packet, Properties, Publish, Qos, Subscribe, Version,
    },
};

use super::connection::{Connection, Lost, pause};
use super::{Publisher, Subscriber};
use crate::plan::channel;

/// The keep-alive in seconds. The client pings every second.
const KEEP_ALIVE: u16 = 3;
/// How long a session outlives its connection, in seconds.
const EXPIRY: u32 = 3600;
/// The longest packet from the server.
const PACKET: usize = 1 << 20;
/// How many messages of a publisher may be unacknowledged: several, so that their order is at risk
/// when the connection is lost.
const WINDOW: usize = 8;

/// A connection with its session.
struct Conversation {
    connection: Connection,
    decoder: Decoder,
    version: Version,
    /// Whether the server had the session.
    is_resumed: bool,
}

/// Who connects.
struct Session {
    id: String,
    version: Version,
}

impl Session {
    fn new(number: usize) -> Self {
        let mut random = [0; 8];
        // Without randomness, the numbers of one process would meet those of another.
        let _best_effort = getrandom::fill(&mut random);
        let version = match number % 2 {
            0 => Version::V5,
            _ => Version::V3,
        };
        Self {
            id: format!("{:016x}-{number}", u64::from_ne_bytes(random)),
            version,
        }
    }

    async fn open(&self, url: &str) -> Result<Conversation, Lost> {
        let connection = Connection::open(url, "/mqtt", Some(SUBPROTOCOL)).await?;
        let mut decoder = Decoder::new(PACKET);
        decoder.set_version(self.version);
        let mut conversation = Conversation {
            connection,
            decoder,
            version: self.version,
            is_resumed: false,
        };
        let properties = Properties {
            session_expiry: Some(EXPIRY),
            ..Properties::default()
        };
        let connect = Connect {
            version: self.version,
            clean: false,
            keep_alive: KEEP_ALIVE,
            properties: (self.version == Version::V5).then(|| Box::new(properties)),
            client_id: self.id.as_str().into(),
            will: None,
            user: None,
            password: None,
        };
        conversation
            .send(&Packet::Connect(Box::new(connect)))
            .await?;
        let answer = conversation.next().await?;
        if let Packet::ConnAck(answer) = &answer
            && answer.reason == Reason::SUCCESS
        {
            conversation.is_resumed = answer.session_present;
            return Ok(conversation);
        }
        Err(format!("not connected: {answer:?}"))
    }
}

impl Conversation {
    async fn send(&self, packet: &Packet) -> Result<(), Lost> {
        self.connection
            .send_bytes(&packet.encode(self.version))
            .await
    }

    /// The next packet that is no answer to a ping. Cancel safe.
    async fn next(&mut self) -> Result<Packet, Lost> {
        loop {
            match self.decoder.next_packet() {
                Ok(Some(Packet::PingResp)) => continue,
                Ok(Some(Packet::Disconnect(why))) => return Err(format!("{why:?}")),
                Ok(Some(packet)) => return Ok(packet),
                Ok(None) => {}
                Err(invalid) => return Err(invalid.why.to_owned()),
            }
            match self.connection.next().await? {
                Some(Message::Binary(bytes)) => self.decoder.push(&bytes),
                Some(Message::Text(_)) => return Err("a text message".to_owned()),
                None => self.send(&Packet::PingReq).await?,
            }
        }
    }
}

/// Follows the channels of a subscriber for as long as the process runs.
pub(super) async fn subscribe(mut subscriber: Subscriber, qos: u8) {
    let session = Session::new(subscriber.number);
    let mut receiving = Receiving {
        qos: Qos::new(qos).unwrap_or_default(),
        has_subscribed: false,
        unreleased: HashSet::new(),
    };
    loop {
        let ended = match session.open(&subscriber.url).await {
            Ok(conversation) => {
                if !conversation.is_resumed && receiving.has_subscribed {
                    let why = "the server has forgotten a session of MQTT";
                    return subscriber.reporter.failed(why).await;
                }
                subscriber.story.add("open".to_owned());
                subscriber.reporter.progress().resumed += u64::from(conversation.is_resumed);
                receiving.converse(&mut subscriber, conversation).await
            }
            Err(lost) => Err(lost),
        };
        match ended {
            Ok(violation) => return subscriber.reporter.failed(&violation).await,
            Err(lost) => subscriber.lost(&lost),
        }
        pause().await;
    }
}

/// What a subscriber remembers over its connections.
struct Receiving {
    qos: Qos,
    has_subscribed: bool,
    /// Messages of QoS 2 that the server has not released (4.3.3).
    unreleased: HashSet<u16>,
}

/// A violation of the protocol, which ends the proof.
type Violation = String;

impl Receiving {
    async fn converse(
        &mut self,
        subscriber: &mut Subscriber,
        mut conversation: Conversation,
    ) -> Result<Violation, Lost> {
        if !self.has_subscribed {
            let filters = subscriber.readers.iter();
            let options = Options {
                qos: self.qos,
                ..Options::default()
            };
            let subscribe = Subscribe {
                packet_id: 1,
                properties: None,
                filters: filters
                    .map(|reader| (channel(reader.channel()).into(), options))
                    .collect(),
            };
            conversation.send(&Packet::Subscribe(subscribe)).await?;
        }
        loop {
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "a subscriber receives no other packets"
            )]
            match conversation.next().await? {
                Packet::SubAck(acks) => {
                    if acks
                        .reasons
                        .iter()
                        .any(|reason| reason.0 != self.qos.number())
                    {
                        return Ok(format!("a subscription was refused: {acks:?}"));
                    }
                    self.has_subscribed = true;
                    subscriber.is_ready();
                }
                Packet::Publish(publish) => {
                    if let Err(violation) = self.receive(subscriber, &publish) {
                        return Ok(violation);
                    }
                    let ack = Ack::new(publish.packet_id, Reason::SUCCESS);
                    conversation
                        .send(&match publish.qos {
                            Qos::ExactlyOnce => Packet::PubRec(ack),
                            Qos::AtLeastOnce | Qos::AtMostOnce => Packet::PubAck(ack),
                        })
                        .await?;
                }
                Packet::PubRel(ack) => {
                    self.unreleased.remove(&ack.packet_id);
                    let done = Ack::new(ack.packet_id, Reason::SUCCESS);
                    conversation.send(&Packet::PubComp(done)).await?;
                }
                other => return Ok(format!("not for a subscriber: {other:?}")),
            }
        }
    }

    fn receive(&mut self, subscriber: &Subscriber, publish: &Publish) -> Result<(), Violation> {
        if publish.qos != self.qos {
            return Err(format!("a message has another QoS: {publish:?}"));
        }
        // 4.3.3: the same message again, until it is released.
        if publish.qos == Qos::ExactlyOnce && !self.unreleased.insert(publish.packet_id) {
            return Ok(());
        }
        let mut readers = subscriber.readers.iter();
        let reader = readers.find(|reader| *channel(reader.channel()) == *publish.topic);
        let text = std::str::from_utf8(&publish.payload).unwrap_or_default();
        let strange = || format!("received a message that was not published: {publish:?}");
        let reader = reader.ok_or_else(strange)?;
        let may_repeat = publish.qos == Qos::AtLeastOnce;
        let received = reader.receive_text(&subscriber.reporter, text, may_repeat);
        received.then_some(()).ok_or_else(strange)
    }
}

/// A message that is not acknowledged.
struct InFlight {
    number: u64,
    packet_id: u16,
    /// Whether it was received, and is released (QoS 2).
    is_released: bool,
}

/// What a publisher remembers over its connections.
struct Publishing {
    qos: Qos,
    next: u64,
    last_id: u16,
    in_flight: VecDeque<InFlight>,
    has_stopped: bool,
}

/// Publishes until it is told to stop and everything is acknowledged; returns how many messages.
pub(super) async fn publish(mut publisher: Publisher, qos: u8) -> u64 {
    let session = Session::new(publisher.number);
    let mut publishing = Publishing {
        qos: Qos::new(qos).unwrap_or_default(),
        next: 0,
        last_id: 0,
        in_flight: VecDeque::new(),
        has_stopped: false,
    };
    loop {
        let ended = match session.open(&publisher.url).await {
            Ok(conversation) => {
                // A session without anything in it may be forgotten. If messages were in it, the
                // subscribers receive them twice.
                publisher.reporter.progress().resumed += u64::from(conversation.is_resumed);
                publishing.converse(&mut publisher, conversation).await
            }
            Err(lost) => Err(lost),
        };
        match ended {
            Ok(Some(violation)) => {
                publisher.reporter.failed(&violation).await;
                return publishing.next;
            }
            Ok(None) => return publishing.next,
            Err(_lost) => publisher.reporter.progress().failures += 1,
        }
        pause().await;
    }
}

impl Publishing {
    /// None once everything is acknowledged and nothing follows.
    async fn converse(
        &mut self,
        publisher: &mut Publisher,
        mut conversation: Conversation,
    ) -> Result<Option<Violation>, Lost> {
        for index in 0..self.in_flight.len() {
            publisher.reporter.progress().recognised += 1;
            let packet = self.packet(publisher, index, true);
            conversation.send(&packet).await?;
        }
        loop {
            if self.has_stopped && self.in_flight.is_empty() {
                return Ok(None);
            }
            let has_room = !self.has_stopped && self.in_flight.len() < WINDOW;
            let packet = tokio::select! {
                packet = conversation.next() => packet?,
                is_next = publisher.is_next(), if has_room => {
                    if !is_next {
                        self.has_stopped = true;
                        continue;
                    }
                    let index = self.add();
                    let packet = self.packet(publisher, index, false);
                    conversation.send(&packet).await?;
                    continue;
                }
            };
            match self.acknowledged(publisher, &packet) {
                Ok(Some(answer)) => conversation.send(&answer).await?,
                Ok(None) => {}
                Err(violation) => return Ok(Some(violation)),
            }
        }
    }

    /// Adds a message to those in flight.
    fn add(&mut self) -> usize {
        let used = |id: u16| self.in_flight.iter().any(|one| one.packet_id == id);
        let mut id = self.last_id;
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if !used(id) {
                break;
            }
        }
        self.last_id = id;
        self.in_flight.push_back(InFlight {
            number: self.next,
            packet_id: id,
            is_released: false,
        });
        self.next += 1;
        self.in_flight.len() - 1
    }

    fn packet(&self, publisher: &Publisher, index: usize, dup: bool) -> Packet {
        let one = &self.in_flight[index];
        if one.is_released {
            return Packet::PubRel(Ack::new(one.packet_id, Reason::SUCCESS));
        }
        Packet::Publish(Publish {
            dup,
            qos: self.qos,
            retain: false,
            topic: channel(publisher.channel).into(),
            packet_id: one.packet_id,
            properties: None,
            payload: publisher.text(one.number).into(),
        })
    }

    /// Handles an acknowledgement, and returns what answers it.
    fn acknowledged(
        &mut self,
        publisher: &Publisher,
        packet: &Packet,
    ) -> Result<Option<Packet>, Violation> {
        let (Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack)) = packet else {
            return Err(format!("not for a publisher: {packet:?}"));
        };
        let id = ack.packet_id;
        let is_good = ack.reason.0 < 0x80 || matches!(packet, Packet::PubComp(_));
        let Some(index) = self.in_flight.iter().position(|one| one.packet_id == id) else {
            return Err(format!(
                "acknowledges nothing that is in flight: {packet:?}"
            ));
        };
        if !is_good {
            return Err(format!("a message was refused: {packet:?}"));
        }
        if let Packet::PubRec(_) = packet {
            if let Some(one) = self.in_flight.get_mut(index) {
                one.is_released = true;
            }
            return Ok(Some(Packet::PubRel(Ack::new(id, Reason::SUCCESS))));
        }
        self.in_flight.remove(index);
        publisher.reporter.progress().published += 1;
        Ok(None)
    }
}
