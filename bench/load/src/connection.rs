//! One client of a channel server: connects, receives, and sends what it is told to.

use std::io::ErrorKind;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail, ensure};
use socket2::SockRef;

use crate::dialects::{Framing, Part, Polling, Unit, Word};
use crate::ring::Ring;
use crate::transport::{Dialer, Transport, not_now};
use crate::upgrade;

/// What a connection received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The connection is open, and subscribed if it should be.
    Ready,
    /// The expected publication.
    Publication,
    /// The publication with this number was acknowledged.
    Taken(usize),
    /// A page of history: the number of its publications, and whether it is complete.
    Page(usize, bool),
    /// The answer to a ping.
    Pong,
    /// The server says that the subscription is catching up from history.
    CatchingUp,
    /// The server says that the subscription has caught up.
    Live,
}

/// One client.
pub struct Connection {
    /// The role of the connection.
    pub part: Rc<Part>,
    /// The number of publications received; each was the expected one.
    pub heard: u64,
    /// Bytes received.
    pub received: u64,
    /// If set, received bytes stay in the socket unread.
    pub deaf: bool,
    /// The last acknowledgement, as received.
    pub last_taken: Vec<u8>,
    transport: Transport,
    framing: Framing,
    upgrading: bool,
    /// The start of a unit that is incomplete, and the fragments of a message before it.
    unread: Vec<u8>,
    fragments: Vec<u8>,
    unsent: Vec<u8>,
    /// Acknowledgements of the publications of one read, which leave in one write.
    acknowledgements: Vec<u8>,
    polling: Polling,
    /// The offset of a publication within its unit, which is usually the same in every unit.
    from_end: usize,
}

impl Connection {
    /// Starts to connect.
    pub fn open(dialer: &Dialer, part: Rc<Part>) -> Result<Self> {
        let framing = part.framing();
        Ok(Self {
            heard: 0,
            received: 0,
            deaf: false,
            last_taken: Vec::new(),
            transport: dialer.dial().context("connecting")?,
            framing,
            upgrading: framing == Framing::WebSocket,
            unread: Vec::new(),
            fragments: Vec::new(),
            unsent: part.greeting(),
            acknowledgements: Vec::new(),
            polling: Polling::default(),
            from_end: 0,
            part,
        })
    }

    /// The socket, to be registered with the poll.
    pub fn socket(&mut self) -> &mut mio::net::TcpStream {
        &mut self.transport.socket
    }

    /// Lets TCP delay its acknowledgements, as long as nothing is sent in answer.
    pub fn acknowledge_at_once(&self) -> Result<()> {
        SockRef::from(&self.transport.socket).set_tcp_quickack(true)?;
        Ok(())
    }

    /// Sends bytes of the connection's own dialect.
    pub fn say(&mut self, bytes: &[u8]) -> Result<()> {
        if self.unsent.is_empty() {
            let written = match self.transport.write(bytes) {
                Err(error) if not_now(&error) => 0,
                result => result.context("writing")?,
            };
            self.unsent.extend_from_slice(&bytes[written..]);
            return Ok(());
        }
        self.unsent.extend_from_slice(bytes);
        self.flush()
    }

    /// Writes and reads as much as possible now, up to the end of the stream if that has arrived:
    /// the poll would not report it again.
    pub fn turn(
        &mut self,
        ring: &Ring,
        ends: bool,
        buffer: &mut [u8],
        mut hear: impl FnMut(&mut Self, Heard) -> Result<()>,
    ) -> Result<()> {
        self.flush()?;
        while !self.deaf {
            match self.transport.read(buffer) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(count) => {
                    self.take(&buffer[..count], ring, &mut hear)?;
                    if !ends && self.transport.drained(count, buffer.len()) {
                        break;
                    }
                }
                Err(error) if not_now(&error) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading"),
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        bytes: &[u8],
        ring: &Ring,
        hear: &mut impl FnMut(&mut Self, Heard) -> Result<()>,
    ) -> Result<()> {
        self.received += bytes.len() as u64;
        if self.unread.is_empty() {
            let used = self.take_units(bytes, ring, hear)?;
            self.unread.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(bytes);
        let used = self.take_units(&unread, ring, hear)?;
        unread.drain(..used);
        self.unread = unread;
        Ok(())
    }

    /// Returns the number of bytes that form complete units.
    fn take_units(
        &mut self,
        bytes: &[u8],
        ring: &Ring,
        hear: &mut impl FnMut(&mut Self, Heard) -> Result<()>,
    ) -> Result<usize> {
        let mut used = 0;
        if self.upgrading {
            let Some(end) = upgrade::head_end(bytes) else {
                return Ok(0);
            };
            upgrade::response(&bytes[..end])?;
            self.upgrading = false;
            used = end;
            let word = self.part.upgraded();
            self.act(word, ring, &Unit::EMPTY, hear)?;
        }
        while let Some(unit) = self.framing.next(&bytes[used..])? {
            used += unit.length;
            match self.framing {
                Framing::Responses => self.take_response(&unit, ring, hear)?,
                _ => self.take_one(&unit, ring, hear)?,
            }
        }
        if !self.acknowledgements.is_empty() {
            let acknowledgements = std::mem::take(&mut self.acknowledgements);
            self.say(&acknowledgements)?;
        }
        Ok(used)
    }

    /// Takes every packet of a response, and sends the next request.
    fn take_response(
        &mut self,
        response: &Unit<'_>,
        ring: &Ring,
        hear: &mut impl FnMut(&mut Self, Heard) -> Result<()>,
    ) -> Result<()> {
        for body in self.polling.packets(response.body) {
            self.take_one(&Unit { body, ..*response }, ring, hear)?;
        }
        let request = self.polling.request();
        self.say(&request)
    }

    fn take_one(
        &mut self,
        unit: &Unit<'_>,
        ring: &Ring,
        hear: &mut impl FnMut(&mut Self, Heard) -> Result<()>,
    ) -> Result<()> {
        match self.is_expected(unit.body, ring) {
            true => self.count(unit, hear),
            false => self.take_unit(unit, ring, hear),
        }
    }

    /// Counts the expected publication.
    fn count(
        &mut self,
        unit: &Unit<'_>,
        hear: &mut impl FnMut(&mut Self, Heard) -> Result<()>,
    ) -> Result<()> {
        self.heard += 1;
        self.acknowledgements
            .extend(self.part.acknowledgement(unit).into_iter().flatten());
        hear(self, Heard::Publication)
    }

    /// Whether the next publication is at the same offset as the previous ones.
    fn is_expected(&self, body: &[u8], ring: &Ring) -> bool {
        let Some(start) = body.len().checked_sub(self.from_end) else {
            return false;
        };
        self.from_end > 0 && body[start..].starts_with(expected(ring, self.heard))
    }

    #[cold]
    fn take_unit(
        &mut self,
        unit: &Unit<'_>,
        ring: &Ring,
        hear: &mut impl FnMut(&mut Self, Heard) -> Result<()>,
    ) -> Result<()> {
        // RFC 6455 §5.4: a control frame may come between two fragments, and is never fragmented
        // itself.
        if self.framing == Framing::WebSocket && unit.head[0] & 8 == 0 {
            if unit.head[0] & 0x80 == 0 {
                self.fragments.extend_from_slice(unit.body);
                return Ok(());
            }
            if unit.head[0] & 0x0F == 0 {
                self.fragments.extend_from_slice(unit.body);
                let fragments = std::mem::take(&mut self.fragments);
                let whole = Unit {
                    body: &fragments,
                    ..*unit
                };
                return self.act(self.part.hear(&whole)?, ring, &whole, hear);
            }
        }
        self.act(self.part.hear(unit)?, ring, unit, hear)
    }

    fn act(
        &mut self,
        word: Word,
        ring: &Ring,
        unit: &Unit<'_>,
        hear: &mut impl FnMut(&mut Self, Heard) -> Result<()>,
    ) -> Result<()> {
        let heard = match word {
            Word::Nothing => return Ok(()),
            Word::Say(packet) if self.framing == Framing::Responses => {
                self.polling.queue(&packet);
                return Ok(());
            }
            Word::Say(bytes) => return self.say(&bytes),
            Word::Refused(reason) => bail!("the server said: {reason}"),
            Word::Publication => {
                self.learn(unit.body, ring)?;
                return self.count(unit, hear);
            }
            Word::Taken(number) => {
                self.last_taken.clear();
                self.last_taken.extend_from_slice(unit.body);
                Heard::Taken(number)
            }
            Word::Ready => Heard::Ready,
            Word::Page(count, last) => Heard::Page(count, last),
            Word::Pong => Heard::Pong,
            Word::CatchingUp => Heard::CatchingUp,
            Word::Live => Heard::Live,
        };
        hear(self, heard)
    }

    /// Searches for the expected publication when it is not at the usual offset.
    fn learn(&mut self, body: &[u8], ring: &Ring) -> Result<()> {
        ensure!(ring.lap() > 0, "received a publication that was not sent");
        let start = memchr::memmem::find(body, expected(ring, self.heard)).with_context(|| {
            format!(
                "publication {} is lost, late or wrong: {}",
                self.heard,
                String::from_utf8_lossy(body)
            )
        })?;
        self.from_end = body.len() - start;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        while !self.unsent.is_empty() {
            match self.transport.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if not_now(&error) => return Ok(()),
                Err(error) => return Err(error).context("writing"),
            }
        }
        Ok(())
    }
}

fn expected(ring: &Ring, place: u64) -> &[u8] {
    match ring.lap() {
        0 => &[],
        lap => ring.message((place % lap as u64) as usize),
    }
}
