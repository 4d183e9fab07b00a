//! A connection driven by a script.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use offhook_protocol::{
    CloseFrame, Config, Connection, Deflate, Error, Event, Input, Message, ReceiveMode,
};

use crate::{Clock, Frame};

/// An event that a connection reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A whole text message.
    Text(String),
    /// A whole binary message.
    Binary(Vec<u8>),
    /// A piece of a message: bytes, first, last.
    Chunk(Vec<u8>, bool, bool),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong, and whether it had a round-trip time.
    Pong(Vec<u8>, bool),
    /// The peer's Close.
    Close(CloseFrame),
    /// The connection was failed.
    Error(Error),
}

impl Heard {
    /// A text message.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// A binary message.
    #[must_use]
    pub fn binary(bytes: impl AsRef<[u8]>) -> Self {
        Self::Binary(bytes.as_ref().to_vec())
    }

    /// A Close with a code and a reason.
    #[must_use]
    pub fn close(code: u16, reason: &str) -> Self {
        Self::Close(CloseFrame {
            code: code.into(),
            reason: reason.into(),
        })
    }
}

impl From<Event<'_>> for Heard {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message(Message::Text(text)) => Self::Text(text.into_owned()),
            Event::Message(Message::Binary(bytes)) => Self::Binary(bytes.into_owned()),
            Event::Chunk(chunk) => {
                Self::Chunk(chunk.data.as_bytes().to_vec(), chunk.first, chunk.last)
            }
            Event::Ping(payload) => Self::Ping(payload.into_owned()),
            Event::Pong { payload, rtt } => Self::Pong(payload.into_owned(), rtt.is_some()),
            Event::Close(frame) => Self::Close(frame),
        }
    }
}

/// A connection under test, and the script that plays its peer.
#[derive(Debug)]
pub struct Talk {
    /// The connection under test.
    pub connection: Connection,
    /// The connection's clock.
    pub clock: Clock,
}

impl Talk {
    /// Tests a server with the default configuration.
    #[must_use]
    pub fn with_server() -> Self {
        Self::with_server_of(Config::default())
    }

    /// Tests a client with the default configuration.
    #[must_use]
    pub fn with_client() -> Self {
        Self::with_client_of(Config::default())
    }

    /// Tests a server.
    #[must_use]
    pub fn with_server_of(config: Config) -> Self {
        let clock = Clock::default();
        Self {
            connection: Connection::server(Arc::new(config), clock.now()),
            clock,
        }
    }

    /// Tests a client.
    #[must_use]
    pub fn with_client_of(config: Config) -> Self {
        let clock = Clock::default();
        let keys = Arc::new(|| [0xa5, 0x5a, 0x0f, 0xf0]);
        Self {
            connection: Connection::client(Arc::new(config), keys, clock.now()),
            clock,
        }
    }

    /// Enables permessage-deflate, as negotiated.
    #[must_use]
    pub fn deflating(mut self, deflate: Deflate) -> Self {
        self.connection = self.connection.with_deflate(deflate);
        self
    }

    /// Receives in chunks.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.connection.set_receive_mode(ReceiveMode::Chunks);
        self
    }

    /// Sends these frames to the connection in one segment; returns the events it reports.
    pub fn hears(&mut self, frames: impl IntoIterator<Item = Frame>) -> Vec<Heard> {
        let bytes = self.encode(frames);
        self.hears_bytes(&bytes)
    }

    /// Sends these frames to the connection, split into segments of `size` bytes.
    pub fn hears_cut(
        &mut self,
        frames: impl IntoIterator<Item = Frame>,
        size: usize,
    ) -> Vec<Heard> {
        let bytes = self.encode(frames);
        bytes
            .chunks(size.max(1))
            .flat_map(|segment| self.hears_bytes(segment))
            .collect()
    }

    /// The frames as bytes, masked if they are for a server.
    #[must_use]
    pub fn encode(&self, frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
        let masked = self.connection.is_server();
        frames
            .into_iter()
            .flat_map(|frame| frame.encode(masked))
            .collect()
    }

    /// Sends these bytes to the connection in one segment.
    ///
    /// # Panics
    /// If the connection leaves bytes in its input.
    pub fn hears_bytes(&mut self, bytes: &[u8]) -> Vec<Heard> {
        let mut bytes = bytes.to_vec();
        let mut input = Input::new(&mut bytes, self.clock.now());
        let mut heard = Vec::new();
        loop {
            match self.connection.receive(&mut input) {
                Ok(Some(event)) => heard.push(event.into()),
                Ok(None) => break,
                Err(error) => heard.push(Heard::Error(error)),
            }
        }
        assert!(
            input.is_empty(),
            "the connection leaves nothing in its input"
        );
        heard
    }

    /// The frames that the connection transmits, each masked as its role requires.
    ///
    /// # Panics
    /// If it writes something other than frames, or masks incorrectly.
    pub fn says(&mut self) -> Vec<Frame> {
        let written = self.written();
        let frames = Frame::decode_all(&written);
        let client = !self.connection.is_server();
        assert!(
            frames.iter().all(|(_, masked)| *masked == client),
            "a client masks, no other"
        );
        frames.into_iter().map(|(frame, _)| frame).collect()
    }

    /// The bytes that the connection transmits.
    ///
    /// # Panics
    /// If it claims to have output and transmits nothing.
    pub fn written(&mut self) -> Vec<u8> {
        let mut written = Vec::new();
        while self.connection.has_output() {
            let some = write_some(&mut self.connection, usize::MAX);
            written.extend(some);
        }
        written
    }

    /// One write that takes at most `most` bytes.
    ///
    /// # Panics
    /// If the connection has nothing to transmit.
    pub fn writes(&mut self, most: usize) -> Vec<u8> {
        write_some(&mut self.connection, most)
    }

    /// Advances the time, checking for timeouts every second.
    ///
    /// # Errors
    /// The error for which the connection is given up, at the second it occurs.
    pub fn pass(&mut self, seconds: u32) -> Result<(), Error> {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.connection.handle_timeout(self.clock.now())?;
        }
        Ok(())
    }

    /// How the connection ended.
    ///
    /// # Panics
    /// If it has not.
    #[must_use]
    pub fn closed(&mut self) -> offhook_protocol::Closed {
        self.connection.handle_transport_closed(self.clock.now());
        self.connection.closed().expect("the transport is closed")
    }
}

/// Transmits at most `most` bytes, as in one write.
pub(crate) fn write_some(connection: &mut Connection, most: usize) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 4];
    let filled = connection.transmit(&mut slices);
    let mut bytes = Vec::new();
    for slice in &slices[..filled] {
        let room = most.saturating_sub(bytes.len()).min(slice.len());
        bytes.extend_from_slice(&slice[..room]);
    }
    assert!(
        !bytes.is_empty(),
        "a connection that has output transmits something"
    );
    connection.transmitted(bytes.len());
    bytes
}
