//! Settings of the listener for operators.

use std::net::SocketAddr;

use super::group::group;
use super::kind::{ListenAddress, Many};

group! {
    /// A separate listener for operators and their programs.
    pub struct Admin {
        /// The addresses at which `/metrics`, `/healthz`, `/readyz` and the HTTP API are served
        /// over plain HTTP. `/metrics` requires no API key there, so make sure that only your own
        /// network can reach these addresses.
        ///
        /// No port is opened unless you configure it.
        listen: Vec<SocketAddr> = Vec::new() => Many(ListenAddress);
    }
}
