//! Settings of MQTT.

use std::time::Duration;

use super::group::group;
use super::kind::{ListenAddress, Many, Or, Parsed, UrlPath, time};
use super::listen::Listen;

group! {
    /// MQTT 3.1.1 and 5.0, over WebSocket, TCP and TLS.
    pub struct Mqtt {
        /// Where MQTT is spoken over TCP, usually with port 1883.
        ///
        /// No port is opened by default, because TCP is not encrypted.
        listen: Vec<Listen> = Vec::new() => Many(ListenAddress);

        /// Where MQTT is spoken over TLS with the certificate of `tls`, usually with port 8883.
        ///
        /// No port is opened by default.
        tls_listen: Vec<Listen> = Vec::new() => Many(ListenAddress);

        /// The path of MQTT over WebSocket.
        ///
        /// The path that most brokers use.
        path: String = "/mqtt".to_owned() => UrlPath;

        /// The maximum time that a session outlives its connection. A client that requests more is
        /// told this time. It also applies to durable subscriptions and queues of STOMP.
        ///
        /// A device that is switched on once a week still gets its messages.
        session_expiry: Duration = Duration::from_secs(8 * 24 * 3600) => time();

        /// How often the topics below `$SYS/broker/` are published. Sessions with a grant may subscribe
        /// to them, unless a rule for `$SYS/*` in `channels` allows others; nobody may publish to them.
        ///
        /// The number of clients and messages is not everybody's business.
        sys_interval: Option<Duration> = None => Or("none", time());

        /// The address of another server that clients of 5.0 are told when this one stops.
        ///
        /// There is no other server unless you name it.
        server_reference: Option<String> = None => Or("none", Parsed::new("an address like \"mqtt2.example.com:8883\"", "ADDRESS"));
    }
}
