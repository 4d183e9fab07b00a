//! Waiting for what the sockets bring.

use std::hint;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Registry};

/// Between two looks of a watch that stays awake.
const PAUSE: Duration = Duration::from_micros(10);

/// How long a watch stays awake for nothing.
const PATIENCE: Duration = Duration::from_millis(100);

/// A poll and what it has found.
pub struct Watch {
    poll: Poll,
    events: Events,
    /// Whether it looks again and again instead of sleeping. Whoever sends to a thread that sleeps
    /// pays for waking it, on these machines more than for the sending; whether it sleeps hangs on
    /// microseconds, so that a server's rate would be a third higher or lower by chance.
    pub awake: bool,
    /// Time spent awake for nothing.
    pub idle: Duration,
}

impl Watch {
    /// Finds so many events at a time.
    pub fn new(events: usize) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(events),
            awake: false,
            idle: Duration::ZERO,
        })
    }

    /// For sockets to watch.
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// What the last wait has found.
    pub fn found(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// Waits until there is something, or for so long. Says whether it found something.
    pub fn wait(&mut self, time: Duration) -> io::Result<bool> {
        self.look(Duration::ZERO)?;
        if !self.events.is_empty() {
            return Ok(true);
        }
        let begin = Instant::now();
        let awake = if self.awake { PATIENCE } else { Duration::ZERO };
        loop {
            let waited = begin.elapsed();
            if waited < awake.min(time) {
                pause();
                self.look(Duration::ZERO)?;
            } else {
                self.look(time.saturating_sub(waited))?;
            }
            let found = !self.events.is_empty();
            if found || begin.elapsed() >= time {
                self.idle += begin.elapsed().min(awake);
                return Ok(found);
            }
        }
    }

    fn look(&mut self, time: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(time)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }
}

/// Passes some time without the kernel.
fn pause() {
    let until = Instant::now() + PAUSE;
    while Instant::now() < until {
        hint::spin_loop();
    }
}
