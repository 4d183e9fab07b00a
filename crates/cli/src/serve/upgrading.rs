//! Replaces the running process by a new one, for `offhook upgrade`.

use std::{io, path::Path, process, time::Instant};

use offhook_server::Running;
use rustix::process::{Pid, Signal, kill_process};

use super::{
    PidFile, advise,
    hand_over::{Successor, common_ms},
    pid_file, supervisor,
};
use crate::{failure::Failure, signals::Signals};

/// How an attempt ended.
pub(super) enum Upgraded {
    /// This process has nothing left to do: the process with this id serves, or nobody, because the
    /// server was to be stopped.
    Done(Option<u32>),
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
    let mut successor = match start(&running, program) {
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
    let data = running.config().await;
    let data = (!data.in_memory).then_some(data.data);
    // The new process writes a file of its own.
    *file = None;
    let since = common_ms();
    let paused = running.pause().await;
    if signals.is_pending().await {
        // Dropping the successor ends it, and dropping the server removes the files of its sockets.
        drop(successor);
        return Ok(Upgraded::Done(None));
    }
    let (served, is_to_stop) = served(&mut successor, since, signals).await;
    match served {
        Ok(()) => {
            let _sockets = paused.into_sockets();
            supervisor::tell(&format!("MAINPID={id}"));
            let took = begun.elapsed().as_millis();
            tracing::info!(
                process = id,
                took_ms = took,
                "the new process serves, and this one ends"
            );
            Ok(Upgraded::Done(Some(id)))
        }
        Err(_) if is_to_stop => Ok(Upgraded::Done(None)),
        Err(error) => {
            // It has ended afterwards, and the log is free.
            drop(successor);
            let running = paused.resume().await.map_err(|error| advise(&error))?;
            *file = data.and_then(|data| pid_file(&data));
            failed(file, &format!("the new process: {error}"));
            Ok(Upgraded::Failed(running))
        }
    }
}

/// Waits until the new process serves. Also returns whether the server is to be stopped: signals are
/// passed on to the new process, which may be serving already, and which ends if it is not.
async fn served(
    successor: &mut Successor,
    since: u64,
    signals: &mut Signals,
) -> (io::Result<()>, bool) {
    let id = successor.id();
    let mut is_to_stop = false;
    let serving = successor.serve(since);
    tokio::pin!(serving);
    loop {
        tokio::select! {
            served = &mut serving => {
                if signals.is_pending().await {
                    is_to_stop = true;
                    pass_on(id, Signal::TERM);
                }
                return (served, is_to_stop);
            }
            () = signals.next() => {
                is_to_stop = true;
                pass_on(id, Signal::TERM);
            }
        }
    }
}

/// Passes a signal on to the new process.
pub(super) fn pass_on(id: u32, signal: Signal) {
    let process = i32::try_from(id).ok().and_then(Pid::from_raw);
    if let Some(process) = process
        && let Err(error) = kill_process(process, signal)
    {
        tracing::warn!(%error, process = id, "a signal cannot be passed on to the new process");
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
