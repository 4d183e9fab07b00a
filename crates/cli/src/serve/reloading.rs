//! Reads the configuration again while the server runs. A configuration with a mistake changes
//! nothing.

use offhook_server::{Running, config::Change};

use super::{Dev, logs::Logs};
use crate::settings::Flags;

/// Reads the sources that were used at the start again: the file, the environment of this process,
/// and its flags.
pub(super) async fn reload(running: &Running, logs: &Logs, flags: &Flags, dev: &Dev) {
    let mut loaded = match flags.read() {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in problems.iter() {
                let text = problem.to_string();
                // Only the first line: the excerpt of the file does not fit into a log line.
                let sentence = text.lines().next().unwrap_or_default();
                tracing::error!(
                    place = %problem.place(),
                    "the configuration was not applied: {sentence}"
                );
            }
            running.count_unreadable_configuration();
            return;
        }
    };
    dev.apply(&mut loaded.config);
    match running.reload(loaded.config.clone()).await {
        Ok(changes) => {
            logs.set_level(&loaded.config.log.level);
            tell(&changes);
        }
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(source, "the configuration was not applied: {error}");
        }
    }
}

fn tell(changes: &[Change]) {
    for change in changes {
        let Change {
            key,
            before,
            after,
            is_live,
        } = change;
        let (before, after) = (before.as_deref(), after.as_deref());
        if *is_live {
            tracing::info!(setting = key, before, after, "a setting has changed");
        } else {
            tracing::warn!(
                setting = key,
                before,
                after,
                "a setting has changed, which takes effect at the next start"
            );
        }
    }
    let changed = changes.len();
    tracing::info!(changed, "the configuration was read again");
}
