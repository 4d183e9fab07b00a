//! Settings of Socket.IO.

use std::time::Duration;

use super::group::group;
use super::kind::{Switch, UrlPath, time};

group! {
    /// Socket.IO v5 over Engine.IO v4.
    pub struct SocketIo {
        /// The path of Socket.IO. A slash at the end does not matter.
        ///
        /// The path that its clients expect.
        path: String = "/socket.io/".to_owned() => UrlPath;

        /// The interval at which the server pings clients; it tells them this interval.
        ///
        /// The default of the original server, and below the idle timeouts of common proxies.
        ping_interval: Duration = Duration::from_secs(25) => time();

        /// How long a client may take to answer a ping.
        ///
        /// The default of the original server; a phone that changes cells answers within that time.
        ping_timeout: Duration = Duration::from_secs(20) => time();

        /// How long the session of a client that requested recovery outlives its connection.
        ///
        /// A laptop that was closed during a meeting continues where it was.
        recovery: Duration = Duration::from_secs(3600) => time();

        /// Pass unknown events on to the backend as calls of the same name; the backend's answer
        /// becomes the acknowledgement.
        ///
        /// Unknown events are then refused with a list of the known ones, which helps with
        /// misspellings.
        calls_backend: bool = false => Switch;
    }
}
