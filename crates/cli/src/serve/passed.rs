//! Sockets that systemd passes to the server (`sd_listen_fds(3)`).

use std::{env, os::fd::OwnedFd};

use listenfd::ListenFd;
use offhook_server::{ListeningSocket, Sockets};

use crate::failure::Failure;

/// The name of sockets for which systemd knows none.
const UNNAMED: &str = "unknown";

/// The sockets that systemd passes to this process, if it does. Must be called while the process has
/// one thread, because it changes the environment.
pub(super) fn sockets() -> Result<Sockets, Failure> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').filter(|name| !name.is_empty());
    let mut passed = ListenFd::from_env();
    let mut sockets = Sockets::default();
    for number in 0..passed.len() {
        let name = names.next().unwrap_or(UNNAMED);
        let tcp = passed.take_tcp_listener(number).ok().flatten();
        let descriptor = match tcp {
            Some(listener) => Some(OwnedFd::from(listener)),
            None => {
                let unix = passed.take_unix_listener(number).ok().flatten();
                unix.map(OwnedFd::from)
            }
        };
        let socket = descriptor.and_then(|descriptor| ListeningSocket::try_from(descriptor).ok());
        let Some(socket) = socket else {
            return Err(Failure::Failed(format!(
                "the socket {name:?} that systemd passes is not a listening stream socket; use ListenStream= \
                 and Accept=no"
            )));
        };
        sockets.add(format!("systemd:{name}"), socket);
    }
    Ok(sockets)
}
