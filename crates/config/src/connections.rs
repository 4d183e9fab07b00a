//! Settings of connections: their number, messages, and keepalive.

use std::time::Duration;

use offhook::protocol::Keepalive;

use super::group::group;
use super::kind::{Bytes, Or, Switch, some, time};

group! {
    /// The number of connections and the rate of handshakes, for the whole process, and timeouts.
    pub struct Connections {
        /// The maximum number of open connections.
        ///
        /// About 200 MiB of memory; the process usually runs out of descriptors first.
        max: usize = 100_000 => some();

        /// The maximum number of open connections from one address.
        ///
        /// An office or a mobile carrier may share one address.
        max_per_address: Option<usize> = None => Or("none", some());

        /// Handshakes per second. Further clients get 503 and the time after which to try again.
        ///
        /// Half a core if all of them use TLS; 20,000 clients of a restarted server reconnect
        /// within 10 s.
        handshakes_per_second: u32 = 2_000 => some();

        /// Handshakes at once after a pause.
        ///
        /// One second of the rate.
        handshake_burst: u32 = 2_000 => some();

        /// The time limit from accepting the connection to the end of its handshake.
        ///
        /// TLS on a slow phone takes 2 s.
        handshake_timeout: Duration = Duration::from_secs(10) => time();

        /// The time limit from the handshake to the client's `connect`.
        ///
        /// Clients send `connect` immediately; without a limit, attackers could hold unused
        /// connections open.
        connect_timeout: Duration = Duration::from_secs(10) => time();

        /// How long a client may take to answer a Close.
        ///
        /// Three retransmissions on a bad mobile network.
        close_timeout: Duration = Duration::from_secs(10) => time();

        /// The kernel's send buffer of each connection (`SO_SNDBUF`).
        ///
        /// The kernel's own choice adapts to the connection.
        send_buffer: Option<usize> = None => Or("system", Bytes::new());

        /// The kernel's receive buffer of each connection (`SO_RCVBUF`).
        ///
        /// The kernel's own choice adapts to the connection.
        receive_buffer: Option<usize> = None => Or("system", Bytes::new());
    }
}

group! {
    /// Messages on a connection, and how much may be queued.
    pub struct Messages {
        /// The longest message that a client may send.
        ///
        /// Twice the longest publication in base64 with its tags.
        max_bytes: usize = 256 * 1024 => Bytes::new();

        /// How much may be queued for one connection before it reads from the log instead. It has
        /// to hold at least one publication of `limits.data_bytes` with its other fields.
        ///
        /// One second of output to a phone with 2 Mbit/s.
        outbox_bytes: usize = 256 * 1024 => Bytes::new();

        /// The time limit from the first byte of a client's message to its last. After that, the
        /// connection is closed with 1008.
        ///
        /// The longest message over a link of 35 kbit/s; without a limit, each connection could
        /// hold an incomplete message forever.
        receive_within: Duration = Duration::from_secs(60) => time();

        /// Compress with permessage-deflate where clients offer it.
        ///
        /// JSON shrinks to a quarter, but each message costs microseconds and each connection a window.
        deflate: bool = false => Switch;
    }
}

group! {
    /// How a dead connection is detected.
    for Keepalive {
        /// Ping a client from which nothing was received for this long.
        ///
        /// Below the idle timeouts of common proxies and NATs, which are 60 s and up.
        interval => Or("off", time());

        /// Give up on a client from which nothing was received for this long after a ping.
        ///
        /// A phone that changes cells recovers within that time; a dead socket does not.
        pong_timeout => time();
    }
}
