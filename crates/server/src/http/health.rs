//! `/healthz`, the server's health for people, and `/readyz`, for load balancers.

use hyper::{
    Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use offhook_brokers::Health;
use serde::Serialize;

use super::{Answer, sentence};
use crate::worker::{Phase, Shared, Worker};

/// The path of the report.
pub(super) const PATH: &str = "/healthz";

/// The path that says whether clients should be sent here.
pub(super) const READY: &str = "/readyz";

#[derive(Serialize)]
struct Report<'a> {
    /// `good`, `failing` or `corrupt`.
    status: &'a str,
    /// What is wrong and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// Connections that have sent a connect, over all workers.
    connections: usize,
    /// Open sockets, including those still in their handshake.
    sockets: usize,
    /// Queued bytes, over all connections.
    unsent_bytes: usize,
    /// Bytes of incomplete messages, over all connections.
    unfinished_bytes: usize,
    /// Memory of channels: names, members, and the keys and history of those in memory.
    channel_bytes: usize,
    /// How much of the budget for these three is used: `low`, `high`, `severe` or `exceeded`.
    memory: &'a str,
    /// The budget.
    memory_limit: usize,
    /// Channels on disk, and bytes of the log.
    channels: u32,
    disk_bytes: u64,
    workers: usize,
    uptime_seconds: u64,
    version: &'a str,
}

/// 200 if clients should be sent here; 503 while the server stops, and while it cannot store
/// publications.
pub(super) fn ready(worker: &Worker) -> Answer {
    let refused = |why| sentence(StatusCode::SERVICE_UNAVAILABLE, why);
    if worker.phase() != Phase::Open {
        return refused("the server is being stopped");
    }
    match worker.shared.broker.health() {
        Health::Good => sentence(StatusCode::OK, "ready"),
        Health::Failing(_) => refused("the log fails; /healthz says why"),
        Health::Corrupt(_) => refused("the log is damaged; /healthz says where"),
    }
}

/// 200 while everything is stored as guaranteed, otherwise 503: publishers should use another
/// server.
pub(super) fn report(shared: &Shared) -> Answer {
    let health = shared.broker.health();
    let (code, status, detail) = match &health {
        Health::Good => (StatusCode::OK, "good", None),
        Health::Failing(what) => (StatusCode::SERVICE_UNAVAILABLE, "failing", Some(&**what)),
        Health::Corrupt(what) => (StatusCode::SERVICE_UNAVAILABLE, "corrupt", Some(&**what)),
    };
    let (connections, held) = (shared.memory.connections(), shared.broker.held());
    let report = Report {
        status,
        detail,
        connections: shared.connections(),
        sockets: shared.admission.open(),
        unsent_bytes: connections.unsent,
        unfinished_bytes: connections.unfinished + shared.memory.bodies(),
        channel_bytes: held.memory_bytes,
        memory: shared.memory.pressure().name(),
        memory_limit: shared.memory.limit(),
        channels: held.channels,
        disk_bytes: held.disk_bytes,
        workers: shared.config.workers.get(),
        uptime_seconds: shared.started.elapsed().as_secs(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let mut body = serde_json::to_vec(&report).expect("a report of numbers and texts is JSON");
    body.push(b'\n');
    let mut answer = Response::new(body.into());
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
