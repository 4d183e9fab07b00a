//! Applies another configuration while the server runs.

use std::sync::Arc;

use offhook_config::{Change, applied, changes};
use tokio::sync::oneshot;

use crate::{
    config::{Config, ResumeKey},
    key_file,
    server::Running,
    start_error::StartError,
    worker::{Live, Order},
};

impl Running {
    /// Applies those settings of a configuration that can change while the server runs: rules of
    /// channels, keys, origins and host names, certificates, and limits. Returns every setting that
    /// differs, including those that take effect only at the next start ([`Change::is_live`]).
    ///
    /// Connections stay open, even if they exceed a new limit. The new rules and limits apply to
    /// their next commands. The caller has to change the log level.
    ///
    /// # Errors
    /// [`StartError`] names the file or the setting that cannot be used. Nothing has changed then.
    pub async fn reload(&self, config: Config) -> Result<Vec<Change>, StartError> {
        let mut current = self.config.lock().await;
        let reloaded = self.take_over(&current, config).await;
        let word = if reloaded.is_ok() { "good" } else { "bad" };
        self.metrics.reloads.count(word);
        let (config, changes) = reloaded?;
        // All other settings are still those of the start, also if this process has to start its server
        // again because an upgrade fails.
        *current = applied(&current, &config);
        Ok(changes)
    }

    /// Counts a configuration that could not be read, for the metrics.
    pub fn count_unreadable_configuration(&self) {
        self.metrics.reloads.count("bad");
    }

    async fn take_over(
        &self,
        current: &Config,
        config: Config,
    ) -> Result<(Config, Vec<Change>), StartError> {
        let changes = changes(current, &config);
        // Everything that can fail is done first, so that an error changes nothing.
        let certificates = match (&self.certificates, &config.tls) {
            (Some(certificates), Some(files)) => Some((certificates, certificates.read(files)?)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(StartError::NeedsRestart {
                    setting: "tls",
                    reason: "whether the server accepts TLS",
                });
            }
        };
        let resume_keys = newer_resume_keys(current, &config)?;
        self.reload_keys(&config.auth, &config.api)?;
        if let Some((certificates, read)) = certificates {
            certificates.replace(read);
        }
        if let Some(keys) = resume_keys {
            self.set_resume_keys(&keys);
        }
        self.admission.set_limits(&config.connections);
        let mut live = config.clone();
        // Tokens are checked against the classes that were configured at the start.
        live.limits.classes.clone_from(&current.limits.classes);
        // The apps that are served are those of the start, and so are their private channels.
        live.pusher.apps.clone_from(&current.pusher.apps);
        let rules = Arc::new(live.rule_book());
        if let Some(broker) = self.broker() {
            broker.set_rules(Arc::clone(&rules));
        }
        let live = Live::new(live, rules);
        for worker in 0..self.orders.workers() {
            let (done, applied) = oneshot::channel();
            let live = Arc::clone(&live);
            self.orders.give(worker, Order::Apply { live, done });
            // A worker that has ended does not answer, and needs no configuration.
            let _ended = applied.await;
        }
        Ok((config, changes))
    }
}

/// The new keys of resume tokens, if they change: first the key that seals tokens, then keys that
/// only open them.
fn newer_resume_keys(
    current: &Config,
    config: &Config,
) -> Result<Option<Vec<ResumeKey>>, StartError> {
    let (old, new) = (&current.resume, &config.resume);
    if old.key == new.key && old.older_keys == new.older_keys {
        return Ok(None);
    }
    let first = match &new.key {
        Some(key) => key.clone(),
        // The key that was generated at the start is not stored anywhere.
        None if current.in_memory => {
            return Err(StartError::NeedsRestart {
                setting: "resume.key",
                reason: "with in_memory, returning to a generated key",
            });
        }
        None => key_file::read_or_make(&current.data)?,
    };
    Ok(Some([&[first][..], &new.older_keys].concat()))
}
