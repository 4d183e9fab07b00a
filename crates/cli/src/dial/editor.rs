//! Lines typed in a terminal: with editing and history, and with messages printed above them.
//!
//! The editor's thread cannot be stopped while it waits for a key, and the terminal is in raw mode
//! meanwhile. The mode must therefore be restored before the process ends: see [`Terminal`].
//!
//! ```text
//!          line wanted             raw mode is on
//!   Away ─────────────▶ Entering ─────────────▶ Editing
//!    ▲  │                                          │
//!    │  └──▶ Closed ◀── the terminal is given back ┤
//!    └───────────────── line typed ────────────────┘
//! ```

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};
use tokio::sync::mpsc::Sender;

use super::input::Typed;
use super::output::Output;
use crate::failure::Failure;

/// Starts the editor, which completes these commands. Output is printed above the line being
/// edited.
pub(super) fn start(
    lines: Sender<Typed>,
    commands: &'static [&'static str],
) -> Result<(Output, Terminal), Failure> {
    let gate = Arc::new(Gate::default());
    let terminal = Terminal::find(Arc::clone(&gate));
    let failed = |error: ReadlineError| Failure::failed(&error);
    let config = Config::builder().auto_add_history(true).build();
    let mut editor = Editor::with_config(config).map_err(failed)?;
    let printer = editor.create_external_printer().map_err(failed)?;
    let hints = Hints {
        gate: Arc::clone(&gate),
        commands,
    };
    editor.set_helper(Some(hints));
    thread::spawn(move || edit(editor, &gate, &lines));
    Ok((Output::above(printer), terminal))
}

fn edit(mut editor: Editor<Hints, DefaultHistory>, gate: &Gate, lines: &Sender<Typed>) {
    while gate.enter() {
        let line = editor.readline("> ");
        gate.pass(EditorState::Away);
        // Ctrl-C, Ctrl-D and a closed terminal all end the input.
        let Ok(line) = line else { return };
        if lines.blocking_send(Typed::Line(line)).is_err() {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum EditorState {
    #[default]
    Away,
    Entering,
    Editing,
    Closed,
}

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<EditorState>,
    moved: Condvar,
}

/// The longest wait for raw mode. A terminal without one never reports it.
const ENTERING: Duration = Duration::from_millis(200);

impl Gate {
    /// Whether another line may be typed.
    fn enter(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == EditorState::Closed {
            return false;
        }
        *state = EditorState::Entering;
        true
    }

    fn pass(&self, to: EditorState) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != EditorState::Closed {
            *state = to;
        }
        self.moved.notify_all();
    }

    /// After this call the terminal's mode is not changed any more.
    fn close(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_entering = |state: &mut EditorState| *state == EditorState::Entering;
        let waited = self.moved.wait_timeout_while(state, ENTERING, is_entering);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *state = EditorState::Closed;
    }
}

/// The terminal's mode at the start; restored on drop.
pub(super) struct Terminal {
    gate: Arc<Gate>,
    #[cfg(unix)]
    found: Option<rustix::termios::Termios>,
}

impl Terminal {
    fn find(gate: Arc<Gate>) -> Self {
        Self {
            gate,
            #[cfg(unix)]
            found: rustix::termios::tcgetattr(io::stdin()).ok(),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.gate.close();
        #[cfg(unix)]
        if let Some(found) = &self.found {
            use rustix::termios::{OptionalActions, tcsetattr};
            // A closed terminal has no mode to restore.
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, found);
        }
        if io::stdout().is_terminal() {
            // Erase the prompt.
            let mut stdout = io::stdout();
            let _ = stdout.write_all(b"\r\x1b[K").and_then(|()| stdout.flush());
        }
    }
}

/// Completes commands. The editor first calls it when it is in raw mode.
struct Hints {
    gate: Arc<Gate>,
    commands: &'static [&'static str],
}

impl Hinter for Hints {
    type Hint = String;

    fn hint(&self, line: &str, at: usize, _: &Context<'_>) -> Option<String> {
        self.gate.pass(EditorState::Editing);
        let is_begun = line.len() > 1 && at == line.len();
        let mut fitting = self
            .commands
            .iter()
            .filter_map(|command| command.strip_prefix(line));
        fitting.next().filter(|_| is_begun).map(str::to_owned)
    }
}

impl Completer for Hints {
    type Candidate = String;
}

impl Highlighter for Hints {}

impl Validator for Hints {}

impl Helper for Hints {}
