//! `offhook`: the real-time server, and tools for debugging WebSockets.
//!
//! This file parses the command line; each command has a file or folder of its own name.

mod api;
mod bench;
mod check;
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
#[cfg(unix)]
mod reload;
mod screen;
mod serve;
mod settings;
mod signals;
mod token;
mod top;
#[cfg(unix)]
mod upgrade;
mod welcome;
mod why;

use std::{env, ffi::OsString, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

// With glibc's allocator an idle connection takes a tenth more memory: it wastes much of blocks that
// are aligned to 128 bytes, as tokio's are.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A real-time server in one binary, and tools for any WebSocket.
///
/// Without a command, prints the first steps.
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
  offhook serve                          serve on 127.0.0.1:8000, with the data in ./offhook-data
  offhook serve --listen :8000           the same, reached from other machines too
  offhook dial wss://example.com/chat    talk to any WebSocket server
  offhook config --example               a configuration file to begin with
  offhook check wss://example.com/chat   find out what is wrong with one
  offhook prove                          break everything for a minute, and count what was lost

`offhook COMMAND -h` is short, `offhook COMMAND --help` is complete.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Config(config::PrintConfig),
    #[cfg(unix)]
    Reload(reload::Reload),
    #[cfg(unix)]
    Upgrade(upgrade::Upgrade),
    Dial(Box<dial::Dial>),
    Check(Box<check::Check>),
    Bench(Box<bench::Bench>),
    Decode(decode::Decode),
    Token(Box<token::Token>),
    Log(log::Log),
    Explain(Box<why::Explain>),
    Top(Box<top::Top>),
    #[cfg(unix)]
    Prove(prove::Prove),
    Completions(manual::Completions),
    Man(manual::Man),
}

fn main() -> ExitCode {
    let words = with_command(env::args_os().collect(), env::var_os(CARGO_RUN));
    if words.len() < 2 {
        return welcome::print();
    }
    let done = match Cli::parse_from(words).command {
        Command::Serve(serve) => serve.run(),
        Command::Config(print) => print.run(),
        #[cfg(unix)]
        Command::Reload(reload) => reload.run(),
        #[cfg(unix)]
        Command::Upgrade(upgrade) => upgrade.run(),
        Command::Dial(dial) => dial.run(),
        Command::Check(check) => check.run(),
        Command::Bench(bench) => bench.run(),
        Command::Decode(decode) => decode.run(),
        Command::Token(token) => token.run(),
        Command::Log(log) => log.run(),
        Command::Explain(explain) => explain.run(),
        Command::Top(top) => top.run(),
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

/// The variable with the command that `cargo run` without arguments runs. `.cargo/config.toml` sets
/// it, so that a newcomer needs only one command. Nothing else sets it, so the installed program
/// never starts a server by itself.
const CARGO_RUN: &str = "CARGO_RUN_OFFHOOK";

/// Adds a missing command: flags without a command belong to `serve`.
fn with_command(mut words: Vec<OsString>, of_cargo: Option<OsString>) -> Vec<OsString> {
    const OF_THE_PROGRAM: [&str; 4] = ["-h", "--help", "-V", "--version"];
    let is_flag = |word: &OsString| {
        let word = word.to_string_lossy();
        word.starts_with('-') && !OF_THE_PROGRAM.contains(&&*word)
    };
    match words.get(1) {
        None => words.extend(of_cargo),
        Some(word) if is_flag(word) => words.insert(1, "serve".into()),
        Some(_) => {}
    }
    words
}
