//! Ctrl-C, and signals of supervisors.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::{CtrlBreak as Terminate, CtrlC as Interrupt, ctrl_break, ctrl_c};

#[cfg(unix)]
type Interrupt = Signal;
#[cfg(unix)]
type Terminate = Signal;

/// Receives signals from its creation on, so that none is missed between two waits.
pub(crate) struct Signals {
    /// Ctrl-C.
    pub(crate) interrupt: Interrupt,
    /// SIGTERM, or Ctrl-Break on Windows.
    pub(crate) terminate: Terminate,
}

impl Signals {
    #[cfg(unix)]
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    #[cfg(windows)]
    pub(crate) fn listen() -> io::Result<Self> {
        let (interrupt, terminate) = (ctrl_c()?, ctrl_break()?);
        Ok(Self {
            interrupt,
            terminate,
        })
    }

    /// Waits for either signal.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Whether either has arrived since the last wait. It is taken.
    #[cfg(unix)]
    pub(crate) async fn is_pending(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.next() => true,
            () = std::future::ready(()) => false,
        }
    }
}

/// Receives a signal that would otherwise end the process. It exists only on Unix.
pub(crate) struct Requests(#[cfg(unix)] Signal);

impl Requests {
    /// SIGHUP: read the configuration again.
    #[cfg(unix)]
    pub(crate) fn to_reload() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// SIGUSR2: hand the server over to a new process.
    #[cfg(unix)]
    pub(crate) fn to_upgrade() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::user_defined2())?))
    }

    #[cfg(not(unix))]
    pub(crate) fn to_reload() -> io::Result<Self> {
        Ok(Self())
    }

    /// Waits for the next one.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }

    /// Whether one has arrived since the last wait. It is taken.
    #[cfg(unix)]
    pub(crate) async fn is_pending(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.next() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}
