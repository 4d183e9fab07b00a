//! A message that is received piece by piece.

use offhook_protocol::{Chunk, Event, Kind};

use crate::driver::{Turn, Turns};
use crate::error::Error;
use crate::message::Message;
use crate::socket::WebSocket;

/// Receives one message piece by piece; see
/// [`WebSocket::recv_stream`](crate::WebSocket::recv_stream).
///
/// ```no_run
/// # async fn example(mut socket: offhook::WebSocket) -> Result<(), offhook::Error> {
/// while let Some(mut message) = socket.recv_stream().await? {
///     let mut length = 0;
///     while let Some(piece) = message.next().await? {
///         length += piece.len();
///     }
///     println!("a message of {length} bytes");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MessageReader<'a> {
    socket: &'a mut WebSocket,
    kind: Kind,
    first: Option<Message>,
    done: bool,
}

impl<'a> MessageReader<'a> {
    pub(crate) async fn begin(socket: &'a mut WebSocket) -> Result<Option<Self>, Error> {
        if let Some(message) = socket.next_ready() {
            let kind = message.kind();
            return Ok(Some(Self {
                socket,
                kind,
                first: Some(message),
                done: true,
            }));
        }
        let driver = socket.driver();
        let first = Turns::new(driver, |cx| {
            driver.poll_turn(cx, Turn::CHUNKS, |event| match event {
                Event::Message(message) => Some((message.into(), true)),
                // The rest of a message whose reader was dropped does not start a new one.
                Event::Chunk(chunk) if chunk.first => Some(owned(chunk)),
                Event::Chunk(_) | Event::Ping(_) | Event::Pong { .. } | Event::Close(_) => None,
            })
        })
        .await?;
        Ok(first.map(|(message, done)| {
            let kind = message.kind();
            Self {
                socket,
                kind,
                first: Some(message),
                done,
            }
        }))
    }

    /// The message's type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the message is complete. Known as soon as the last piece was returned by
    /// [`next`](Self::next), so that a bridge can [finish](crate::MessageWriter::finish) with it.
    /// An empty last piece is not returned; then it is known only when `next` returns `None`.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done && self.first.is_none()
    }

    /// The next piece; `None` after the last. Text is split between characters. Cancel-safe.
    ///
    /// # Errors
    /// As [`recv`](crate::WebSocket::recv). A connection that ends in the middle of a message is
    /// also an error.
    pub async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
                return Ok(Some(first));
            }
            if self.done {
                return Ok(None);
            }
            let driver = self.socket.driver();
            let next = Turns::new(driver, |cx| {
                driver.poll_turn(cx, Turn::CHUNKS, |event| match event {
                    Event::Chunk(chunk) => Some(owned(chunk)),
                    Event::Message(_) | Event::Ping(_) | Event::Pong { .. } | Event::Close(_) => {
                        None
                    }
                })
            });
            let Some((piece, last)) = next.await? else {
                return Err(self.socket.driver().closed_error());
            };
            self.done = last;
            self.first = Some(piece);
        }
    }
}

fn owned(chunk: Chunk<'_>) -> (Message, bool) {
    (chunk.data.into(), chunk.last)
}
