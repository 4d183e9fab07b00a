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
    terminate: Terminate,
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
}
