//! Who we are: said on each new line, by a token or by the newest sealed session.

use std::time::Duration;

use offhook_dialects::native::client::CommandId;
use offhook_dialects::native::{Connect, Request};

use super::line::{Phase, Resuming};
use super::{Asked, Core};
use crate::error::{Error, Refused};
use crate::line_event::{LineEvent, Recovery};

impl Core {
    /// The greeting, if it is its turn.
    pub(super) fn greeting(&mut self) -> Option<String> {
        let Phase::Greeting { sent: None, .. } = &self.line.phase else {
            return None;
        };
        let resume = self.line.resume.as_deref().map(str::to_owned);
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
        if let Phase::Greeting { sent, .. } = &mut self.line.phase {
            *sent = Some((id, resuming));
        }
        Some(super::encode(Request::Connect(Connect {
            id,
            token: self.line.token.as_deref().map(str::to_owned),
            resume,
            info: Default::default(),
            positions,
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
        } = self.line.phase
        else {
            return;
        };
        if id != asked {
            return;
        }
        self.asked.remove(&id);
        self.line.phase = Phase::Online { since: self.now };
        self.line.resume = seal(resume);
        let recovery = match resuming {
            Resuming::Yes => Recovery::Resumed,
            Resuming::No if self.line.known => Recovery::Positions,
            Resuming::No => Recovery::New,
        };
        self.line.known = true;
        self.tell(LineEvent::Open {
            session: session.into(),
            user: user.map(Into::into),
            recovery,
        });
        self.begin_subscriptions(resuming);
    }

    pub(super) fn sealed(&mut self, resume: &str) {
        self.line.resume = seal(resume);
        self.subscriptions.seal();
    }

    /// The server refused the greeting.
    pub(super) fn unwelcome(&mut self, refused: Refused) {
        let Phase::Greeting { sent, .. } = &mut self.line.phase else {
            return;
        };
        let resuming = sent.take().is_some_and(|(_, how)| how == Resuming::Yes);
        let for_good = !Error::from(refused.clone()).is_retryable();
        if !(resuming && for_good) {
            self.lose(refused.into());
            return;
        }
        // The sealed session is no good: who we are has to be said again, on this line if it is
        // known already.
        self.line.resume = None;
        if self.settings.has_token_source {
            let until = self.now;
            let cause = refused.into();
            self.forget_line();
            self.line.phase = Phase::Waiting { until };
            self.tell(LineEvent::Lost {
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
