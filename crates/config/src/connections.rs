//! Settings of connections: how many, what travels on them, how a dead one is noticed.

use std::time::Duration;

use offhook::protocol::Keepalive;

use super::group::group;
use super::kind::{Bytes, Or, Switch, some, time};

group! {
    /// How many connections, how fast they come, how long they may take. For the whole process.
    pub struct Connections {
        /// Connections open at once.
        ///
        /// Some 200 MiB of memory; the process's descriptors usually run out before.
        max: usize = 100_000 => some();

        /// Connections open at once from one address.
        ///
        /// An office or a mobile carrier is one address.
        max_per_address: Option<usize> = None => Or("none", some());

        /// Handshakes a second; more are told 503 and when to come back.
        ///
        /// Half a core if each does TLS, and 20,000 clients of a restarted server are back in
        /// 10 s.
        handshakes_per_second: u32 = 2_000 => some();

        /// Handshakes at once after a pause.
        ///
        /// A second's worth.
        handshake_burst: u32 = 2_000 => some();

        /// From accepting the connection to the answer of its handshake.
        ///
        /// A slow phone's TLS takes 2 s.
        handshake_timeout: Duration = Duration::from_secs(10) => time();

        /// From the handshake to the client's `connect`.
        ///
        /// A client sends it at once; who does not holds a connection for nothing.
        connect_timeout: Duration = Duration::from_secs(10) => time();

        /// How long a client may take to answer a Close.
        ///
        /// Three retransmissions on a bad mobile network.
        close_timeout: Duration = Duration::from_secs(10) => time();

        /// The kernel's send buffer of each connection (`SO_SNDBUF`).
        ///
        /// The kernel's own choice grows with what a connection needs.
        send_buffer: Option<usize> = None => Or("system", Bytes::new());

        /// The kernel's receive buffer of each connection (`SO_RCVBUF`).
        ///
        /// The kernel's own choice grows with what a connection needs.
        receive_buffer: Option<usize> = None => Or("system", Bytes::new());
    }
}

group! {
    /// What travels on a connection, and what may wait for it.
    pub struct Messages {
        /// The longest message a client may send.
        ///
        /// The longest publication in base64 with its tags, twice over.
        max_bytes: usize = 256 * 1024 => Bytes::new();

        /// What may wait for one connection before it falls back to reading from the log.
        ///
        /// A second of a 2 Mbit/s phone.
        outbox_bytes: usize = 256 * 1024 => Bytes::new();

        /// From the first byte of a client's message to its last. Then the connection is closed with 1008.
        ///
        /// The longest message over a link of 35 kbit/s; otherwise each connection could hold one for ever.
        receive_within: Duration = Duration::from_secs(60) => time();

        /// Compress with permessage-deflate where clients offer it.
        ///
        /// JSON shrinks to a quarter, but each message costs microseconds and each connection a window.
        deflate: bool = false => Switch;
    }
}

group! {
    /// How a dead connection is noticed.
    for Keepalive {
        /// Ping a client that was not heard for this long.
        ///
        /// Below the idle timeouts of the usual proxies and NATs, which are 60 s and up.
        interval => Or("off", time());

        /// Give a client up that was not heard for this long after a ping.
        ///
        /// A phone that changes cells is back within; a socket that died is not.
        pong_timeout => time();
    }
}
