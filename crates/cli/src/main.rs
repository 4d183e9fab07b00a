//! `offhook`: the real-time server, and tools for whoever debugs WebSockets.
//!
//! This file takes the command line apart; each command has a file or folder of its own name.

mod bench;
mod config;
mod decode;
mod dial;
mod digits;
mod explain;
mod failure;
mod log;
mod manual;
mod open_files;
#[cfg(unix)]
mod prove;
mod screen;
mod serve;
mod settings;
mod signals;

use std::{env, ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

/// A real-time server in one binary, and tools for any WebSocket.
///
/// Without a command it serves.
#[derive(Debug, Parser)]
#[command(
    name = "offhook",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = EXAMPLES,
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  offhook                                serve, with the data in ./offhook-data
  offhook serve --listen :8000           the same, reached from other machines too
  offhook config --example               a configuration file to begin with
  offhook prove                          break everything for a minute, and count what was lost

`offhook COMMAND -h` is short, `offhook COMMAND --help` tells everything.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Config(config::PrintConfig),
    Dial(Box<dial::Dial>),
    Bench(Box<bench::Bench>),
    Decode(decode::Decode),
    Log(log::Log),
    #[cfg(unix)]
    Prove(prove::Prove),
    Completions(manual::Completions),
    Man(manual::Man),
}

fn main() -> ExitCode {
    let cli = Cli::parse_from(with_command(env::args_os().collect()));
    let done = match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Config(print) => print.run(),
        Command::Dial(dial) => dial.run(),
        Command::Bench(bench) => bench.run(),
        Command::Decode(decode) => decode.run(),
        Command::Log(log) => log.run(),
        #[cfg(unix)]
        Command::Prove(prove) => prove.run(),
        Command::Completions(completions) => completions.run(Cli::command()),
        Command::Man(man) => man.run(Cli::command()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Who gives no command serves: `offhook`, `offhook --listen :8000`.
fn with_command(mut words: Vec<OsString>) -> Vec<OsString> {
    const OF_THE_PROGRAM: [&str; 4] = ["-h", "--help", "-V", "--version"];
    let is_flag = |word: &OsString| {
        let word = word.to_string_lossy();
        word.starts_with('-') && !OF_THE_PROGRAM.contains(&&*word)
    };
    if words.get(1).is_none_or(is_flag) {
        words.insert(1.min(words.len()), "serve".into());
    }
    words
}
