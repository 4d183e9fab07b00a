//! The task of a client: opens connections, transfers messages and waits, as the core says.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use offhook::{Open, WebSocket};
use tokio::sync::watch;
use tokio::time::sleep_until;

use crate::conversation::{converse, lost, now};
use crate::core::{Form, Step};
use crate::error::Error;
use crate::shared::Shared;
use crate::token::Tokens;

type Opening = Pin<Box<dyn Future<Output = Result<WebSocket, offhook::Error>> + Send>>;

/// Opens connections.
pub(crate) struct Way(Box<dyn FnMut(u32) -> Opening + Send>);

impl Way {
    pub(crate) fn new(mut open: impl Open + Send + 'static) -> Self {
        Self(Box::new(move |attempt| Box::pin(open.open(attempt))))
    }
}

pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) way: Way,
    pub(crate) tokens: Tokens,
    /// Dropped with the driver.
    pub(crate) done: watch::Sender<()>,
}

impl Driver {
    pub(crate) async fn drive(mut self) {
        loop {
            match self.shared.with(|core| core.step()) {
                Step::Wait => self.wait().await,
                Step::Open { token_wanted } => {
                    if let Some(socket) = self.open(token_wanted).await {
                        converse(&self.shared, &mut self.tokens, socket).await;
                    }
                }
                // There is no connection.
                Step::Talk => lost(&self.shared, offhook::Error::Closing),
                Step::End => break,
            }
        }
        self.shared.finish();
        drop(self.done);
    }

    async fn wait(&mut self) {
        let Some(at) = self.shared.with(|core| core.poll_timeout()) else {
            return self.shared.driver.notified().await;
        };
        tokio::select! {
            () = sleep_until(at.into()) => {}
            () = self.shared.driver.notified() => {}
        }
        self.shared.with(|core| core.handle_timeout(now()));
    }

    /// Opens a connection, unless the user closes the client in the meantime.
    async fn open(&mut self, token_wanted: bool) -> Option<WebSocket> {
        let attempt = self.shared.with(|core| core.attempt());
        let (tokens, way) = (&mut self.tokens, &mut self.way);
        let opening = async {
            let token = tokens.fetch(token_wanted).await?;
            let socket = (way.0)(attempt).await?;
            Ok::<_, Error>((token, socket))
        };
        tokio::pin!(opening);
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break opened,
                () = self.shared.driver.notified() => {
                    if self.shared.with(|core| core.step()) == Step::End {
                        return None;
                    }
                }
            }
        };
        self.shared.with(|core| match opened {
            Ok((token, socket)) => {
                core.handle_opened(token, Form::of(socket.protocol()), now());
                Some(socket)
            }
            Err(error) => {
                core.handle_failed(error, now());
                None
            }
        })
    }
}
