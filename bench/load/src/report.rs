//! The result of a measurement, printed as one line of JSON and read back by the runner.

use serde::{Deserialize, Serialize};

/// The outcome of one measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// Messages or handshakes were counted over a period.
    Rate(Rate),
    /// The server's memory was read while its connections were idle.
    Memory(Memory),
    /// Messages of one publisher were delivered to many subscribers.
    FanOut(FanOut),
    /// Fan-out with one subscriber that did not read.
    SlowConnection(SlowConnection),
    /// Idle connections were held until standard input ended.
    Held,
    /// The server violated the protocol, or a connection or a deadline failed; the run does not
    /// count.
    Failed {
        /// The reason.
        error: String,
    },
}

/// A count of messages, or of complete handshakes, over a measured time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rate {
    /// The number completed.
    pub count: u64,
    /// The measured time, warm-up excluded.
    pub seconds: f64,
    /// `count / seconds`.
    pub per_second: f64,
    /// Median time from request to answer; absent if several are in flight on a connection.
    pub p50_us: Option<f64>,
    /// 99th percentile of that time.
    pub p99_us: Option<f64>,
    /// Seconds of user-space time the server process used.
    pub server_user_seconds: f64,
    /// Seconds of kernel time the server process used.
    pub server_system_seconds: f64,
    /// Seconds of processor time that this load generator used: if close to `seconds`, it was the
    /// bottleneck.
    pub load_seconds: f64,
    /// Bytes of WebSocket frames received for each counted thing (before TLS).
    pub bytes_each: f64,
}

/// What an idle connection costs the server in user space.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// The number of connections that the growth was divided by.
    pub connections: usize,
    /// KiB per connection after the upgrade and one 32 B echo.
    pub fresh_kib: f64,
    /// KiB per connection after each of them has also carried one 64 KiB message.
    pub after_burst_kib: f64,
}

/// Deliveries from one publisher to many subscribers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FanOut {
    /// One publication in flight: the next one leaves when all subscribers have received the last.
    pub one: Rate,
    /// Eight publications in flight.
    pub eight: Rate,
    /// At a fixed rate, with latency measured from the scheduled time.
    pub paced: Rate,
    /// The server's anonymous memory afterwards.
    pub anonymous_kib: u64,
}

/// One subscriber that does not read, among many that do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SlowConnection {
    /// The others before the slow subscriber connected.
    pub without: Others,
    /// The others while it was connected.
    pub with: Others,
    /// The server's memory: when the connection was far behind, after the part with eight in
    /// flight, and then every second.
    pub anonymous_kib: Vec<u64>,
    /// The number of publications that it had missed in the end.
    pub missed: u64,
    /// How long it took to read them, in order and without a gap.
    pub catch_up_seconds: f64,
    /// How often the server announced that it was catching up.
    pub times_told: u64,
    /// The server's memory when it had caught up.
    pub anonymous_kib_after: u64,
}

/// The subscribers that read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Others {
    /// Eight publications in flight.
    pub eight: Rate,
    /// At a fixed rate.
    pub paced: Rate,
}
