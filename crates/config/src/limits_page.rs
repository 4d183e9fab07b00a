//! All limits in one table, by what they limit.

use std::{collections::BTreeMap, fmt::Write as _};

use super::catalogue::{Setting, settings};

/// The settings that limit something, by whom or what they limit.
const LIMITS: &[(&str, &[&str])] = &[
    (
        "The process",
        &[
            "connections.max",
            "connections.handshakes_per_second",
            "connections.handshake_burst",
            "http3.handshakes",
            "http3.validate_from",
            "memory.bytes",
            "recorder.bytes",
            "recorder.keep",
            "storage.channels",
            "storage.disk_bytes",
            "storage.queue_count",
            "storage.queue_bytes",
            "storage.cache_bytes",
            "backend.queue",
            "backend.events",
            "drain",
        ],
    ),
    (
        "An address (of IPv6, the first 64 bits)",
        &["connections.max_per_address"],
    ),
    (
        "A connection until its client has identified itself",
        &[
            "connections.handshake_timeout",
            "connections.connect_timeout",
        ],
    ),
    (
        "A connection",
        &[
            "messages.max_bytes",
            "messages.outbox_bytes",
            "messages.receive_within",
            "limits.commands_per_second",
            "limits.command_burst",
            "limits.publishes_per_second",
            "limits.publish_burst",
            "limits.flood",
            "limits.requests_per_connection",
            "keepalive.interval",
            "keepalive.pong_timeout",
            "connections.close_timeout",
            "recorder.entries",
        ],
    ),
    (
        "A connection of HTTP/2",
        &[
            "http2.streams",
            "http2.window",
            "http2.header_bytes",
            "http2.idle_timeout",
            "http2.resets",
            "http2.control_frames",
        ],
    ),
    (
        "A GraphQL document, and a batch of them",
        &[
            "graphql.depth",
            "graphql.fields",
            "graphql.aliases",
            "graphql.batch",
        ],
    ),
    (
        "A connection of HTTP/3",
        &[
            "http3.streams",
            "http3.sessions",
            "http3.session_streams",
            "http3.window",
            "http3.send_window",
            "http3.datagram_bytes",
            "http3.header_bytes",
            "http3.idle_timeout",
            "http3.resets",
        ],
    ),
    ("A class of clients", &["limits.classes"]),
    (
        "A session",
        &[
            "limits.subscriptions",
            "limits.window",
            "resume.expiry",
            "mqtt.session_expiry",
        ],
    ),
    (
        "A publication, and an answer",
        &[
            "limits.data_bytes",
            "limits.members",
            "limits.page_count",
            "limits.page_bytes",
            "limits.answer_within",
            "limits.call_within",
        ],
    ),
    (
        "A worker",
        &[
            "limits.channels",
            "limits.requests",
            "limits.reads",
            "limits.recent_count",
            "limits.recent_bytes",
            "storage.mailbox_bytes",
        ],
    ),
    (
        "A request to the HTTP API",
        &["api.max_body", "api.body_timeout"],
    ),
];

/// The table of limits as Markdown.
#[must_use]
pub fn limits() -> String {
    let settings = settings().into_iter();
    let settings: BTreeMap<String, Setting> = settings.map(|one| (one.key.clone(), one)).collect();
    let mut page = "# Limits\n\nThis page lists every limit, with its default and the reason for it, \
                    from the same definition as [configuration.md](configuration.md) (`offhook config \
                    --limits` prints this page). History and state are limited by the rules of \
                    channels. [server.md](server.md) says what happens at each limit, and the metric \
                    `offhook_refused` ([metrics.md](metrics.md)) counts refusals.\n"
        .to_owned();
    for (of, keys) in LIMITS {
        // Writing to a String never fails.
        let _ = write!(
            page,
            "\n## {of}\n\n| setting | default | what it limits | why this much |\n|---|---|---|---|\n"
        );
        for setting in keys.iter().filter_map(|key| settings.get(*key)) {
            let default = setting.default.as_deref().unwrap_or_default();
            let cell = |text: &str| text.replace('|', "\\|");
            let _ = writeln!(
                page,
                "| `{}` | `{}` | {} | {} |",
                setting.key,
                cell(default),
                cell(&setting.about),
                cell(&setting.reason)
            );
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_a_setting_and_the_page_is_that_of_these_settings() {
        let known = settings();
        for key in LIMITS.iter().flat_map(|(_, keys)| *keys) {
            assert!(known.iter().any(|setting| setting.key == *key), "{key}");
        }
        let page = include_str!("../../../docs/limits.md");
        assert!(
            page == limits(),
            "run `cargo run -- config --limits > docs/limits.md`"
        );
    }

    #[test]
    fn every_setting_of_the_group_limits_is_in_the_table() {
        let listed: Vec<&str> = LIMITS.iter().flat_map(|(_, keys)| *keys).copied().collect();
        // These are not limits: they say how often something happens.
        let others = [
            "limits.presence_grace",
            "limits.presence_lease",
            "limits.save_after",
            "limits.read_again_after",
        ];
        for setting in settings()
            .iter()
            .filter(|setting| setting.group() == "limits")
        {
            let key = setting.key.as_str();
            assert!(listed.contains(&key) || others.contains(&key), "{key}");
        }
    }
}
