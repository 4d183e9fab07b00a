//! The limit on descriptors: each connection needs one.

/// Raises the soft limit to the hard one; returns the limit.
#[cfg(unix)]
pub(crate) fn raise() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Without permission the soft limit is kept.
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// On systems without such a limit.
#[cfg(not(unix))]
pub(crate) fn raise() -> Option<u64> {
    None
}
