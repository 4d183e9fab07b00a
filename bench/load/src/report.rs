//! What a measurement found; printed as one connection of JSON and read back by the runner.

use serde::{Deserialize, Serialize};

/// The outcome of one measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// Messages or handshakes were counted over a time.
    Rate(Rate),
    /// The server's memory was read while its connections were quiet.
    Memory(Memory),
    /// One publisher's messages went to many.
    FanOut(FanOut),
    /// The same with one subscriber that did not read.
    SlowConnection(SlowConnection),
    /// Quiet connections were held until whoever wanted them had enough.
    Held,
    /// The server broke the protocol, a connection or a deadline; nothing of the run counts.
    Failed {
        /// What happened.
        error: String,
    },
}

/// Things counted (messages, or whole handshakes) over a measured time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rate {
    /// How many were completed.
    pub count: u64,
    /// The measured time, warm-up excluded.
    pub seconds: f64,
    /// `count / seconds`.
    pub per_second: f64,
    /// Median time from request to answer; absent when several are in flight on a connection.
    pub p50_us: Option<f64>,
    /// 99th percentile of the same.
    pub p99_us: Option<f64>,
    /// Seconds of user-space time the server process used.
    pub server_user_seconds: f64,
    /// Seconds of kernel time the server process used.
    pub server_system_seconds: f64,
    /// Seconds of processor time this load generator used: near `seconds`, it was the limit.
    pub load_seconds: f64,
    /// Bytes of WebSocket frames received for each thing counted (before TLS).
    pub bytes_each: f64,
}

/// What a quiet connection costs the server in user space.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// How many connections the growth was divided by.
    pub connections: usize,
    /// KiB a connection after the upgrade and one 32 B echo.
    pub fresh_kib: f64,
    /// KiB a connection after each of them also carried one 64 KiB message.
    pub after_burst_kib: f64,
}

/// Deliveries from one publisher to many subscribers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FanOut {
    /// The next publication leaves when all have the last.
    pub one: Rate,
    /// Eight publications under way.
    pub eight: Rate,
    /// At a fixed rate, with times from when a publication was to be sent.
    pub paced: Rate,
    /// The server's anonymous memory after that.
    pub anonymous_kib: u64,
}

/// One subscriber that does not read, among many that do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SlowConnection {
    /// The others before it came.
    pub without: Others,
    /// The others while it was there.
    pub with: Others,
    /// The server's memory: when the connection was far behind, after the part with eight in flight, then
    /// every second.
    pub anonymous_kib: Vec<u64>,
    /// How many publications waited for it in the end.
    pub missed: u64,
    /// How long it took to read them, in order and without a hole.
    pub catch_up_seconds: f64,
    /// How often it was told that it is catching up.
    pub times_told: u64,
    /// The server's memory when it had them.
    pub anonymous_kib_after: u64,
}

/// The subscribers that read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Others {
    /// Eight publications under way.
    pub eight: Rate,
    /// At a fixed rate.
    pub paced: Rate,
}
