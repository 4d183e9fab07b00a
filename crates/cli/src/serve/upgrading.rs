//! Replaces the running process by a new one, for `offhook upgrade`.

use std::{path::Path, process, time::Instant};

use offhook_server::{Running, Server};

use super::{
    PidFile, advise,
    hand_over::{Successor, common_ms},
    pid_file, supervisor,
};
use crate::{failure::Failure, signals::Signals};

/// How an attempt ended.
pub(super) enum Upgraded {
    /// The new process serves, and this one has nothing left to do.
    Done,
    /// The new process could not serve, and this one continues.
    Failed(Running),
    /// The server is to be stopped.
    Stopped(Running),
}

/// Starts `program` and hands the server over to it.
///
/// # Errors
/// The new process failed after this one had closed the log, and this one cannot serve again.
pub(super) async fn upgrade(
    running: Running,
    program: Option<&Path>,
    signals: &mut Signals,
    file: &mut Option<PidFile>,
) -> Result<Upgraded, Failure> {
    let begun = Instant::now();
    let successor = match start(&running, program) {
        Ok(successor) => successor,
        Err(reason) => {
            failed(file, &reason);
            return Ok(Upgraded::Failed(running));
        }
    };
    let id = successor.id();
    tracing::info!(
        process = id,
        "an upgrade has begun: a new process is being prepared"
    );
    tokio::select! {
        prepared = successor.prepared() => if let Err(error) = prepared {
            // It has ended afterwards, and said why.
            drop(successor);
            failed(file, &format!("the new process: {error}"));
            return Ok(Upgraded::Failed(running));
        },
        () = signals.next() => return Ok(Upgraded::Stopped(running)),
    }
    let config = running.config().await;
    // The new process writes a file of its own.
    *file = None;
    let since = common_ms();
    let sockets = running.hand_over().await;
    match successor.serve(since).await {
        Ok(()) => {
            supervisor::tell(&format!("MAINPID={id}"));
            let took = begun.elapsed().as_millis();
            tracing::info!(
                process = id,
                took_ms = took,
                "the new process serves, and this one ends"
            );
            Ok(Upgraded::Done)
        }
        Err(error) => {
            let data = (!config.in_memory).then(|| config.data.clone());
            let prepared = Server::prepare(config, sockets).await;
            let prepared = prepared.map_err(|error| advise(&error))?;
            let running = prepared.start().await.map_err(|error| advise(&error))?;
            *file = data.and_then(|data| pid_file(&data));
            failed(file, &format!("the new process: {error}"));
            Ok(Upgraded::Failed(running))
        }
    }
}

fn start(running: &Running, program: Option<&Path>) -> Result<Successor, String> {
    let Some(program) = program else {
        return Err("the system does not say where this program is".to_owned());
    };
    if process::id() == 1 {
        return Err("a container ends with its first process: replace the container".to_owned());
    }
    let sockets = running.sockets().map_err(|error| error.to_string())?;
    Successor::start(program, &sockets)
        .map_err(|error| format!("{} cannot be started: {error}", program.display()))
}

fn failed(file: &mut Option<PidFile>, reason: &str) {
    tracing::error!("the upgrade has failed, and this process continues: {reason}");
    if let Some(file) = file {
        // Two attempts that fail in the same way differ by their time.
        file.note(&format!("{FAILED} {}: {reason}", common_ms()));
    }
}

/// How the note about a failed attempt begins.
pub(crate) const FAILED: &str = "failed";
