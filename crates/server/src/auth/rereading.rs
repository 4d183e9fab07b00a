//! Reads keys again while the server runs: on request, and when a file changes.

use std::{
    io,
    sync::{
        Arc, PoisonError,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{Authenticator, Keys, sources::Sources};
use crate::{
    config::{Api, Auth},
    start_error::StartError,
};

impl Authenticator {
    /// Accepts only the keys of these settings and of the files that they name from now on. If a
    /// key cannot be used, nothing changes.
    pub(crate) fn reread(&self, auth: &Auth, api: &Api) -> Result<(), StartError> {
        if auth.has_keys() != self.settings.has_keys() || auth.jwks_url != self.settings.jwks_url {
            return Err(StartError::NeedsRestart {
                setting: "auth",
                reason: "whether the server verifies tokens, and auth.jwks_url",
            });
        }
        let sources = Sources::of(auth, api);
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken before reading, so that the next check notices a change in between.
        let stamps = sources.stamps();
        let material = sources.read()?;
        *keys = Keys { sources, stamps };
        self.use_material(material);
        Ok(())
    }

    /// Reads the files again if one of them has changed.
    fn reread_changed(&self) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = keys.sources.stamps();
        if stamps == keys.stamps {
            return;
        }
        // Stored even if reading fails, so that the error is logged once for each change.
        keys.stamps = stamps;
        match keys.sources.read() {
            Ok(material) => {
                let (tokens, api) = (material.tokens.len(), material.api.len());
                self.use_material(material);
                tracing::info!(
                    tokens,
                    api,
                    "a file with keys has changed; its keys are used now"
                );
            }
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(
                    %error,
                    source,
                    "a file with keys has changed and cannot be used; the earlier keys stay valid"
                );
            }
        }
    }
}

/// Checks the files until the sender is dropped; none if the interval is zero.
pub(crate) fn keep_rereading(
    auth: Arc<Authenticator>,
) -> io::Result<Option<(SyncSender<()>, JoinHandle<()>)>> {
    let interval = auth.settings.key_files_check;
    if interval == Duration::ZERO {
        return Ok(None);
    }
    let (runs, ends) = sync_channel(0);
    let check = move || {
        while ends.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            auth.reread_changed();
        }
    };
    let thread = std::thread::Builder::new()
        .name("offhook-key-files".to_owned())
        .spawn(check)?;
    Ok(Some((runs, thread)))
}
