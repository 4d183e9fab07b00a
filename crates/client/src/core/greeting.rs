//! Who we are: said on each new connection, by a token or by the newest sealed session.

use std::time::Duration;

use offhook_dialects::native::client::CommandId;
use offhook_dialects::native::{Connect, Request};

use super::connection::{Phase, Resuming};
use super::{Asked, Core};
use crate::connection_event::{ConnectionEvent, Recovery};
use crate::error::{Error, Refused};

impl Core {
    /// The greeting, if it is its turn.
    pub(super) fn greeting(&mut self) -> Option<String> {
        let Phase::Greeting { sent: None, .. } = &self.connection.phase else {
            return None;
        };
        let resume = self.connection.resume.as_deref().map(str::to_owned);
        let resuming = if resume.is_some() {
            Resuming::Yes
        } else {
            Resuming::No
        };
        let id = self.ask(Asked::Hello);
        let positions = match resuming {
            Resuming::Yes => self.subscriptions.positions(),
            Resuming::No => Vec::new(),
        };
        if let Phase::Greeting { sent, .. } = &mut self.connection.phase {
            *sent = Some((id, resuming));
        }
        Some(super::encode(Request::Connect(Connect {
            id,
            token: self.connection.token.as_deref().map(str::to_owned),
            resume,
            info: Default::default(),
            positions: positions
                .into_iter()
                .map(|(channel, position)| (channel.into(), position))
                .collect(),
            lineage: false,
        })))
    }

    pub(super) fn welcomed(
        &mut self,
        id: CommandId,
        session: &str,
        user: Option<&str>,
        resume: &str,
    ) {
        let Phase::Greeting {
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

    /// The server refused the greeting.
    pub(super) fn unwelcome(&mut self, refused: Refused) {
        let Phase::Greeting { sent, .. } = &mut self.connection.phase else {
            return;
        };
        let resuming = sent.take().is_some_and(|(_, how)| how == Resuming::Yes);
        let for_good = !Error::from(refused.clone()).is_retryable();
        if !(resuming && for_good) {
            self.lose(refused.into());
            return;
        }
        // The sealed session is no good: who we are has to be said again, on this connection if it is
        // known already.
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

/// A server that can't seal a session says so by an empty one.
fn seal(resume: &str) -> Option<Box<str>> {
    (!resume.is_empty()).then(|| resume.into())
}
