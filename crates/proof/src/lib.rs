//! The loss proof: hundreds of subscribers and some publishers use a real server while faults are
//! injected. Connections are cut and frozen; client processes and the server are frozen (SIGSTOP);
//! the server is killed (SIGKILL), restarted, and restored from an older backup; its fsyncs fail,
//! and its clock is stepped. In the end, the proof counts what was lost, repeated, out of order, or
//! replaced without a gap, and checks that the server has freed its memory.
//!
//! Everything is real: the server is the `offhook` program with its durable log, clients are
//! separate processes using `offhook-client`, and connections are TCP through a proxy that breaks
//! them. Each publisher numbers its publications; each subscriber keeps a ledger. In the end every
//! subscriber must have everything that the server has, once and in the same order, and every
//! channel exactly its members.
//!
//! `offhook prove` is the command that runs it.
#![cfg(unix)]

mod children;
mod clients;
mod faults;
mod ledger;
mod messages;
mod network;
mod plan;
mod processes;
mod random;
mod report;
mod runner;
mod server;
mod system;

use std::{fs, io, process};

pub use clients::client_process;
pub use ledger::Findings;
pub use messages::Progress;
pub use plan::{Dialect, Plan, Transport};
pub use random::fresh_seed;
pub use report::{Broken, Memory, Report};
pub use runner::{Stage, Status};

/// Runs a proof, and calls `show` with its status several times a second.
///
/// The server's data is removed if the report is clean, and kept otherwise.
///
/// # Errors
/// It could not be run to its end: a process did not start or ended by itself, or publications were
/// not answered.
pub async fn prove(plan: &Plan, mut show: impl FnMut(Status)) -> io::Result<Report> {
    plan.check().map_err(io::Error::other)?;
    let directory = plan.place.join(format!("offhook-proof-{}", process::id()));
    fs::create_dir_all(&directory)?;
    let report = runner::run(plan, &directory, &mut show).await;
    match report {
        Ok(report) => {
            if report.is_clean() {
                fs::remove_dir_all(&directory)?;
            }
            Ok(report)
        }
        Err(error) => {
            let kept = directory.display();
            let message = format!("{error}; the server's log and data are kept in {kept}");
            Err(io::Error::new(error.kind(), message))
        }
    }
}
