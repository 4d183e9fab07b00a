//! Waits for the sockets.

use std::hint;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Registry};

/// Time between two polls of a busy-waiting watch.
const PAUSE: Duration = Duration::from_micros(10);

/// How long a watch busy-waits in vain.
const PATIENCE: Duration = Duration::from_millis(100);

/// A poll and its last events.
pub struct Watch {
    poll: Poll,
    events: Events,
    /// Whether it polls repeatedly instead of sleeping. Waking a thread that sleeps costs the
    /// sender more than sending does, on these machines. Whether a thread sleeps depends on
    /// microseconds, so that a server's rate would vary by a third by chance.
    pub awake: bool,
    /// Time spent polling in vain.
    pub idle: Duration,
}

impl Watch {
    /// A watch that reports at most this many events at a time.
    pub fn new(events: usize) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(events),
            awake: false,
            idle: Duration::ZERO,
        })
    }

    /// The registry for sockets to watch.
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// The events of the last wait.
    pub fn found(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// Waits for events, up to the given time. Returns whether there are any.
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

/// Passes some time without entering the kernel.
fn pause() {
    let until = Instant::now() + PAUSE;
    while Instant::now() < until {
        hint::spin_loop();
    }
}
