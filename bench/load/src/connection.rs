//! One client of a channel server: it opens, hears, and says what it is told to.

use std::io::ErrorKind;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail, ensure};
use socket2::SockRef;

use crate::dialects::{Framing, Part, Unit, Word};
use crate::ring::Ring;
use crate::transport::{Dialer, Transport, not_now};
use crate::upgrade;

/// What a connection heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is open, and subscribed if it was to be.
    Ready,
    /// The publication that was expected next.
    Publication,
    /// The publication with this number was taken.
    Taken(usize),
    /// So many publications of a history; whether those were all.
    Page(usize, bool),
    /// The answer to a ping.
    Pong,
    /// From now on it reads what is kept.
    CatchingUp,
    /// It has all that is kept.
    Live,
}

/// One client.
pub struct Connection {
    /// What it is there for.
    pub part: Rc<Part>,
    /// Publications heard; each was the one expected.
    pub heard: u64,
    /// Bytes received.
    pub received: u64,
    /// Leave what comes in the socket.
    pub deaf: bool,
    /// The last acknowledgement, as it came.
    pub last_taken: Vec<u8>,
    transport: Transport,
    framing: Framing,
    upgrading: bool,
    /// The beginning of a unit whose end has not come, and fragments of a message before it.
    unread: Vec<u8>,
    fragments: Vec<u8>,
    unsent: Vec<u8>,
    /// How far from a unit's end publications begin; the same in every unit as a rule.
    from_end: usize,
}

impl Connection {
    /// Begins to connect.
    pub fn open(dialer: &Dialer, part: Rc<Part>) -> Result<Self> {
        let framing = part.dialect.framing();
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
            from_end: 0,
            part,
        })
    }

    /// The socket, for the poll.
    pub fn socket(&mut self) -> &mut mio::net::TcpStream {
        &mut self.transport.socket
    }

    /// Lets TCP acknowledge without delay what comes, as long as nothing is said in answer to it.
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

    /// Writes and reads what can be written and read now; to the very end, if that is there: the
    /// poll does not tell of it again.
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
                Ok(0) => bail!("the server hung up"),
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

    /// Returns how many bytes were whole units.
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
            if self.is_expected(unit.body, ring) {
                self.heard += 1;
                hear(self, Heard::Publication)?;
            } else {
                self.take_unit(&unit, ring, hear)?;
            }
        }
        Ok(used)
    }

    /// Whether the publication that comes next stands where they stood before.
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
        // RFC 6455 §5.4: a control frame may come between two fragments, and is whole.
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
            Word::Say(bytes) => return self.say(&bytes),
            Word::Refused(reason) => bail!("the server said: {reason}"),
            Word::Publication => {
                self.learn(unit.body, ring)?;
                self.heard += 1;
                Heard::Publication
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

    /// Finds the expected publication where none was found before.
    fn learn(&mut self, body: &[u8], ring: &Ring) -> Result<()> {
        ensure!(ring.lap() > 0, "a publication that nobody sent");
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
