//! The end of a connection, and the reason that the client gets for it.

use super::{
    Reason,
    connecting::seconds,
    dialect::{Mqtt, Phase},
    packet::{Invalid, Packet, Properties, Reasoned, Version},
    refusals,
};
use crate::dialect::Intent;

impl Mqtt {
    /// A reason string, if the client accepts it (§3.1.2.11.7) and its packet size allows it.
    pub(super) fn reason_string(&self, why: &str) -> Option<Box<Properties>> {
        let has_room = self.client.packet_size > why.len().saturating_add(64);
        let wanted = self.client.version == Version::V5 && self.client.wants_reasons && has_room;
        wanted.then(|| {
            Box::new(Properties {
                reason_string: Some(why.into()),
                ..Properties::default()
            })
        })
    }

    pub(super) fn protocol_error(&mut self, why: &'static str) {
        self.fail(Invalid::new(Reason::PROTOCOL_ERROR, why));
    }

    /// Ends the connection because of an invalid packet.
    pub(super) fn fail(&mut self, Invalid { reason, why }: Invalid) {
        if self.phase == Phase::New {
            // Before a valid CONNECT, only an unsupported version has an answer (§3.1.2.2).
            if reason == Reason::UNSUPPORTED_VERSION {
                self.refuse_connect(reason, why);
            }
            return self.end(reason, why);
        }
        self.disconnect_for(reason, why);
    }

    /// Ends the connection. A client of 5.0 gets the reason in a DISCONNECT.
    pub(super) fn disconnect_for(&mut self, reason: Reason, why: &'static str) {
        if let Some(disconnect) = self.disconnection(reason, why) {
            self.say(&disconnect);
        }
        self.end(reason, why);
    }

    pub(super) fn disconnection(&self, reason: Reason, why: &str) -> Option<Packet> {
        let properties = self.reason_string(why);
        let has_reasons = self.client.version == Version::V5 && self.phase == Phase::Open;
        has_reasons.then_some(Packet::Disconnect(Reasoned { reason, properties }))
    }

    /// The server stops: the client gets the address of another one, if there is one.
    pub(super) fn refer(&mut self) {
        let why = "the server is shutting down";
        let reference = self.reference.clone();
        let has_room =
            |reference: &str| self.client.packet_size > reference.len().saturating_add(64);
        let is_new = self.client.version == Version::V5 && self.phase == Phase::Open;
        let Some(reference) = reference.filter(|reference| is_new && has_room(reference)) else {
            return self.disconnect_for(Reason::SERVER_SHUTTING_DOWN, why);
        };
        let reason = Reason::USE_ANOTHER_SERVER;
        self.say(&Packet::Disconnect(Reasoned {
            reason,
            properties: Some(Box::new(Properties {
                server_reference: Some(reference),
                ..Properties::default()
            })),
        }));
        self.end(Reason::SERVER_SHUTTING_DOWN, why);
    }

    pub(super) fn end(&mut self, reason: Reason, why: &'static str) {
        if self.phase == Phase::Ended {
            return;
        }
        self.phase = Phase::Ended;
        self.decoder.clear();
        let code = refusals::close_code(reason);
        self.queue.push_back(Intent::Close { code, reason: why });
    }

    /// The client leaves (§3.14).
    pub(super) fn disconnect(&mut self, reasoned: &Reasoned) {
        let expiry = reasoned
            .properties
            .as_ref()
            .and_then(|given| given.session_expiry);
        if let Some(expiry) = expiry {
            // §3.14.2.2.2: an expiry of 0 in the CONNECT cannot be raised here.
            if self.client.session_expiry == 0 && expiry > 0 {
                return self.protocol_error("a session expiry of 0 cannot be changed");
            }
            self.queue.push_back(Intent::Keep(seconds(expiry)));
        }
        // §3.14.4: with any other reason, the will is published.
        if reasoned.reason == Reason::SUCCESS {
            self.queue.push_back(Intent::Leave);
        }
        self.end(Reason::SUCCESS, "the client disconnected");
    }
}
