//! Handles the client's packets, including its events.

use offhook_engine::{Command, ErrorCode, Refusal};

use super::{
    connecting::Recovery,
    dialect::{Call, Phase, Purpose, SocketIo},
    engine_io::{EngineIo, Heard},
    events::{self, Ask},
    packet::{Invalid, Kind, Packet},
};
use crate::dialect::{Incoming, Intent};

impl SocketIo {
    pub(super) fn take_message(&mut self, incoming: Incoming<'_>) -> Result<(), Invalid> {
        let text = match incoming {
            Incoming::Text(text) => text,
            Incoming::Binary(bytes) => {
                if let Some(packet) = self.decoder.binary(bytes)? {
                    self.take(&packet)?;
                }
                return Ok(());
            }
        };
        match EngineIo::read(text)? {
            Heard::Message(text) => match self.decoder.text(text)? {
                Some(packet) => self.take(&packet),
                None => Ok(()),
            },
            Heard::Nothing => Ok(()),
            Heard::Close => {
                if self.recovery.is_none() {
                    self.queue.push_back(Intent::Leave);
                }
                self.end(1000, "the client closed the connection");
                Ok(())
            }
        }
    }

    fn take(&mut self, packet: &Packet) -> Result<(), Invalid> {
        match (self.phase, packet.kind) {
            (Phase::New | Phase::Open, Kind::Connect) => self.enter(packet),
            (Phase::Open, Kind::Event) => self.take_event(packet),
            (Phase::Open, Kind::Ack) => self.acknowledged(packet),
            (Phase::Open, Kind::Disconnect) => self.leave(&packet.namespace),
            (Phase::Open, Kind::ConnectError) => {
                return Err(Invalid("only the server sends CONNECT_ERROR"));
            }
            (Phase::New | Phase::Asked, _) => return Err(Invalid("connect to a namespace first")),
            (Phase::Ended, _) => {}
        }
        Ok(())
    }

    fn take_event(&mut self, packet: &Packet) {
        let Some(namespace) = self.spaces.find(&packet.namespace) else {
            let detail = "the namespace is not connected";
            let refusal = Refusal::new(ErrorCode::BadRequest, detail);
            return self.queue.push_back(Intent::Refuse { id: None, refusal });
        };
        let event = events::name(packet);
        let call = Call {
            namespace,
            ack: packet.ack,
            is_free: events::is_free(&event),
            event,
        };
        match events::read(packet, &self.settings) {
            Ok(Ask::Do(command)) => {
                let id = self.number(Purpose::Call(call));
                self.queue.push_back(Intent::Command { id, command });
            }
            Ok(Ask::Subscribe(wish, token)) => self.subscribe(call, wish, token),
            Ok(Ask::Unsubscribe(target)) => self.unsubscribe(call, &target),
            Ok(Ask::Room(wish)) => self.take_room_event(call, wish),
            Ok(Ask::Refresh(token)) => {
                let id = self.number(Purpose::Call(call));
                self.queue.push_back(Intent::Refresh { id, token });
            }
            Err(refusal) => self.refuse(call, refusal),
        }
    }

    /// Handles a DISCONNECT from a namespace.
    fn leave(&mut self, namespace: &str) {
        if self.spaces.find(namespace).is_none() {
            return;
        }
        let left = self.spaces.leave(namespace);
        let recovers = |recovery: &Recovery| *recovery.namespace == *namespace;
        if self.recovery.as_ref().is_some_and(recovers) {
            // A client that disconnects does not resume this session.
            self.queue.push_back(Intent::Keep(None));
        }
        if self.spaces.is_empty() {
            self.queue.push_back(Intent::Leave);
            return self.end(1000, "the client disconnected");
        }
        for subscription in left {
            self.waiting.remove(&subscription);
            let id = self.number(Purpose::Leave);
            let command = Command::Unsubscribe { subscription };
            self.queue.push_back(Intent::Command { id, command });
        }
    }
}
