//! Lines from the terminal or from a pipe, read on a thread of their own because reading blocks.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    sync::Arc,
    thread,
};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::editor;
use super::output::Output;
use crate::failure::Failure;

/// One item of input.
#[derive(Debug)]
pub(super) enum Typed {
    /// A line, without its end.
    Line(String),
    /// The input could not be read any further, for this reason.
    Unreadable(String),
}

/// The lines, the output, and the terminal, whose mode is restored on drop.
pub(super) struct Input {
    pub(super) typed: Receiver<Typed>,
    pub(super) output: Arc<Output>,
    pub(super) terminal: Option<editor::Terminal>,
}

/// How many lines can be queued for sending. 16: a pipe that is faster than the connection has to
/// wait.
const QUEUE: usize = 16;

/// Starts reading; in a terminal, with line editing and these commands.
pub(super) fn listen(commands: &'static [&'static str]) -> Result<Input, Failure> {
    let (lines, typed) = channel(QUEUE);
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        let (output, terminal) = editor::start(lines, commands)?;
        let (output, terminal) = (Arc::new(output), Some(terminal));
        return Ok(Input {
            typed,
            output,
            terminal,
        });
    }
    thread::spawn(move || read(&lines));
    let (output, terminal) = (Arc::new(Output::plain()), None);
    Ok(Input {
        typed,
        output,
        terminal,
    })
}

fn read(lines: &Sender<Typed>) {
    for line in io::stdin().lock().lines() {
        let (typed, is_last) = match line {
            Ok(line) => (Typed::Line(line), false),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let why = "a line of the input is not UTF-8; --hex sends bytes";
                (Typed::Unreadable(why.to_owned()), true)
            }
            Err(error) => {
                let why = format!("the input cannot be read: {error}");
                (Typed::Unreadable(why), true)
            }
        };
        if lines.blocking_send(typed).is_err() || is_last {
            return;
        }
    }
}
