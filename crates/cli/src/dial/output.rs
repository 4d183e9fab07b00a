//! Printing messages and notes: to stdout and stderr, or above the line being edited.

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
    /// Whether a user types in a terminal.
    is_interactive: bool,
    /// Why stdout cannot be written to any more.
    broken: Mutex<Option<io::Error>>,
}

/// The queue of the thread that prints above the prompt.
struct Above {
    queue: SyncSender<String>,
    has_colours: bool,
    /// Receives a value when everything has been printed.
    done: Receiver<()>,
}

/// How many texts can be queued for the terminal. 256: a screen or two.
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

    /// Prints above the line being edited. The printer blocks while the editor is busy, so it has
    /// its own thread.
    pub(super) fn above(mut printer: impl ExternalPrinter + Send + 'static) -> Self {
        let (queue, waiting) = sync_channel::<String>(QUEUE);
        let (tell_done, done) = sync_channel(1);
        thread::spawn(move || {
            let print = |text| {
                // When the terminal is closed, reading from it ends too.
                let _ = printer.print(text);
            };
            waiting.into_iter().for_each(print);
            // The editor takes one text at a time. When it has taken the first of these two, it has
            // printed all earlier ones, and when there is room for the second, it has taken the
            // first.
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

    /// Whether a user types in a terminal.
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

    /// Prints a note to stderr.
    pub(super) fn note(&self, text: &str) {
        if !self.print_above(text) {
            screen::tell(text);
        }
    }

    /// Why stdout cannot be written to any more; reported once.
    pub(super) fn broken_pipe(&self) -> Option<io::Error> {
        lock(&self.broken).take()
    }

    /// Waits until everything is printed. From then on stdout and stderr are used.
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
