//! The loss proof: hundreds of subscribers and some publishers of a real server, whose connections are
//! cut and frozen, whose processes are frozen (SIGSTOP), and whose server is killed (SIGKILL) and
//! started again, over and over; and a count of what was lost, repeated or out of order.
//!
//! Everything is real: the server is the `offhook` program on its durable log, clients are
//! processes of their own with `offhook-client`, connections are TCP through a proxy that breaks them.
//! Each publisher counts; each subscriber keeps a ledger. In the end the server is asked what it
//! has, and every subscriber must have all of it, once, in one order for all.
//!
//! `offhook prove` is the command over it.
#![cfg(unix)]

mod chance;
mod children;
mod clients;
mod conductor;
mod crew;
mod ledger;
mod network;
mod plan;
mod report;
mod server;
mod weather;
mod words;

use std::{fs, io, process};

pub use chance::fresh_seed;
pub use clients::crew;
pub use conductor::{Stage, Status};
pub use ledger::Findings;
pub use plan::Plan;
pub use report::{Broken, Report};
pub use words::Progress;

/// Runs a proof, and shows how it goes, some times a second.
///
/// The server's data is removed when it is clean, and kept when it is not.
///
/// # Errors
/// It could not be run, or not to its end: a process that did not start or ended by itself,
/// publications without an answer.
pub async fn prove(plan: &Plan, mut show: impl FnMut(Status)) -> io::Result<Report> {
    plan.check().map_err(io::Error::other)?;
    let directory = plan.place.join(format!("offhook-proof-{}", process::id()));
    fs::create_dir_all(&directory)?;
    let report = conductor::conduct(plan, &directory, &mut show).await;
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
