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
