//! Echoes the messages of Engine.IO.

use std::{collections::VecDeque, time::Instant};

use offhook_dialects::{
    Connect, Dialect, Encoding, Incoming, Intent, Payload, Welcome,
    socketio::{
        Due, EngineIo, Heard,
        packet::{Engine, Invalid},
    },
};
use offhook_engine::{CloseReason, CommandId, Notice, Refusal};
use offhook_server::Config;

use super::{NoPublications, begin, engine_io};

#[derive(Debug)]
struct Echo {
    engine: EngineIo,
    queue: VecDeque<Intent>,
}

pub(super) fn new(config: &Config, can_upgrade: bool) -> Box<dyn Dialect> {
    let mut engine = engine_io(config, can_upgrade);
    engine.begin(Instant::now());
    let queue = VecDeque::from([begin()]);
    Box::new(Echo { engine, queue })
}

impl Echo {
    fn take(&mut self, incoming: Incoming<'_>) -> Result<(), Invalid> {
        let echo = match incoming {
            Incoming::Binary(bytes) => Payload::Binary(bytes.to_vec()),
            Incoming::Text(text) => match EngineIo::read(text)? {
                Heard::Message(text) => Engine::Message(text).write().into(),
                Heard::Nothing => return Ok(()),
                Heard::Close => {
                    self.end(1000, "the client closed the connection");
                    return Ok(());
                }
            },
        };
        self.queue.push_back(Intent::Say(echo));
        Ok(())
    }

    fn end(&mut self, code: u16, reason: &'static str) {
        self.engine.end();
        self.queue.push_back(Intent::Close { code, reason });
    }
}

impl Dialect for Echo {
    fn encoding(&self, _connect: &Connect) -> &'static dyn Encoding {
        &NoPublications
    }

    fn opened(&mut self, id: &str, out: &mut Vec<Payload>) {
        out.push(self.engine.greeting(id));
    }

    fn receive(&mut self, incoming: Incoming<'_>, now: Instant, intents: &mut Vec<Intent>) {
        self.engine.heard_something(now);
        if let Err(Invalid(reason)) = self.take(incoming) {
            self.end(1002, reason);
        }
        intents.extend(self.queue.drain(..));
    }

    fn poll_intent(&mut self) -> Option<Intent> {
        self.queue.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant, intents: &mut Vec<Intent>) {
        match self.engine.handle_timeout(now) {
            Some(Due::Ping(ping)) => intents.push(Intent::Say(ping)),
            Some(Due::Dead) => intents.push(Intent::Close {
                code: 1008,
                reason: "no pong came in time",
            }),
            None => {}
        }
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
