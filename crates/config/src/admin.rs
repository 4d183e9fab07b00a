//! Settings of the listener for operators.

use std::net::SocketAddr;

use super::group::group;
use super::kind::{ListenAddress, Many};

group! {
    /// A listener for operators and their programs, apart from that for clients.
    pub struct Admin {
        /// The addresses at which `/metrics`, `/healthz`, `/readyz` and the HTTP API are served in
        /// plain HTTP. `/metrics` needs no API key there, so only your own network should reach
        /// them.
        ///
        /// A port is opened only if you ask for it.
        listen: Vec<SocketAddr> = Vec::new() => Many(ListenAddress);
    }
}
