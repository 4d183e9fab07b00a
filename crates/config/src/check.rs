//! Checks that involve several settings.

use std::{collections::BTreeSet, time::Duration};

use offhook_auth::Key;
use offhook_engine::Access;

use super::Config;
use super::channels::ChannelRule;
use super::given::Place;
use super::listen::ClientCerts;
use super::load::Loaded;
use super::problem::Problem;
use super::pusher::PusherWebhook;
use super::running::TlsFiles;

/// How much a publication's data grows in base64, and the maximum size of the rest of the message.
const IN_BASE64: (usize, usize) = (4, 3);
const AROUND: usize = 16 * 1024;

/// Settings that contradict each other. A setting that already `failed` is not reported again.
pub(crate) fn together(loaded: &Loaded, failed: &BTreeSet<String>) -> Vec<Problem> {
    let checks: [(&[&str], Check); 15] = [
        (
            &["tls.cert", "tls.key", "tls.more_certs", "tls.more_keys"],
            tls,
        ),
        (
            &[
                "listen",
                "mqtt.listen",
                "mqtt.tls_listen",
                "stomp.listen",
                "stomp.tls_listen",
                "admin.listen",
                "tls.client_ca",
                "tls.client_certs",
            ],
            listeners,
        ),
        (
            &["messages.max_bytes", "limits.data_bytes"],
            longest_message,
        ),
        (&["messages.outbox_bytes", "limits.data_bytes"], outbox),
        (&["memory.bytes", "messages.outbox_bytes"], budget),
        (&["limits.presence_lease"], lease),
        (
            &["connections.max_per_address", "connections.max"],
            per_address,
        ),
        (&["http2.streams", "http2.window"], http2_windows),
        (&["auth.secrets", "auth.secret_algorithm"], secrets),
        (&["channels"], unreachable),
        (&["channels"], rooms),
        (&["pusher.apps"], apps),
        (&["pusher.apps", "pusher.webhooks"], webhooks_of_apps),
        (
            &["backend.url", "backend.secrets", "backend.plain_http"],
            backend,
        ),
        (&["backend.url", "channels"], nobody_to_ask),
    ];
    let sound = |(keys, _): &(&[&str], Check)| !keys.iter().any(|key| failed.contains(*key));
    let checks = checks.into_iter().filter(sound);
    checks.flat_map(|(_, check)| check(loaded)).collect()
}

type Check = fn(&Loaded) -> Vec<Problem>;

fn tls(loaded: &Loaded) -> Vec<Problem> {
    let Some(files) = &loaded.config.tls else {
        return Vec::new();
    };
    let (missing, given) = if files.cert.as_os_str().is_empty() {
        let only_more = files.key.as_os_str().is_empty();
        (
            "tls.cert",
            if only_more {
                "tls.more_certs"
            } else {
                "tls.key"
            },
        )
    } else if files.key.as_os_str().is_empty() {
        ("tls.key", "tls.cert")
    } else {
        return more_certificates(loaded, files);
    };
    let message = format!("{missing} is missing beside {given}: TLS needs both files");
    vec![Problem::new(loaded.place(given), message)]
}

fn more_certificates(loaded: &Loaded, files: &TlsFiles) -> Vec<Problem> {
    let (certs, keys) = (files.more_certs.len(), files.more_keys.len());
    if certs == keys {
        return Vec::new();
    }
    let message = format!(
        "tls.more_certs has {certs} files and tls.more_keys {keys}: each certificate needs its key, \
         in the same order"
    );
    let place = either(loaded, "tls.more_keys", "tls.more_certs");
    vec![Problem::new(place, message)]
}

/// What listeners say must agree with the settings of TLS.
fn listeners(loaded: &Loaded) -> Vec<Problem> {
    let config = &loaded.config;
    let files = config.tls.as_ref();
    let usual_certs = files.map_or(ClientCerts::None, |files| files.client_certs);
    let has_ca = files.is_some_and(|files| !files.client_ca.is_empty());
    let mut problems = Vec::new();
    let mut asks = false;
    for (setting, usual, listeners) in [
        ("listen", files.is_some(), &config.listen),
        ("mqtt.listen", false, &config.mqtt.listen),
        ("mqtt.tls_listen", true, &config.mqtt.tls_listen),
        ("stomp.listen", false, &config.stomp.listen),
        ("stomp.tls_listen", true, &config.stomp.tls_listen),
        ("admin.listen", false, &config.admin.listen),
    ] {
        for listener in listeners {
            let uses_tls = listener.uses_tls(usual);
            let client_certs = listener.client_certs.unwrap_or(usual_certs);
            let is_asking = client_certs != ClientCerts::None;
            asks |= uses_tls && is_asking;
            let wrong = if listener.tls == Some(true) && files.is_none() {
                "there is no certificate; set tls.cert and tls.key"
            } else if listener.tls == Some(false) && setting.ends_with("tls_listen") {
                "this setting is for TLS; use the one without tls_"
            } else if listener
                .client_certs
                .is_some_and(|asked| asked != ClientCerts::None)
                && !uses_tls
            {
                "client-certs= needs TLS at this listener"
            } else if uses_tls && is_asking && !has_ca {
                "certificates of clients are asked for; set tls.client_ca to those who issue them"
            } else {
                continue;
            };
            let message = format!("{setting}: {listener}: {wrong}");
            problems.push(Problem::new(loaded.place(setting), message));
        }
    }
    if has_ca && !asks {
        let message = "tls.client_ca: no listener asks for certificates of clients; set \
                       tls.client_certs to \"optional\" or \"required\"";
        let place = loaded.place("tls.client_ca");
        problems.push(Problem::new(place, message));
    }
    problems
}

/// RFC 7518 §3.2: a secret is at least as long as the hash.
fn secrets(loaded: &Loaded) -> Vec<Problem> {
    let auth = &loaded.config.auth;
    let wrong = auth
        .secrets
        .iter()
        .filter_map(|secret| Key::hmac(auth.secret_algorithm, &secret.0).err());
    let place = loaded.place("auth.secrets");
    let problem = |error| Problem::new(place.clone(), format!("auth.secrets: {error}"));
    wrong.map(problem).collect()
}

/// Apps are separate, and an app is found by its id and by its keys.
fn apps(loaded: &Loaded) -> Vec<Problem> {
    let entries = &loaded.config.pusher.apps;
    let mut messages = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let (id, key) = (entry.id(), entry.key());
        for earlier in entries.iter().take(index) {
            if earlier.key() == key {
                messages.push(format!("pusher.apps: two entries have the key {key:?}"));
            }
            let (same_app, same_prefix) = (earlier.id() == id, earlier.prefix() == entry.prefix());
            if same_app && !same_prefix {
                messages.push(format!(
                    "pusher.apps: the entries of app {id:?} have different prefixes; they are keys of one app"
                ));
            }
            if !same_app && same_prefix {
                let other = earlier.id();
                messages.push(format!(
                    "pusher.apps: apps {other:?} and {id:?} would share all channels; give one of them a \
                     prefix, as in \"{id} {key} SECRET {id}/\""
                ));
            }
        }
    }
    messages.dedup();
    let place = loaded.place("pusher.apps");
    let problem = |message| Problem::new(place.clone(), message);
    messages.into_iter().map(problem).collect()
}

/// A webhook is signed with the key of its app.
fn webhooks_of_apps(loaded: &Loaded) -> Vec<Problem> {
    let pusher = &loaded.config.pusher;
    let has_app = |id: &str| pusher.apps.iter().any(|entry| entry.id() == id);
    let without = pusher.webhooks.iter().filter(|hook| !has_app(&hook.app));
    let problem = |hook: &PusherWebhook| {
        let message = format!(
            "pusher.webhooks: no app has the id {:?}; add it to pusher.apps, or correct the id",
            hook.app
        );
        Problem::new(loaded.place("pusher.webhooks"), message)
    };
    without.map(problem).collect()
}

fn longest_message(loaded: &Loaded) -> Vec<Problem> {
    let Config {
        messages, limits, ..
    } = &loaded.config;
    let data = limits.data_bytes;
    let needed = data.saturating_mul(IN_BASE64.0) / IN_BASE64.1 + AROUND;
    if messages.max_bytes >= needed {
        return Vec::new();
    }
    let message = format!(
        "messages.max_bytes is too small for a publication of limits.data_bytes ({data}), which \
         takes {needed} bytes in base64 with its tags: raise the first or lower the second"
    );
    let place = either(loaded, "messages.max_bytes", "limits.data_bytes");
    vec![Problem::new(place, message)]
}

fn outbox(loaded: &Loaded) -> Vec<Problem> {
    let Config {
        messages, limits, ..
    } = &loaded.config;
    let needed = limits.data_bytes.saturating_add(AROUND);
    if messages.outbox_bytes >= needed {
        return Vec::new();
    }
    let message = format!(
        "messages.outbox_bytes has to hold at least one publication of limits.data_bytes, which \
         takes {needed} bytes with its other fields: raise the first or lower the second"
    );
    let place = either(loaded, "messages.outbox_bytes", "limits.data_bytes");
    vec![Problem::new(place, message)]
}

fn budget(loaded: &Loaded) -> Vec<Problem> {
    let Config {
        messages, memory, ..
    } = &loaded.config;
    // Room for two full outboxes in the half that is not for channels, so that a single slow
    // connection cannot use all of it.
    let needed = messages.outbox_bytes.saturating_mul(4);
    if memory.bytes >= needed {
        return Vec::new();
    }
    let message = format!(
        "memory.bytes is the budget of all connections and channels; half of it has to hold two outboxes \
         of messages.outbox_bytes, so it has to be at least {needed} bytes: raise the first or lower \
         the second"
    );
    let place = either(loaded, "memory.bytes", "messages.outbox_bytes");
    vec![Problem::new(place, message)]
}

/// A lease is renewed three times before it expires, by a tick that happens twice a second.
fn lease(loaded: &Loaded) -> Vec<Problem> {
    const LEAST: Duration = Duration::from_secs(3);
    if loaded.config.limits.presence_lease >= LEAST {
        return Vec::new();
    }
    let message = format!(
        "limits.presence_lease has to be at least {} s: a lease is renewed three times before it \
         expires, and with less, a worker that is busy for a second would lose its members",
        LEAST.as_secs()
    );
    vec![Problem::new(loaded.place("limits.presence_lease"), message)]
}

fn per_address(loaded: &Loaded) -> Vec<Problem> {
    let connections = &loaded.config.connections;
    let Some(per_address) = connections.max_per_address else {
        return Vec::new();
    };
    if per_address <= connections.max {
        return Vec::new();
    }
    let message = format!(
        "connections.max_per_address is {per_address}, more than the {} that connections.max allows \
         for all addresses together: raise the second or lower the first",
        connections.max
    );
    let place = either(loaded, "connections.max_per_address", "connections.max");
    vec![Problem::new(place, message)]
}

/// RFC 9113 §6.9.1: a window has at most 2^31 - 1 bytes.
fn http2_windows(loaded: &Loaded) -> Vec<Problem> {
    const LARGEST: u64 = (1 << 31) - 1;
    let http2 = &loaded.config.http2;
    let together = u64::from(http2.window) * u64::from(http2.streams);
    if http2.window == 0 {
        let message =
            "http2.window is 0: clients could send no body and no message; the default is 65535";
        return vec![Problem::new(
            loaded.place("http2.window"),
            message.to_owned(),
        )];
    }
    if together <= LARGEST {
        return Vec::new();
    }
    let message = format!(
        "http2.window times http2.streams is {together} bytes; the window of a connection has at most \
         {LARGEST} (RFC 9113): lower the one or the other"
    );
    let place = either(loaded, "http2.window", "http2.streams");
    vec![Problem::new(place, message)]
}

fn backend(loaded: &Loaded) -> Vec<Problem> {
    let backend = &loaded.config.backend;
    let problem = |key, message: String| vec![Problem::new(loaded.place(key), message)];
    let Some(url) = &backend.url else {
        let asks = [
            ("backend.connect", backend.connect),
            ("backend.connections", backend.connections),
            ("backend.calls", backend.calls != Access::Nobody),
        ];
        let mut asks = asks.into_iter().filter(|(_, asks)| *asks);
        return asks.next().map_or_else(Vec::new, |(key, _)| {
            problem(
                key,
                format!("{key}: backend.url is missing: set the URL of the backend"),
            )
        });
    };
    if backend.secrets.is_empty() {
        let message = "backend.secrets is missing beside backend.url: requests are signed with it, so \
                       that the backend can verify that they come from this server";
        return problem("backend.url", message.to_owned());
    }
    if !url.tls && !url.is_local() && !backend.plain_http {
        let message = format!(
            "backend.url: anybody on the way could replace answers that {} sends by plain http; use \
             https, or set backend.plain_http if the network is yours",
            url.host
        );
        return problem("backend.url", message);
    }
    Vec::new()
}

/// Rules that ask a backend although none is configured.
fn nobody_to_ask(loaded: &Loaded) -> Vec<Problem> {
    if loaded.config.backend.url.is_some() {
        return Vec::new();
    }
    let rules = loaded.config.channels.iter().enumerate();
    let asks = rules.flat_map(|(position, rule)| {
        let rules = &rule.rules;
        let settings = [
            ("publish", rules.publish == Access::Asked),
            ("subscribe", rules.subscribe == Access::Asked),
            ("notify", rules.notify),
        ];
        let asking = settings.into_iter().filter(|(_, asks)| *asks);
        asking.map(move |(name, _)| format!("channels[{position}].{name}"))
    });
    let problem = |key: String| {
        let message = format!("{key}: backend.url is missing: set the URL of the backend");
        Problem::new(loaded.place(&key), message)
    };
    asks.map(problem).collect()
}

/// The place of the setting that was given explicitly.
fn either(loaded: &Loaded, first: &str, second: &str) -> Place {
    let place = loaded.place(first);
    if place == Place::Default {
        loaded.place(second)
    } else {
        place
    }
}

/// Rules after one that matches every channel.
/// The name of a room stands in the place of one `*`.
fn rooms(loaded: &Loaded) -> Vec<Problem> {
    let rules = loaded.config.channels.iter().enumerate();
    let rules = rules.filter(|(_, rule)| !rule.rooms.are_none());
    let problem = |(position, rule): (usize, &ChannelRule)| {
        let pattern = &rule.pattern;
        let (setting, why) = match pattern.matches('*').count() {
            0 => return None,
            1 if rule.rooms.everyone => (
                "rooms.everyone",
                "every client can only be in a room of a pattern without \"*\"",
            ),
            1 => return None,
            _ => (
                "rooms",
                "the name of a room stands in the place of one \"*\", and the pattern has several",
            ),
        };
        let key = format!("channels[{position}].{setting}");
        let message = format!("{key}: {why}: {pattern:?}");
        let place = format!("channels[{position}].pattern");
        Some(Problem::new(loaded.place(&place), message))
    };
    rules.filter_map(problem).collect()
}

fn unreachable(loaded: &Loaded) -> Vec<Problem> {
    let rules = loaded.config.channels.iter().enumerate();
    let Some((all, _)) = rules.clone().find(|(_, rule)| rule.pattern == "*") else {
        return Vec::new();
    };
    let below = rules.skip(all + 1);
    let problem = |(position, rule): (usize, &ChannelRule)| {
        let key = format!("channels[{position}].pattern");
        let pattern = &rule.pattern;
        let message = format!(
            "{key}: {pattern:?} is never reached, because \"*\" above it matches every channel; put \
             this rule first"
        );
        Problem::new(loaded.place(&key), message)
    };
    below.map(problem).collect()
}
