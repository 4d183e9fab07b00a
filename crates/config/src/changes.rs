//! The differences between two configurations, and which of them a running server can apply.

use std::{collections::BTreeMap, fmt};

use super::Config;
use super::catalogue::sections;

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its key.
    pub key: String,
    /// Its earlier value in TOML; none if it had none, or if it must not be shown.
    pub before: Option<String>,
    /// Its new value, likewise.
    pub after: Option<String>,
    /// Whether a running server can apply it. Other changes take effect at the next start.
    pub is_live: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |value: &Option<String>| value.clone().unwrap_or_else(|| "(not shown)".to_owned());
        let Self {
            key, before, after, ..
        } = self;
        write!(f, "{key}: {} -> {}", shown(before), shown(after))
    }
}

/// Settings and groups of settings that a running server can apply.
const LIVE: &[&str] = &[
    "api.key_files",
    "api.keys",
    "auth.key_files",
    "auth.secret_algorithm",
    "auth.secrets",
    "backend.calls",
    "behind_tls_proxy",
    "channels",
    "connections.handshake_burst",
    "connections.handshakes_per_second",
    "connections.max",
    "connections.max_per_address",
    "hosts",
    "limits",
    "log.level",
    "origins",
    "proxies",
    "resume.key",
    "resume.older_keys",
    "tls",
];

/// Settings in these groups that are applied only at the start.
const NOT_LIVE: &[&str] = &["limits.classes", "tls.client_ca", "tls.client_certs"];

/// Every setting that differs, in the order of their keys.
///
/// ```
/// use offhook_config::{Config, changes};
///
/// let before = Config::default();
/// let after = Config { hosts: vec!["chat.example.com".to_owned()], ..Config::default() };
/// let changes = changes(&before, &after);
/// assert_eq!(changes.len(), 1);
/// assert_eq!(changes[0].to_string(), r#"hosts: [] -> ["chat.example.com"]"#);
/// assert!(changes[0].is_live);
/// ```
#[must_use]
pub fn changes(before: &Config, after: &Config) -> Vec<Change> {
    let (old, new) = (values(before), values(after));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut changes: Vec<Change> = keys
        .into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| {
            let value = |of: &BTreeMap<String, Option<String>>| of.get(key).cloned().flatten();
            change(key, value(&old), value(&new))
        })
        .collect();
    changes.extend(secrets(before, after));
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    // A list of secrets that was empty is shown as such.
    changes.dedup_by(|a, b| a.key == b.key);
    changes
}

/// The configuration of a running server that has applied another one: its live settings are those
/// of `after`, and all others are still those of `before`.
#[must_use]
pub fn applied(before: &Config, after: &Config) -> Config {
    let after = after.clone();
    let mut now = before.clone();
    now.api.keys = after.api.keys;
    now.api.key_files = after.api.key_files;
    now.auth.key_files = after.auth.key_files;
    now.auth.secret_algorithm = after.auth.secret_algorithm;
    now.auth.secrets = after.auth.secrets;
    now.backend.calls = after.backend.calls;
    now.behind_tls_proxy = after.behind_tls_proxy;
    now.channels = after.channels;
    now.connections.handshake_burst = after.connections.handshake_burst;
    now.connections.handshakes_per_second = after.connections.handshakes_per_second;
    now.connections.max = after.connections.max;
    now.connections.max_per_address = after.connections.max_per_address;
    now.hosts = after.hosts;
    let classes = std::mem::take(&mut now.limits.classes);
    now.limits = after.limits;
    now.limits.classes = classes;
    now.log.level = after.log.level;
    now.origins = after.origins;
    now.proxies = after.proxies;
    now.resume.key = after.resume.key;
    now.resume.older_keys = after.resume.older_keys;
    if let (Some(now), Some(after)) = (&mut now.tls, after.tls) {
        let before = now.clone();
        *now = after;
        now.client_ca = before.client_ca;
        now.client_certs = before.client_certs;
    }
    now
}

fn change(key: &str, before: Option<String>, after: Option<String>) -> Change {
    let is_in = |group: &&&str| {
        let rest = key.strip_prefix(**group);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    Change {
        key: key.to_owned(),
        before,
        after,
        is_live: LIVE.iter().any(|group| is_in(&group))
            && !NOT_LIVE.iter().any(|group| is_in(&group)),
    }
}

/// Every setting's value by its key; none if it must not be shown.
fn values(config: &Config) -> BTreeMap<String, Option<String>> {
    let sections = sections(&mut config.clone());
    let settings = sections.into_iter().flat_map(|section| section.settings);
    settings
        .filter(|setting| !setting.is_rules)
        .map(|setting| (setting.key, setting.value))
        .collect()
}

/// Changed settings whose values are not shown.
fn secrets(before: &Config, after: &Config) -> Vec<Change> {
    let same = [
        ("api.keys", before.api.keys == after.api.keys),
        ("auth.secrets", before.auth.secrets == after.auth.secrets),
        (
            "backend.secrets",
            before.backend.secrets == after.backend.secrets,
        ),
        ("pusher.apps", before.pusher.apps == after.pusher.apps),
        ("resume.key", before.resume.key == after.resume.key),
        (
            "resume.older_keys",
            before.resume.older_keys == after.resume.older_keys,
        ),
    ];
    let changed = same.into_iter().filter(|(_, same)| !same);
    changed.map(|(key, _)| change(key, None, None)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_running_server_applies_is_exactly_what_is_live() {
        let before = Config::default();
        let mut after = Config {
            behind_tls_proxy: true,
            ..Config::default()
        };
        after.connections.max = 7;
        after.hosts = vec!["chat.example.com".to_owned()];
        after.limits.data_bytes = 10;
        after.data = "other".into();
        after.talk = !before.talk;
        after.connections.connect_timeout *= 2;
        let now = applied(&before, &after);
        let keys = |changes: Vec<Change>| -> Vec<(String, bool)> {
            changes
                .into_iter()
                .map(|one| (one.key, one.is_live))
                .collect()
        };
        let (live, later): (Vec<_>, Vec<_>) = keys(changes(&before, &after))
            .into_iter()
            .partition(|(_, is_live)| *is_live);
        assert_eq!((live.len(), later.len()), (4, 3));
        assert_eq!(keys(changes(&before, &now)), live);
        assert_eq!(keys(changes(&now, &after)), later);
    }
}
