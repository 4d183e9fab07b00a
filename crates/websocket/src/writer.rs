//! A message that is written piece by piece.

use std::future::poll_fn;
use std::sync::Arc;

use offhook_protocol::{CloseCode, Kind, Outgoing, SendError};

use crate::driver::Driver;
use crate::error::Error;

/// Writes one message piece by piece; see [`Sender::send_stream`](crate::Sender::send_stream).
///
/// ```no_run
/// # async fn example(socket: offhook::WebSocket) -> Result<(), offhook::Error> {
/// use offhook::protocol::Kind;
///
/// let mut writer = socket.send_stream(Kind::Binary).await?;
/// writer.write(b"a file").await?;
/// writer.write(b" of any").await?;
/// writer.finish(b" size").await?;
/// # Ok(())
/// # }
/// ```
///
/// WebSocket has no way to withdraw a message that was started: dropping the writer between the
/// first piece and the end of [`finish`](Self::finish) closes the connection with 1011.
#[derive(Debug)]
#[must_use = "finish the message"]
pub struct MessageWriter {
    driver: Arc<Driver>,
    kind: Kind,
    begun: bool,
    finished: bool,
}

impl MessageWriter {
    pub(crate) async fn begin(driver: Arc<Driver>, kind: Kind) -> Result<Self, Error> {
        poll_fn(|cx| driver.poll_begin_stream(cx)).await?;
        Ok(Self {
            driver,
            kind,
            begun: false,
            finished: false,
        })
    }

    /// Sends the next piece as a fragment. Waits first while more than the send buffer is unsent.
    /// Cancel-safe.
    ///
    /// # Errors
    /// The connection is closing or closed.
    pub async fn write<'a>(&mut self, piece: impl Into<Outgoing<'a>>) -> Result<(), Error> {
        self.piece(piece.into(), false).await
    }

    /// Sends the last piece, which may be empty.
    ///
    /// # Errors
    /// The connection is closing or closed.
    pub async fn finish<'a>(mut self, piece: impl Into<Outgoing<'a>>) -> Result<(), Error> {
        self.piece(piece.into(), true).await?;
        self.finished = true;
        self.driver.end_stream();
        Ok(())
    }

    /// Ends the message after the pieces written so far.
    ///
    /// # Errors
    /// The connection is closing or closed.
    pub async fn end(self) -> Result<(), Error> {
        match self.kind {
            Kind::Text => self.finish("").await,
            Kind::Binary => self.finish(&[]).await,
        }
    }

    async fn piece(&mut self, piece: Outgoing<'_>, last: bool) -> Result<(), Error> {
        if piece.kind() != self.kind {
            return Err(SendError::KindMismatch.into());
        }
        let mut piece = Some(piece);
        poll_fn(|cx| {
            self.driver.poll_piece(cx, |outbound| match piece.take() {
                Some(piece) => outbound.send_piece(piece, last),
                None => Ok(()),
            })
        })
        .await?;
        self.begun = true;
        Ok(())
    }
}

impl Drop for MessageWriter {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.driver.end_stream();
        if !self.begun {
            return;
        }
        // The connection may already be closing: the first close stands.
        let _closing = self
            .driver
            .begin_close(CloseCode::INTERNAL_ERROR, "message not finished");
    }
}
