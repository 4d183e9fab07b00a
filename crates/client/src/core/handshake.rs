//! The `connect` on each new connection, with a token or with the newest resume token.

use std::time::Duration;

use offhook_dialects::Payload;
use offhook_dialects::native::client::CommandId;
use offhook_dialects::native::{Connect, Request};

use super::connection::{Phase, Resuming};
use super::{Asked, Core};
use crate::connection_event::{ConnectionEvent, Recovery};
use crate::error::{Error, Refused};

impl Core {
    /// The `connect`, if it has to be sent now.
    pub(super) fn connect_message(&mut self) -> Option<Payload> {
        let Phase::Handshake { sent: None, .. } = &self.connection.phase else {
            return None;
        };
        let resume = self.connection.resume.as_deref().map(str::to_owned);
        let resuming = if resume.is_some() {
            Resuming::Yes
        } else {
            Resuming::No
        };
        let id = self.ask(Asked::Connect);
        let positions = match resuming {
            Resuming::Yes => self.subscriptions.positions(),
            Resuming::No => Vec::new(),
        };
        if let Phase::Handshake { sent, .. } = &mut self.connection.phase {
            *sent = Some((id, resuming));
        }
        Some(super::encode(Request::Connect(Connect {
            id,
            token: self.connection.token.as_deref().map(str::to_owned),
            resume,
            info: Default::default(),
            positions,
            lineage: true,
            named: None,
        })))
    }

    pub(super) fn welcomed(
        &mut self,
        id: CommandId,
        session: &str,
        user: Option<&str>,
        resume: &str,
    ) {
        let Phase::Handshake {
            sent: Some((asked, resuming)),
            ..
        } = self.connection.phase
        else {
            return;
        };
        if id != asked {
            return;
        }
        self.asked.remove(&id);
        self.connection.phase = Phase::Online { since: self.now };
        self.connection.resume = seal(resume);
        let recovery = match resuming {
            Resuming::Yes => Recovery::Resumed,
            Resuming::No if self.connection.known => Recovery::Positions,
            Resuming::No => Recovery::New,
        };
        self.connection.known = true;
        self.tell(ConnectionEvent::Open {
            session: session.into(),
            user: user.map(Into::into),
            recovery,
        });
        self.begin_subscriptions(resuming);
    }

    pub(super) fn sealed(&mut self, resume: &str) {
        self.connection.resume = seal(resume);
        self.subscriptions.seal();
    }

    /// The server refused the `connect`.
    pub(super) fn unwelcome(&mut self, refused: Refused) {
        let Phase::Handshake { sent, .. } = &mut self.connection.phase else {
            return;
        };
        let resuming = sent.take().is_some_and(|(_, how)| how == Resuming::Yes);
        let for_good = !Error::from(refused.clone()).is_retryable();
        if !(resuming && for_good) {
            self.lose(refused.into());
            return;
        }
        // The resume token cannot be used: connect without it, on this connection unless a new
        // authentication token has to be fetched first.
        self.connection.resume = None;
        if self.settings.has_token_source {
            let until = self.now;
            let cause = refused.into();
            self.forget_connection();
            self.connection.phase = Phase::Waiting { until };
            self.tell(ConnectionEvent::Lost {
                cause,
                pause: Duration::ZERO,
            });
        }
    }
}

/// An empty token means that the server has none for this session.
fn seal(resume: &str) -> Option<Box<str>> {
    (!resume.is_empty()).then(|| resume.into())
}
