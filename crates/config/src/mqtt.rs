//! Settings of MQTT.

use std::{net::SocketAddr, time::Duration};

use super::group::group;
use super::kind::{ListenAddress, Many, UrlPath, time};

group! {
    /// MQTT 3.1.1 and 5.0, over WebSocket, TCP and TLS.
    pub struct Mqtt {
        /// The addresses at which MQTT is spoken over TCP, usually with port 1883.
        ///
        /// A port is opened only if you ask for it: what comes over TCP is not encrypted.
        listen: Vec<SocketAddr> = Vec::new() => Many(ListenAddress);

        /// The addresses at which MQTT is spoken over TLS, with the certificate of `tls`, usually
        /// with port 8883.
        ///
        /// A port is opened only if you ask for it.
        tls_listen: Vec<SocketAddr> = Vec::new() => Many(ListenAddress);

        /// The path of MQTT over WebSocket.
        ///
        /// Where most brokers have it.
        path: String = "/mqtt".to_owned() => UrlPath;

        /// The longest time that a session outlives its connection. A client that asks for more is
        /// told this.
        ///
        /// A device that is switched on once a week finds its messages.
        session_expiry: Duration = Duration::from_secs(8 * 24 * 3600) => time();
    }
}
