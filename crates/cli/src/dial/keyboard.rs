//! What is typed, or piped in: read on a thread of its own, since reading waits.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    sync::Arc,
    thread,
};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::editor;
use super::voice::Voice;
use crate::failure::Failure;

/// What comes in.
#[derive(Debug)]
pub(super) enum Typed {
    /// A line, without its end.
    Line(String),
    /// Something that can't be a line; nothing follows.
    Unreadable(String),
}

/// What is typed, how to answer, and the terminal, to be given back at the end.
pub(super) struct Keyboard {
    pub(super) typed: Receiver<Typed>,
    pub(super) voice: Arc<Voice>,
    pub(super) terminal: Option<editor::Terminal>,
}

/// Lines that may wait to be sent. 16: whoever pipes more has to wait anyway.
const QUEUE: usize = 16;

/// Begins to read, with line editing where a person types.
pub(super) fn listen() -> Result<Keyboard, Failure> {
    let (lines, typed) = channel(QUEUE);
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        let (voice, terminal) = editor::start(lines)?;
        let (voice, terminal) = (Arc::new(voice), Some(terminal));
        return Ok(Keyboard {
            typed,
            voice,
            terminal,
        });
    }
    thread::spawn(move || read(&lines));
    let (voice, terminal) = (Arc::new(Voice::plain()), None);
    Ok(Keyboard {
        typed,
        voice,
        terminal,
    })
}

fn read(lines: &Sender<Typed>) {
    for line in io::stdin().lock().lines() {
        let (typed, is_last) = match line {
            Ok(line) => (Typed::Line(line), false),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let why = "a line of the input is no UTF-8; --hex sends bytes";
                (Typed::Unreadable(why.to_owned()), true)
            }
            Err(error) => {
                let why = format!("the input can't be read: {error}");
                (Typed::Unreadable(why), true)
            }
        };
        if lines.blocking_send(typed).is_err() || is_last {
            return;
        }
    }
}
