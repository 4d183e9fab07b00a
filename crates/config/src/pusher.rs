//! Settings of the Pusher protocol.

use std::time::Duration;

use offhook_auth::AppKey;

use super::group::group;
use super::kind::{Many, Parsed, Switch, time};

group! {
    /// The Pusher protocol, version 7: clients at `/app/KEY`, and the signed HTTP API below
    /// `/apps/ID/`.
    pub struct Pusher {
        /// The apps: the id, key and secret of each, with spaces between them, optionally followed by a
        /// prefix. The app's channels and users are those whose names begin with the prefix, which keeps
        /// apps apart. Several entries with the same id are several keys of one app.
        ///
        /// Without an app, the protocol is not served.
        apps: Vec<AppKey> = Vec::new() => Many(Parsed::new("an entry like \"1 app-key app-secret\"", "APP").secret());

        /// Whether clients may send events (`client-...`) to the private and presence channels to which
        /// they are subscribed. A channel whose rule has `publish = "nobody"` still refuses them.
        ///
        /// The default of the original service: a signature permits a client to receive only.
        client_events: bool = false => Switch;

        /// How long a client waits without receiving anything before it sends a ping.
        ///
        /// The default of the original service. The server itself detects dead connections sooner.
        activity_timeout: Duration = Duration::from_secs(120) => time();

        /// How much the timestamp of a signed request may differ from the server's clock. A recorded
        /// request can be replayed within this time.
        ///
        /// The default of the original service; the clocks of some backends are minutes off.
        signature_window: Duration = Duration::from_secs(600) => time();
    }
}
