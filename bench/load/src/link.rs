//! One connection: it opens, sends the ring's messages in order, and closes.

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::deflate::Agreement;
use crate::replies::{Heard, Replies};
use crate::ring::{Ring, push_frame};
use crate::transport::{Dialer, Transport, not_now};
use crate::upgrade;

/// ```text
/// Upgrading ──101──▶ Open ──close()──▶ Closing ──the server's end──▶ (ended)
/// ```
enum State {
    /// Contains the part of the response's head received so far.
    Upgrading(Vec<u8>),
    Open,
    Closing,
}

/// The result of processing a link that the poll reported.
#[derive(Default, Debug)]
pub struct Turn {
    /// The upgrade is complete, and the agreed extension is known.
    pub opened: bool,
    /// The number of complete echoes received.
    pub messages: usize,
    /// The server ended the connection after the closing handshake.
    pub ended: bool,
}

/// One connection.
pub struct Link {
    /// The transport.
    pub transport: Transport,
    /// The time of the last send: with one message in flight, response times are measured from it.
    pub sent_at: Instant,
    /// Bytes of frames received.
    pub received: u64,
    /// What the server agreed to, once the link has opened.
    pub agreement: Option<Agreement>,
    state: State,
    replies: Replies,
    /// Unsent bytes that are not part of the ring: the request, pongs, the Close frame.
    odd: Vec<u8>,
    odd_begun: bool,
    /// The frames of the ring that are not written yet, and the index after them.
    unsent: Range<usize>,
    place: usize,
}

impl Link {
    /// Starts to connect and to upgrade.
    pub fn open(dialer: &Dialer, offer_deflate: bool) -> Result<Self> {
        Ok(Self {
            transport: dialer.dial().context("connecting")?,
            sent_at: Instant::now(),
            received: 0,
            agreement: None,
            state: State::Upgrading(Vec::new()),
            replies: Replies::new(None),
            odd: upgrade::request("/", None, offer_deflate),
            odd_begun: false,
            unsent: 0..0,
            place: 0,
        })
    }

    /// Starts at the beginning of another ring; only allowed when nothing is in flight.
    pub fn restart(&mut self) {
        self.replies.restart();
        self.unsent = 0..0;
        self.place = 0;
    }

    /// Sends the ring's next `count` messages.
    pub fn send(&mut self, ring: &Ring, count: usize) -> Result<()> {
        if self.unsent.is_empty() {
            if self.place >= 2 * ring.lap() {
                self.place -= ring.lap();
            }
            self.unsent = ring.bytes(self.place, self.place + count);
        } else {
            // Unsent messages are in flight, so both together are no more than a lap.
            self.unsent.end = ring.bytes(self.place, self.place + count).end;
        }
        self.place += count;
        self.flush(ring)
    }

    /// Sends a Close frame; the link ends when the server closes the connection.
    pub fn close(&mut self, ring: &Ring) -> Result<()> {
        push_frame(&mut self.odd, 0x88, [7, 5, 3, 1], &1000_u16.to_be_bytes());
        self.state = State::Closing;
        self.flush(ring)
    }

    /// Writes and reads as much as possible now.
    pub fn turn(&mut self, ring: &Ring, buffer: &mut [u8]) -> Result<Turn> {
        let mut turn = Turn::default();
        self.flush(ring)?;
        loop {
            match self.transport.read(buffer) {
                Ok(0) => {
                    ensure!(
                        matches!(self.state, State::Closing),
                        "the server closed the connection"
                    );
                    turn.ended = true;
                    break;
                }
                Ok(count) => {
                    self.take(&buffer[..count], ring, &mut turn)?;
                    // The end of the stream may have arrived together with the last bytes, and
                    // epoll would not report it again.
                    let may_end = matches!(self.state, State::Closing);
                    if !may_end && self.transport.drained(count, buffer.len()) {
                        break;
                    }
                }
                Err(error) if not_now(&error) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if self.is_end(&error) => {
                    turn.ended = true;
                    break;
                }
                Err(error) => return Err(error).context("reading"),
            }
        }
        Ok(turn)
    }

    /// Some servers reset the connection after the closing handshake, or omit TLS's `close_notify`.
    fn is_end(&self, error: &io::Error) -> bool {
        matches!(self.state, State::Closing)
            && matches!(
                error.kind(),
                ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
            )
    }

    fn take(&mut self, mut bytes: &[u8], ring: &Ring, turn: &mut Turn) -> Result<()> {
        if let State::Upgrading(head) = &mut self.state {
            let before = head.len();
            head.extend_from_slice(bytes);
            let Some(end) = upgrade::head_end(head) else {
                ensure!(
                    head.len() < 16 * 1024,
                    "the response to the upgrade is longer than 16 KiB"
                );
                return Ok(());
            };
            self.agreement = upgrade::response(&head[..end])?;
            self.replies = Replies::new(self.agreement);
            self.state = State::Open;
            turn.opened = true;
            bytes = &bytes[end - before..];
        }
        self.received += bytes.len() as u64;
        let mut heard = Heard::default();
        self.replies.take(bytes, ring, &mut heard)?;
        turn.messages += heard.messages;
        let closing = matches!(self.state, State::Closing);
        ensure!(!heard.close || closing, "the server sent a Close frame");
        for ping in &heard.pings {
            push_frame(&mut self.odd, 0x8A, [2, 4, 6, 8], ping);
        }
        if !heard.pings.is_empty() {
            self.flush(ring)?;
        }
        Ok(())
    }

    /// Writes until everything is written or the socket is full. Control bytes and the ring's
    /// frames are never interleaved: whichever was begun is finished first.
    fn flush(&mut self, ring: &Ring) -> Result<()> {
        self.transport.flush().context("writing")?;
        if self.odd_begun && !self.flush_odd()? {
            return Ok(());
        }
        if self.flush_frames(ring)? {
            self.flush_odd()?;
        }
        Ok(())
    }

    /// True if nothing is left to write.
    fn flush_frames(&mut self, ring: &Ring) -> Result<bool> {
        while !self.unsent.is_empty() {
            match self.transport.write(&ring.wire()[self.unsent.clone()]) {
                Ok(count) => self.unsent.start += count,
                Err(error) if not_now(&error) => return Ok(false),
                Err(error) => return Err(error).context("writing"),
            }
        }
        Ok(true)
    }

    /// True if nothing is left to write.
    fn flush_odd(&mut self) -> Result<bool> {
        while !self.odd.is_empty() {
            match self.transport.write(&self.odd) {
                Ok(count) => drop(self.odd.drain(..count)),
                Err(error) if not_now(&error) => return Ok(false),
                Err(error) => return Err(error).context("writing"),
            }
            self.odd_begun = !self.odd.is_empty();
        }
        Ok(true)
    }
}
