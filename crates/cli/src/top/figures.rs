//! The figures of one interval, computed from the server's answers before and after it.

use serde_json::{Value, json};

use super::Sample;

/// The figures of one interval. Rates are per second.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) version: String,
    pub(super) healthy: bool,
    pub(super) uptime: u64,
    pub(super) workers: u64,
    pub(super) connections: f64,
    pub(super) sockets: f64,
    pub(super) subscriptions: f64,
    pub(super) opened: f64,
    pub(super) ended: f64,
    pub(super) received: f64,
    pub(super) published: f64,
    pub(super) deliveries: f64,
    pub(super) delivered_bytes: f64,
    pub(super) catching_up: f64,
    /// Gaps by reason, and refusals by kind, of this interval.
    pub(super) gaps: Vec<(String, f64)>,
    pub(super) refused: Vec<(String, f64)>,
    pub(super) latencies: Vec<Latency>,
    pub(super) resident: f64,
    pub(super) unsent: f64,
    pub(super) channels: f64,
    pub(super) memory_limit: f64,
    pub(super) pressure: String,
    pub(super) disk: f64,
    pub(super) slowest: Vec<Value>,
    pub(super) busiest: Vec<Value>,
}

/// A latency of this interval, in seconds; `None` if nothing was measured.
#[derive(Debug)]
pub(super) struct Latency {
    pub(super) name: &'static str,
    pub(super) middle: Option<f64>,
    pub(super) high: Option<f64>,
}

const LATENCIES: [(&str, &str); 4] = [
    ("publish to fsync", "offhook_publish_to_fsync_seconds"),
    ("publish to write", "offhook_publish_to_write_seconds"),
    ("ping round trip", "offhook_ping_round_trip_seconds"),
    ("event loop delay", "offhook_event_loop_delay_seconds"),
];

/// How many reasons and kinds are shown. 3: the most frequent ones, so that they fit on one line.
const WORDS: usize = 3;

impl Figures {
    pub(super) fn between(before: &Sample, now: &Sample) -> Self {
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(1e-3);
        let gauge = |name: &str| now.metrics.get(name);
        // A server that was restarted counts from 0.
        let added = |name: &str| (gauge(name) - before.metrics.get(name)).max(0.0);
        let rate = |name: &str| added(name) / seconds;
        let list = |name: &str| now.top[name].as_array().cloned().unwrap_or_default();
        let latency = |(name, metric): (&'static str, &str)| {
            let added = now.metrics.histogram(metric);
            let added = added.since(&before.metrics.histogram(metric));
            Latency {
                name,
                middle: added.quantile(0.5),
                high: added.quantile(0.99),
            }
        };
        let text = |name: &str| now.stats[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| now.stats[name].as_u64().unwrap_or_default();
        Self {
            version: text("version"),
            healthy: now.stats["healthy"] == true,
            uptime: number("uptime_seconds"),
            workers: number("workers"),
            connections: gauge("offhook_connections"),
            sockets: gauge("offhook_sockets"),
            subscriptions: gauge("offhook_subscriptions"),
            opened: rate("offhook_connections_opened_total"),
            ended: rate("offhook_connections_ended_total"),
            received: rate("offhook_received_messages_total"),
            published: rate("offhook_published_total"),
            deliveries: rate("offhook_deliveries_total"),
            delivered_bytes: rate("offhook_delivered_bytes_total"),
            catching_up: added("offhook_catching_up_total"),
            gaps: most(before, now, "offhook_gaps_total"),
            refused: most(before, now, "offhook_refused_total"),
            latencies: LATENCIES.into_iter().map(latency).collect(),
            resident: gauge("process_resident_memory_bytes"),
            unsent: gauge("offhook_unsent_bytes"),
            channels: gauge("offhook_channel_bytes"),
            memory_limit: gauge("offhook_memory_limit_bytes"),
            pressure: text("memory"),
            disk: gauge("offhook_disk_bytes"),
            slowest: list("slowest"),
            busiest: list("busiest"),
        }
    }

    /// All figures, for programs.
    pub(super) fn json(&self) -> Value {
        let words = |all: &[(String, f64)]| -> Value {
            let all = all.iter().map(|(word, count)| (word.clone(), json!(count)));
            Value::Object(all.collect())
        };
        let latencies = self.latencies.iter().map(|latency| {
            let shown = json!({ "p50": latency.middle, "p99": latency.high });
            (latency.name.replace(' ', "_") + "_seconds", shown)
        });
        json!({
            "version": self.version,
            "healthy": self.healthy,
            "uptime_seconds": self.uptime,
            "workers": self.workers,
            "connections": self.connections,
            "sockets": self.sockets,
            "subscriptions": self.subscriptions,
            "opened_per_second": self.opened,
            "ended_per_second": self.ended,
            "received_per_second": self.received,
            "published_per_second": self.published,
            "deliveries_per_second": self.deliveries,
            "delivered_bytes_per_second": self.delivered_bytes,
            "caught_up": self.catching_up,
            "gaps": words(&self.gaps),
            "refused": words(&self.refused),
            "latencies": Value::Object(latencies.collect()),
            "resident_bytes": self.resident,
            "unsent_bytes": self.unsent,
            "channel_bytes": self.channels,
            "memory_limit_bytes": self.memory_limit,
            "memory": self.pressure,
            "disk_bytes": self.disk,
            "slowest": self.slowest,
            "busiest": self.busiest,
        })
    }
}

/// The labels with the highest counts in the interval.
fn most(before: &Sample, now: &Sample, name: &str) -> Vec<(String, f64)> {
    let earlier = before.metrics.by_label(name);
    let counts = now.metrics.by_label(name).into_iter();
    let mut added: Vec<(String, f64)> = counts
        .map(|(word, count)| {
            let before = earlier.get(word).copied().unwrap_or_default();
            (word.to_owned(), count - before)
        })
        .filter(|(_, added)| *added > 0.0)
        .collect();
    added.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    added.truncate(WORDS);
    added
}
