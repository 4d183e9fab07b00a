//! A server that has stopped so that another process can serve, and that serves again if the other
//! process fails.

use std::{fmt, sync::Arc};

use crate::{
    auth::Authenticator,
    config::Config,
    door::{Certificates, SocketFile},
    server::{Running, blocking, prepare_with, start},
    sockets::Sockets,
    start_error::StartError,
};

/// A server that has handed over its log and its connections, but has kept its configuration, its
/// certificates and its keys. Dropping it closes its sockets, and removes the files of its Unix
/// sockets.
pub struct Paused {
    pub(crate) config: Config,
    pub(crate) certificates: Option<Arc<Certificates>>,
    /// Also knows which users have been revoked.
    pub(crate) auth: Arc<Authenticator>,
    pub(crate) sockets: Sockets,
    pub(crate) files: Vec<SocketFile>,
}

impl Paused {
    /// Leaves the sockets and their files to another server.
    #[must_use]
    pub fn into_sockets(self) -> Sockets {
        self.files.into_iter().for_each(SocketFile::release);
        self.sockets
    }

    /// Opens the log again and serves, with the configuration that was in effect. Certificates and
    /// keys are not read again, and revoked users stay revoked. A dialect of
    /// [`start_over_engine_io`](crate::Server::start_over_engine_io) is not kept.
    ///
    /// # Errors
    /// [`StartError`], which says what is wrong and what to do.
    pub async fn resume(self) -> Result<Running, StartError> {
        let Self {
            config,
            certificates,
            auth,
            sockets,
            files,
        } = self;
        // The server that starts knows them by its sockets.
        files.into_iter().for_each(SocketFile::release);
        blocking(move || start(prepare_with(config, certificates, auth, sockets)?)).await
    }
}

impl fmt::Debug for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paused")
            .field("sockets", &self.sockets)
            .finish_non_exhaustive()
    }
}
