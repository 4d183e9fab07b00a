//! Where messages and notes are printed: stdout and stderr, or above the line that is being typed.

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

/// Prints from any thread.
pub(super) struct Output {
    /// `None`: print to stdout and stderr.
    above_the_prompt: Mutex<Option<Above>>,
    /// Whether a person types in a terminal.
    is_interactive: bool,
    /// Why stdout can no longer be written to.
    broken: Mutex<Option<io::Error>>,
}

/// The queue of the thread that prints above the prompt.
struct Above {
    queue: SyncSender<String>,
    has_colours: bool,
    /// Receives a value when everything has been printed.
    done: Receiver<()>,
}

/// Texts that may wait for the terminal. 256: a screen or two.
const QUEUE: usize = 256;

/// How long `finish` waits for the terminal.
const FINISH: Duration = Duration::from_millis(500);

/// Up a line and down again: prints nothing visible.
const NOTHING: &str = "\x1b[1A\n";

impl Output {
    pub(super) fn plain() -> Self {
        Self {
            above_the_prompt: Mutex::default(),
            is_interactive: false,
            broken: Mutex::default(),
        }
    }

    /// Prints above a line that is being edited. The printer blocks while the editor is busy, so
    /// it has a thread of its own.
    pub(super) fn above(mut printer: impl ExternalPrinter + Send + 'static) -> Self {
        let (queue, waiting) = sync_channel::<String>(QUEUE);
        let (tell_done, done) = sync_channel(1);
        thread::spawn(move || {
            let print = |text| {
                // When the terminal is closed, reading from it ends too.
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
            is_interactive: true,
            broken: Mutex::default(),
        }
    }

    /// Whether a person types in a terminal.
    pub(super) fn is_interactive(&self) -> bool {
        self.is_interactive
    }

    /// Prints a message to stdout.
    pub(super) fn print(&self, text: &str) {
        if self.print_above(text) {
            return;
        }
        let mut stdout = io::stdout().lock();
        let printed = stdout.write_all(text.as_bytes());
        let printed = printed.and_then(|()| stdout.write_all(b"\n"));
        if let Err(error) = printed.and_then(|()| stdout.flush()) {
            *lock(&self.broken) = Some(error);
        }
    }

    /// Prints a note about what happened to stderr.
    pub(super) fn note(&self, text: &str) {
        if !self.print_above(text) {
            screen::tell(text);
        }
    }

    /// Why stdout can no longer be written to; reported once.
    pub(super) fn broken_pipe(&self) -> Option<io::Error> {
        lock(&self.broken).take()
    }

    /// Waits until everything is on the screen. From then on stdout and stderr are used.
    pub(super) fn finish(&self) {
        let above = lock(&self.above_the_prompt).take();
        if let Some(Above { queue, done, .. }) = above {
            drop(queue);
            // A terminal that stopped accepting output must not block the exit.
            let _ = done.recv_timeout(FINISH);
        }
    }

    fn print_above(&self, text: &str) -> bool {
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
