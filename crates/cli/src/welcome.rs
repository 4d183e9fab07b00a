//! The message of `offhook` without a command.

use std::process::ExitCode;

use crate::failure::Failure;
use crate::screen::{self, BOLD, DIM};

/// Prints the first steps.
pub(crate) fn print() -> ExitCode {
    match screen::print(&text()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => Failure::from(error).report(),
    }
}

/// The first steps. Lines are shorter than 60 columns, so that they fit in a narrow terminal.
const STEPS: &[(&str, &str)] = &[
    (
        "offhook serve",
        "start the server; it prints where the chat is",
    ),
    ("offhook dial URL", "talk to a WebSocket server"),
    ("offhook check URL", "find out what is wrong with one"),
    ("offhook bench URL", "load one, and measure it"),
    ("offhook decode FILE", "explain captured WebSocket traffic"),
];

fn text() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        "{BOLD}Offhook {version}{BOLD:#}: a real-time server, and tools for WebSockets\n\n"
    );
    for (command, about) in STEPS {
        text.push_str(&format!(
            "  {BOLD}{command}{BOLD:#}\n      {DIM}{about}{DIM:#}\n"
        ));
    }
    text.push_str(&format!(
        "\n`offhook serve` listens on 127.0.0.1:8000 and keeps its\ndata in ./offhook-data. {BOLD}offhook --help{BOLD:#} lists everything.\n"
    ));
    text
}
