//! Where messages and news are said: stdout and stderr, or above the line that is being typed.

use std::{
    io::{self, Write as _},
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use anstream::ColorChoice;
use rustyline::ExternalPrinter;

use crate::screen;

/// Says things, from any thread.
pub(super) struct Voice {
    /// None: stdout and stderr.
    above_the_prompt: Mutex<Option<Above>>,
    /// Whether a person types.
    is_conversation: bool,
    /// Why stdout takes nothing any more, if so.
    broken: Mutex<Option<io::Error>>,
}

/// The way to the editor's printer.
struct Above {
    queue: SyncSender<String>,
    has_colours: bool,
    /// Told when everything is on the screen.
    done: Receiver<()>,
}

/// What may wait for a terminal. 256: a screen or two.
const QUEUE: usize = 256;

/// How long the end waits for a terminal.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Up a line and down again: what can be printed without a trace.
const NOTHING: &str = "\x1b[1A\n";

impl Voice {
    pub(super) fn plain() -> Self {
        Self {
            above_the_prompt: Mutex::default(),
            is_conversation: false,
            broken: Mutex::default(),
        }
    }

    /// Above a line that is being edited. On a thread of its own: it waits while the editor is
    /// busy.
    pub(super) fn above(mut printer: impl ExternalPrinter + Send + 'static) -> Self {
        let (queue, waiting) = sync_channel::<String>(QUEUE);
        let (tell_done, done) = sync_channel(1);
        thread::spawn(move || {
            let print = |text| {
                // A terminal that is gone ends the reading of it too.
                let _ = printer.print(text);
            };
            waiting.into_iter().for_each(print);
            // The editor takes one at a time: when it has taken the first of these it has printed
            // all before, and when there is room for the second it has taken the first.
            for _ in 0..2 {
                let _ = printer.print(NOTHING.to_owned());
            }
            let _ = tell_done.send(());
        });
        let has_colours = anstream::AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        let above = Above {
            queue,
            has_colours,
            done,
        };
        Self {
            above_the_prompt: Mutex::new(Some(above)),
            is_conversation: true,
            broken: Mutex::default(),
        }
    }

    /// Whether a person types.
    pub(super) fn is_conversation(&self) -> bool {
        self.is_conversation
    }

    /// A message, to stdout.
    pub(super) fn say(&self, text: &str) {
        if self.say_above(text) {
            return;
        }
        let mut stdout = io::stdout().lock();
        let said = stdout.write_all(text.as_bytes());
        let said = said.and_then(|()| stdout.write_all(b"\n"));
        if let Err(error) = said.and_then(|()| stdout.flush()) {
            *lock(&self.broken) = Some(error);
        }
    }

    /// What happened, to stderr.
    pub(super) fn tell(&self, text: &str) {
        if !self.say_above(text) {
            screen::tell(text);
        }
    }

    /// Why nobody hears it any more, once.
    pub(super) fn broken(&self) -> Option<io::Error> {
        lock(&self.broken).take()
    }

    /// Waits until what was said can be read. From now on stdout and stderr are used.
    pub(super) fn finish(&self) {
        let above = lock(&self.above_the_prompt).take();
        if let Some(Above { queue, done, .. }) = above {
            drop(queue);
            // A terminal that takes nothing is not waited for.
            let _ = done.recv_timeout(LAST_WORDS);
        }
    }

    fn say_above(&self, text: &str) -> bool {
        let above = lock(&self.above_the_prompt);
        let Some(Above {
            queue, has_colours, ..
        }) = above.as_ref()
        else {
            return false;
        };
        let text = if *has_colours {
            format!("{text}\n")
        } else {
            format!("{}\n", anstream::adapter::strip_str(text))
        };
        let queue = queue.clone();
        drop(above);
        let _ = queue.send(text);
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
