//! Metrics of the process, from files that only Linux has. On other systems, they are omitted.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use super::text::Text;

/// Adds the metrics of the process, with the names that are customary for all programs.
pub(super) fn write(text: &mut Text, started: SystemTime) {
    if let Ok(since) = started.duration_since(UNIX_EPOCH) {
        let help = "When the server started, in seconds since 1970.";
        text.gauge("process_start_time_seconds", help, since.as_secs_f64());
    }
    if let Some(bytes) = resident_bytes() {
        let help = "Resident memory of the process.";
        text.gauge("process_resident_memory_bytes", help, bytes);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of the open descriptors is the directory that is being read.
        let open = open.count().saturating_sub(1);
        text.gauge("process_open_fds", "Open descriptors.", open);
    }
    if let Some(most) = most_descriptors() {
        let help = "The limit of open file descriptors.";
        text.gauge("process_max_fds", help, most);
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn most_descriptors() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
