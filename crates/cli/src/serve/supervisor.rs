//! Notifies a supervisor like systemd (`NOTIFY_SOCKET`, `sd_notify(3)`).

/// Notifies the supervisor, if there is one.
///
/// Errors are ignored: a server works without a supervisor.
#[cfg(unix)]
pub(super) fn tell(state: &str) {
    use std::{
        env,
        os::unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    };

    let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
        return;
    };
    let address = match name.as_bytes().strip_prefix(b"@") {
        // An abstract name, which exists only on Linux.
        #[cfg(target_os = "linux")]
        Some(name) => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name),
        #[cfg(not(target_os = "linux"))]
        Some(_) => return,
        None => SocketAddr::from_pathname(&name),
    };
    let sent = address.and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        socket.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::debug!(%error, "the supervisor could not be notified");
    }
}

#[cfg(not(unix))]
pub(super) fn tell(_state: &str) {}
