//! The program that the test suite of Socket.IO expects: it sends `auth` back, echoes `message` as
//! `message-back`, and acknowledges `message-with-ack` with its arguments. The namespaces are `/` and
//! `/custom`.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use offhook_dialects::{
    Connect, Dialect, Encoding, Incoming, Intent, Payload, Welcome,
    socketio::{
        Due, EngineIo, Heard,
        packet::{Decoder, Invalid, Kind, MAIN, Packet},
    },
};
use offhook_engine::{CloseReason, CommandId, Notice, Refusal};
use offhook_server::Config;
use serde_json::value::RawValue;

use super::{NoPublications, begin, engine_io};

/// How long a client may take to connect to a namespace.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// How long after its CONNECT a client gets `auth`.
const GREETS_AFTER: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct Program {
    engine: EngineIo,
    decoder: Decoder,
    /// The id of the client.
    id: String,
    namespaces: BTreeSet<Box<str>>,
    /// When the client must have connected to a namespace; none once it has.
    connects_by: Option<Instant>,
    /// The `auth` events that follow a CONNECT, and when. The suite reads one message at a time, so
    /// they are not sent together with the answer.
    greetings: VecDeque<(Instant, Packet)>,
    queue: VecDeque<Intent>,
}

pub(super) fn new(config: &Config, can_upgrade: bool) -> Box<dyn Dialect> {
    let now = Instant::now();
    let mut engine = engine_io(config, can_upgrade);
    engine.begin(now);
    Box::new(Program {
        engine,
        decoder: Decoder::new(config.messages.max_bytes),
        id: String::new(),
        namespaces: BTreeSet::new(),
        connects_by: Some(now + CONNECT_WITHIN),
        greetings: VecDeque::new(),
        queue: VecDeque::from([begin()]),
    })
}

impl Program {
    fn take(&mut self, incoming: Incoming<'_>, now: Instant) -> Result<(), Invalid> {
        let packet = match incoming {
            Incoming::Binary(bytes) => self.decoder.binary(bytes)?,
            Incoming::Text(text) => match EngineIo::read(text)? {
                Heard::Message(text) => self.decoder.text(text)?,
                Heard::Nothing => None,
                Heard::Close => {
                    self.end(1000, "the client closed the connection");
                    None
                }
            },
        };
        match packet {
            Some(packet) => self.handle(packet, now),
            None => Ok(()),
        }
    }

    fn handle(&mut self, packet: Packet, now: Instant) -> Result<(), Invalid> {
        match packet.kind {
            Kind::Connect => {
                self.connect(&packet, now);
                Ok(())
            }
            Kind::Disconnect => {
                self.namespaces.remove(&packet.namespace);
                Ok(())
            }
            Kind::Event if self.namespaces.contains(&packet.namespace) => self.echo(packet),
            Kind::Event | Kind::Ack => Ok(()),
            Kind::ConnectError => Err(Invalid("only the server sends CONNECT_ERROR")),
        }
    }

    fn connect(&mut self, packet: &Packet, now: Instant) {
        let namespace = &*packet.namespace;
        if ![MAIN, "/custom"].contains(&namespace) {
            let error = r#"{"message":"Invalid namespace"}"#;
            return self.say(Packet::new(Kind::ConnectError, namespace, error));
        }
        self.connects_by = None;
        self.namespaces.insert(namespace.into());
        let entered = format!("{{\"sid\":\"{}\"}}", self.id);
        self.say(Packet::new(Kind::Connect, namespace, entered));
        let auth = if packet.json.is_empty() {
            "{}"
        } else {
            &packet.json
        };
        let event = format!("[\"auth\",{auth}]");
        let greeting = Packet::new(Kind::Event, namespace, event);
        self.greetings.push_back((now + GREETS_AFTER, greeting));
    }

    fn echo(&mut self, packet: Packet) -> Result<(), Invalid> {
        let arguments: Vec<&RawValue> =
            serde_json::from_str(&packet.json).map_err(|_| Invalid("an event is an array"))?;
        let Some((name, arguments)) = arguments.split_first() else {
            return Ok(());
        };
        let arguments = arguments.iter().map(|argument| argument.get());
        let (kind, first) = match (name.get(), packet.ack) {
            ("\"message\"", _) => (Kind::Event, Some("\"message-back\"")),
            ("\"message-with-ack\"", Some(_)) => (Kind::Ack, None),
            _ => return Ok(()),
        };
        let array: Vec<_> = first.into_iter().chain(arguments).collect();
        let answer = Packet {
            kind,
            json: format!("[{}]", array.join(",")).into(),
            ack: packet.ack.filter(|_| kind == Kind::Ack),
            namespace: packet.namespace,
            attachments: packet.attachments,
        };
        self.say(answer);
        Ok(())
    }

    fn say(&mut self, packet: Packet) {
        let mut messages = Vec::new();
        packet.write(&mut messages);
        self.queue.extend(messages.into_iter().map(Intent::Say));
    }

    fn end(&mut self, code: u16, reason: &'static str) {
        self.engine.end();
        self.connects_by = None;
        self.queue.push_back(Intent::Close { code, reason });
    }
}

impl Dialect for Program {
    fn encoding(&self, _connect: &Connect) -> &'static dyn Encoding {
        &NoPublications
    }

    fn opened(&mut self, id: &str, out: &mut Vec<Payload>) {
        id.clone_into(&mut self.id);
        out.push(self.engine.greeting(id));
    }

    fn receive(&mut self, incoming: Incoming<'_>, now: Instant, intents: &mut Vec<Intent>) {
        self.engine.heard_something(now);
        if let Err(Invalid(reason)) = self.take(incoming, now) {
            self.end(1002, reason);
        }
        intents.extend(self.queue.drain(..));
    }

    fn poll_intent(&mut self) -> Option<Intent> {
        self.queue.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let greeting = self.greetings.front().map(|(at, _)| *at);
        let all = [self.engine.poll_timeout(), self.connects_by, greeting];
        all.into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant, intents: &mut Vec<Intent>) {
        match self.engine.handle_timeout(now) {
            Some(Due::Ping(ping)) => intents.push(Intent::Say(ping)),
            Some(Due::Dead) => self.end(1008, "no pong came in time"),
            None => {}
        }
        while self.greetings.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, greeting)) = self.greetings.pop_front() {
                self.say(greeting);
            }
        }
        if self.connects_by.is_some_and(|at| at <= now) {
            self.end(1008, "no namespace was connected in time");
        }
        intents.extend(self.queue.drain(..));
    }

    fn has_tokens(&self) -> bool {
        false
    }

    fn welcome(&mut self, _welcome: &Welcome<'_>, _out: &mut Vec<Payload>) {}

    fn refused(&mut self, _id: Option<CommandId>, _refusal: &Refusal, _out: &mut Vec<Payload>) {
        self.end(1013, "the server is busy");
    }

    fn notice(&mut self, _notice: &Notice, _out: &mut Vec<Payload>) {}

    fn close_code(&self, _reason: CloseReason) -> u16 {
        1008
    }
}
