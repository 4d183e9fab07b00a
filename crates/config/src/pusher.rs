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
        /// prefix. The app's channels and users are those whose names begin with the prefix, so that
        /// apps with different prefixes are separate. Several entries with one id are keys of one app.
        ///
        /// Nothing is served unless you open it.
        apps: Vec<AppKey> = Vec::new() => Many(Parsed::new("an entry like \"1 app-key app-secret\"", "APP").secret());

        /// Whether clients may send events (`client-...`) to private and presence channels that they are
        /// subscribed to. The rules of channels have to allow it to somebody, too.
        ///
        /// As the original has it: a signature then permits only to receive.
        client_events: bool = false => Switch;

        /// How long a client may hear nothing before it checks the connection with a ping.
        ///
        /// As the original has it. The server notices dead connections by itself, sooner.
        activity_timeout: Duration = Duration::from_secs(120) => time();

        /// How far the time of a signed request may be from the server's clock. Within this time, a
        /// recorded request can be sent again.
        ///
        /// As the original has it: clocks of some backends are minutes off.
        signature_window: Duration = Duration::from_secs(600) => time();
    }
}
