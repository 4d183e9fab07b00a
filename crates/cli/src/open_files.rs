//! How many descriptors this process may have: each connection is one.

/// Takes as many as the system lets a process have by itself; how many those are, where the
/// system says.
#[cfg(unix)]
pub(crate) fn raise() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where it is not allowed, what there is must do.
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// Other systems count them by no limit of the process.
#[cfg(not(unix))]
pub(crate) fn raise() -> Option<u64> {
    None
}
