//! Settings of Socket.IO.

use std::time::Duration;

use super::group::group;
use super::kind::{Switch, UrlPath, time};

group! {
    /// Socket.IO v5 over Engine.IO v4.
    pub struct SocketIo {
        /// The path of Socket.IO. A slash at the end does not matter.
        ///
        /// Where its clients look for it.
        path: String = "/socket.io/".to_owned() => UrlPath;

        /// The time between two pings of the server, which its clients expect.
        ///
        /// As the original server has it: proxies that end idle connections wait longer.
        ping_interval: Duration = Duration::from_secs(25) => time();

        /// How long a client may take to answer a ping.
        ///
        /// As the original server has it: a phone that changes cells answers within that time.
        ping_timeout: Duration = Duration::from_secs(20) => time();

        /// How long the session of a client that asked for recovery outlives its connection.
        ///
        /// A laptop that was closed for a meeting goes on where it was.
        recovery: Duration = Duration::from_secs(3600) => time();

        /// Pass events that the server does not know on to the backend, as calls of the same name; their
        /// acknowledgement is what it answers.
        ///
        /// Otherwise a misspelt event is refused, and the refusal says which ones there are.
        calls_backend: bool = false => Switch;
    }
}
