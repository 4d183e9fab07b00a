//! The page of all metrics.

use std::collections::BTreeMap;

use offhook_brokers::{CountedDurations, Held};

use super::{
    Answered, CLOSE_CODES, Metrics, process,
    text::{MEDIA_TYPE, Text},
};
use crate::worker::Shared;

/// A page of metrics.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) media_type: &'static str,
    pub(crate) text: String,
}

/// All metrics of the server, now.
pub(crate) fn page(shared: &Shared) -> Page {
    let mut text = Text::default();
    about(&mut text, shared);
    connections(&mut text, shared);
    http3(&mut text, &shared.metrics);
    messages(&mut text, &shared.metrics);
    storage(&mut text, shared);
    latencies(&mut text, shared);
    backend(&mut text, shared);
    pusher(&mut text, shared);
    process::write(&mut text, shared.started_at);
    Page {
        media_type: MEDIA_TYPE,
        text: text.end(),
    }
}

fn about(text: &mut Text, shared: &Shared) {
    let version = concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"");
    text.info("offhook_build", "The version of the server.", version);
    let workers = shared.config.workers.get();
    text.gauge("offhook_workers", "Event loops.", workers);
    let help = "1 while everything is stored as guaranteed, otherwise 0.";
    text.gauge("offhook_healthy", help, healthy(shared));
    let mut reloads = BTreeMap::new();
    shared.metrics.reloads.add_to(&mut reloads);
    let count = |result| (result, reloads.get(result).copied().unwrap_or_default());
    text.counters(
        "offhook_reloads",
        "Reloads of the configuration: applied (good) or refused (bad).",
        "result",
        [count("good"), count("bad")],
    );
}

fn healthy(shared: &Shared) -> u8 {
    u8::from(shared.broker.health().is_good())
}

fn connections(text: &mut Text, shared: &Shared) {
    let metrics = &shared.metrics;
    let help = "Open connections whose clients have identified themselves.";
    text.gauge("offhook_connections", help, shared.connections());
    let help = "Open sockets of clients, including those that have not identified themselves yet.";
    text.gauge("offhook_sockets", help, shared.admission.open());
    text.gauges_by_two(
        "offhook_clients",
        "Open connections by dialect and transport, since the first of their kind.",
        ["dialect", "transport"],
        metrics.clients(),
    );
    text.counter(
        "offhook_connections_opened",
        "Connections whose clients have identified themselves, since the start.",
        metrics.sum(|worker| &worker.opened),
    );
    text.counter(
        "offhook_connections_ended",
        "Those of the opened connections that have ended.",
        metrics.sum(|worker| &worker.ended),
    );
    let known = CLOSE_CODES.iter().enumerate().map(|(index, code)| {
        let count = metrics.sum(|worker| {
            worker
                .closed
                .known
                .get(index)
                .unwrap_or(&worker.closed.others)
        });
        (code.to_string(), count)
    });
    let others = metrics.sum(|worker| &worker.closed.others);
    text.counters(
        "offhook_websockets_closed",
        "Closed WebSockets by close code; 1006 means that the connection was lost.",
        "code",
        known.chain([("other".to_owned(), others)]),
    );
    text.counters(
        "offhook_refused",
        "Connections, requests and commands that were refused, and connections closed by the server.",
        "kind",
        metrics.words(|worker| &worker.refused),
    );
    text.counters_by_two(
        "offhook_http_answers",
        "Answers to HTTP requests, by the part of the server and the class of the status.",
        ["to", "status"],
        answers(metrics),
    );
}

fn http3(text: &mut Text, metrics: &Metrics) {
    text.counter(
        "offhook_webtransport_sessions",
        "WebTransport sessions whose control stream was opened.",
        metrics.sum(|worker| &worker.webtransport_sessions),
    );
    text.counter(
        "offhook_webtransport_streams",
        "Streams that subscriptions over WebTransport have had for themselves.",
        metrics.sum(|worker| &worker.webtransport_streams),
    );
    text.counters(
        "offhook_webtransport_datagrams",
        "Messages for datagrams: sent, replaced by a newer one before, too long and therefore sent on a \
         stream; and datagrams received from clients, which are ignored.",
        "outcome",
        [
            ("sent", metrics.sum(|worker| &worker.datagrams_sent)),
            ("replaced", metrics.sum(|worker| &worker.datagrams_replaced)),
            ("too_long", metrics.sum(|worker| &worker.datagrams_too_long)),
            ("ignored", metrics.sum(|worker| &worker.datagrams_received)),
        ],
    );
    text.counter(
        "offhook_quic_retries",
        "Clients of QUIC that were asked to prove their address, because many handshakes were under way.",
        metrics.sum(|worker| &worker.quic_retries),
    );
}

fn answers(metrics: &Metrics) -> impl Iterator<Item = ([String; 2], u64)> {
    let rows = Answered::ALL.iter().enumerate();
    rows.flat_map(move |(row, answered)| {
        (0..5).map(move |class| {
            let of_worker = |worker: &std::sync::Arc<super::WorkerMetrics>| {
                let row = worker.answers.0.get(row);
                row.and_then(|row| row.get(class))
                    .map_or(0, super::Counter::get)
            };
            let count = metrics.workers.iter().map(of_worker).sum();
            (
                [answered.name().to_owned(), format!("{}xx", class + 1)],
                count,
            )
        })
    })
}

fn messages(text: &mut Text, metrics: &Metrics) {
    let counters: [(&str, &str, u64); 7] = [
        (
            "offhook_received_messages",
            "Messages from connected clients; for MQTT over TCP, the number of reads.",
            metrics.sum(|worker| &worker.received_messages),
        ),
        (
            "offhook_received_bytes",
            "Bytes in these messages, without framing.",
            metrics.sum(|worker| &worker.received_bytes),
        ),
        (
            "offhook_published",
            "Publications that were acknowledged to a client or to the HTTP API.",
            metrics.sum(|worker| &worker.published),
        ),
        (
            "offhook_published_before",
            "Publications whose key had been published before, so that they were not published again.",
            metrics.sum(|worker| &worker.duplicates),
        ),
        (
            "offhook_deliveries",
            "Publications, joins and leaves put into the outboxes of connections.",
            metrics.sum(|worker| &worker.deliveries),
        ),
        (
            "offhook_delivered_bytes",
            "Bytes in these deliveries, before framing and compression.",
            metrics.sum(|worker| &worker.delivered_bytes),
        ),
        (
            "offhook_catching_up",
            "Subscriptions that could not keep up, and continued from history.",
            metrics.sum(|worker| &worker.catching_up),
        ),
    ];
    for (name, help, value) in counters {
        text.counter(name, help, value);
    }
    text.counters(
        "offhook_gaps",
        "Gaps reported to subscribers, by reason.",
        "reason",
        metrics.words(|worker| &worker.gaps),
    );
    let help = "Subscriptions of connected sessions; at most half a second old.";
    let subscriptions = metrics.sum(|worker| &worker.subscriptions);
    text.gauge("offhook_subscriptions", help, subscriptions);
    let help = "Channels with a subscriber, counted once for each worker that has one.";
    let followed = metrics.sum(|worker| &worker.followed_channels);
    text.gauge("offhook_followed_channels", help, followed);
}

fn storage(text: &mut Text, shared: &Shared) {
    let memory = shared.memory.connections();
    let Held {
        memory_bytes,
        channels,
        disk_bytes,
        open_channels: _,
        member_bytes: _,
    } = shared.broker.held();
    let help = "Unsent output of connections that have more than 16 KiB of it.";
    text.gauge("offhook_unsent_bytes", help, memory.unsent);
    let help =
        "Incomplete messages from clients, and data of HTTP/2 that was received and not read.";
    text.gauge("offhook_unfinished_bytes", help, memory.unfinished);
    let help = "Memory used by channels: names, members, and history and state in memory.";
    text.gauge("offhook_channel_bytes", help, memory_bytes);
    let help = "The budget for unsent output, incomplete messages and channels: memory.bytes.";
    text.gauge("offhook_memory_limit_bytes", help, shared.memory.limit());
    let help = "Channels on disk.";
    text.gauge("offhook_stored_channels", help, channels);
    let help = "Size of the log on disk.";
    text.gauge("offhook_disk_bytes", help, disk_bytes);
}

fn latencies(text: &mut Text, shared: &Shared) {
    let (metrics, timings) = (&shared.metrics, shared.broker.timings());
    let histograms: [(&str, &str, CountedDurations); 5] = [
        (
            "offhook_publish_to_fsync_seconds",
            "From a request to publish until the publication is durable; empty with in_memory.",
            timings.publish,
        ),
        (
            "offhook_log_commit_seconds",
            "Writing one batch to the log, including its fsync; empty with in_memory.",
            timings.commit,
        ),
        (
            "offhook_publish_to_write_seconds",
            "From a publication's time (in whole milliseconds) until a worker has written it to its \
             last live subscriber.",
            metrics.durations(|worker| &worker.publish_to_write),
        ),
        (
            "offhook_ping_round_trip_seconds",
            "Round-trip times of keepalive pings.",
            metrics.durations(|worker| &worker.ping_round_trip),
        ),
        (
            "offhook_event_loop_delay_seconds",
            "How late a worker's timer fires, measured ten times a second; timers are a millisecond late \
             at best.",
            metrics.durations(|worker| &worker.loop_delay),
        ),
    ];
    for (name, help, durations) in histograms {
        text.histogram(name, help, &durations);
    }
}

fn backend(text: &mut Text, shared: &Shared) {
    let Some(backend) = &shared.backend else {
        return;
    };
    let numbers = backend.numbers();
    text.counters(
        "offhook_backend_answers",
        "Requests with a question to the backend, by outcome.",
        "outcome",
        [("answered", numbers.answered), ("failed", numbers.failed)],
    );
    text.counters(
        "offhook_backend_failures",
        "Requests to the backend without a usable answer, by reason, with retries.",
        "reason",
        numbers.failures,
    );
    text.counters(
        "offhook_backend_events",
        "Events for the backend, by outcome.",
        "outcome",
        [
            ("told", numbers.events.told),
            ("dropped", numbers.events.dropped),
        ],
    );
    let help = "Events queued for the backend.";
    text.gauge(
        "offhook_backend_events_waiting",
        help,
        numbers.events.waiting,
    );
    let help = "1 while requests to the backend are paused because it did not answer.";
    text.gauge("offhook_backend_away", help, u8::from(numbers.events.away));
}

fn pusher(text: &mut Text, shared: &Shared) {
    let Some(pusher) = &shared.pusher else {
        return;
    };
    let events = pusher.delivered();
    text.counters(
        "offhook_pusher_events",
        "Events for webhooks in the form of Pusher, by outcome.",
        "outcome",
        [("told", events.told), ("dropped", events.dropped)],
    );
    let help = "Events queued for webhooks in the form of Pusher.";
    text.gauge("offhook_pusher_events_waiting", help, events.waiting);
    let help = "1 while requests to such a webhook are paused because it did not answer.";
    text.gauge("offhook_pusher_away", help, u8::from(events.away));
}
