//! Logs refusals once per kind and interval, however often they happen, with what is known about
//! the client and the setting that decided.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Write as _},
    sync::Arc,
    time::{Duration, Instant},
};

use offhook::protocol::handshake::Request;
use offhook_engine::SessionId;

use crate::{
    door::Peer,
    metrics::WorkerMetrics,
    worker::{Approach, Verified},
};

/// How long repeated refusals are only counted before they are logged together.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);

/// The maximum number of characters that are logged of a text from a client. 200: longer than
/// ordinary origins and paths.
const SHOWN: usize = 200;

/// What is known about a client that is refused.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Client<'a> {
    pub(crate) peer: Option<Peer>,
    pub(crate) session: Option<SessionId>,
    /// Empty for an anonymous client.
    pub(crate) user: &'a str,
    pub(crate) origin: Option<&'a str>,
    /// Without the query, which may contain a token.
    pub(crate) path: Option<&'a str>,
}

impl<'a> Client<'a> {
    /// A client that has sent nothing yet.
    pub(crate) fn at(peer: Peer) -> Self {
        Self {
            peer: Some(peer),
            ..Self::default()
        }
    }

    /// A client that has not identified itself yet, described by its handshake.
    pub(crate) fn newcomer(
        peer: Option<Peer>,
        identity: Option<&'a Verified>,
        approach: Option<&'a Approach>,
    ) -> Self {
        Self {
            peer,
            user: identity.map_or("", |verified| &verified.identity.user),
            origin: approach.and_then(|from| from.origin.as_deref()),
            ..Self::default()
        }
    }

    /// The client that sent this request.
    pub(crate) fn with(peer: Option<Peer>, request: &'a Request) -> Self {
        Self {
            peer,
            origin: request.origin(),
            path: Some(request.path()),
            ..Self::default()
        }
    }
}

/// Counts refusals by kind.
#[derive(Debug)]
pub(crate) struct Refused {
    counts: BTreeMap<&'static str, u64>,
    since: Instant,
    metrics: Arc<WorkerMetrics>,
}

impl Refused {
    pub(crate) const fn new(now: Instant, metrics: Arc<WorkerMetrics>) -> Self {
        Self {
            counts: BTreeMap::new(),
            since: now,
            metrics,
        }
    }

    /// Records a refusal. The first of its kind is logged immediately with its details.
    pub(crate) fn note(&mut self, kind: &'static str, detail: impl Display, client: Client<'_>) {
        self.metrics.refused.count(kind);
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count > 1 {
            return;
        }
        let Client {
            peer,
            session,
            user,
            origin,
            path,
        } = client;
        // Fields that are not known are omitted.
        tracing::warn!(
            kind,
            connection = peer.map(|peer| peer.number),
            address = peer.map(|peer| display(peer.address)),
            origin = origin.map(|origin| display(Shown(origin))),
            path = path.map(|path| display(Shown(path))),
            session = session.map(display),
            user = Some(user).filter(|user| !user.is_empty()).map(|user| display(Shown(user))),
            setting = setting_of(kind),
            %detail,
            "refused"
        );
    }

    /// Logs repeated refusals, if the interval has passed.
    pub(crate) fn tell_in_time(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= INTERVAL {
            self.tell(now);
        }
    }

    /// Logs repeated refusals.
    pub(crate) fn tell(&mut self, now: Instant) {
        let past = now.saturating_duration_since(self.since);
        for (kind, count) in std::mem::take(&mut self.counts) {
            if count > 1 {
                let seconds = past.as_secs();
                tracing::warn!(
                    kind,
                    more = count - 1,
                    seconds,
                    setting = setting_of(kind),
                    "refused more of the same kind"
                );
            }
        }
        self.since = now;
    }
}

/// A text from a client or a backend, truncated, and with control characters escaped, which could manipulate a
/// terminal.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.chars();
        for c in rest.by_ref().take(SHOWN) {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        match rest.next() {
            Some(_) => f.write_str("…"),
            None => Ok(()),
        }
    }
}

/// The setting that decides about refusals of this kind; none if no setting does.
fn setting_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "admin" => "admin.listen",
        "api" | "metrics" => "api.keys",
        "bad_token" => "resume.key",
        "backend_away" | "rejected" | "timed_out" => "backend",
        "certificate" => "tls.client_ca",
        "connect" => "connections.connect_timeout",
        "connections" => "connections.max, connections.max_per_address",
        "expired" | "token" | "unauthenticated" => "auth",
        "flood" => "limits.flood",
        "forbidden" | "no_history" | "no_presence" | "no_state" | "unknown_channel" => "channels",
        "handshake_timeout" => "connections.handshake_timeout",
        "handshakes" => "connections.handshakes_per_second",
        "host" => "hosts",
        "http2" => "http2.resets, http2.control_frames",
        "memory" => "memory.bytes",
        "origin" => "origins",
        "path" => "ws_path",
        "proxy" => "proxies.protocol",
        "rate_limited" => "limits.commands_per_second, limits.publishes_per_second",
        "storage_full" => "storage.disk_bytes",
        "too_large" => "limits.data_bytes",
        "too_long" => "messages.max_bytes",
        "too_many_channels" => "storage.channels",
        "too_many_subscriptions" => "limits.subscriptions",
        "too_slow" => "messages.outbox_bytes",
        "unfinished" => "messages.receive_within",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_a_client_is_truncated_and_cannot_manipulate_a_terminal() {
        assert_eq!(Shown("/a\u{1b}[31m\n").to_string(), "/a\\u{1b}[31m\\n");
        let long = "é".repeat(SHOWN + 1);
        assert_eq!(Shown(&long).to_string(), "é".repeat(SHOWN) + "…");
    }

    #[test]
    fn every_setting_that_is_named_exists() {
        let kinds = offhook_engine::ErrorCode::ALL
            .iter()
            .map(|code| code.name());
        let ours = [
            "admin",
            "api",
            "certificate",
            "connect",
            "connections",
            "flood",
            "handshake_timeout",
            "handshakes",
            "host",
            "http2",
            "memory",
            "metrics",
            "origin",
            "path",
            "proxy",
            "token",
            "too_long",
            "too_slow",
            "unfinished",
        ];
        let settings = offhook_config::settings();
        for setting in kinds.chain(ours).filter_map(setting_of) {
            for name in setting.split(", ") {
                let is_group = settings.iter().any(|known| known.group() == name);
                let is_one = settings.iter().any(|known| known.key == name);
                assert!(is_group || is_one, "{name}");
            }
        }
    }
}
