//! Settings of STOMP.

use std::time::Duration;

use super::group::group;
use super::kind::{ListenAddress, Many, UrlPath, time};
use super::listen::Listen;

group! {
    /// STOMP 1.0, 1.1 and 1.2, over WebSocket, TCP and TLS.
    pub struct Stomp {
        /// Where STOMP is spoken over TCP, usually with port 61613.
        ///
        /// No port is opened by default, because TCP is not encrypted.
        listen: Vec<Listen> = Vec::new() => Many(ListenAddress);

        /// Where STOMP is spoken over TLS with the certificate of `tls`, usually with port 61614.
        ///
        /// No port is opened by default.
        tls_listen: Vec<Listen> = Vec::new() => Many(ListenAddress);

        /// The path of STOMP over WebSocket.
        ///
        /// A path of its own beside those of the other dialects.
        path: String = "/stomp".to_owned() => UrlPath;

        /// The interval of heart-beats that the server offers its clients and asks of them.
        ///
        /// The default of @stomp/stompjs: a client over TCP that vanished is noticed within 20 s.
        heart_beat: Duration = Duration::from_secs(10) => time();
    }
}
