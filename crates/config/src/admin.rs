//! Settings of the listener for operators.

use super::group::group;
use super::kind::{ListenAddress, Many};
use super::listen::Listen;

group! {
    /// A separate listener for operators and their programs.
    pub struct Admin {
        /// Where `/metrics`, `/healthz`, `/readyz` and the HTTP API are served, over plain HTTP
        /// unless the word `tls` follows. `/metrics` requires no API key there, so make sure that
        /// only your own network can reach these addresses.
        ///
        /// No port is opened unless you configure it.
        listen: Vec<Listen> = Vec::new() => Many(ListenAddress);
    }
}
