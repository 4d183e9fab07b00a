//! A process's processor time and memory, as the kernel reports them.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Processor time used so far.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// In user space.
    pub user: Duration,
    /// In the kernel, on behalf of the process.
    pub system: Duration,
}

/// Reads `/proc/PID/stat`, which sums all threads.
pub fn cpu(pid: u32) -> Result<Cpu> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // proc(5): the name, in parentheses, may itself contain spaces and parentheses. utime and stime
    // are fields 14 and 15, hence 11 and 12 counted from the state, which follows the name.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |index: usize| -> Result<Duration> {
        let count: u64 = fields.get(index).context(path.clone())?.parse()?;
        let per_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_secs_f64(count as f64 / per_second as f64))
    };
    Ok(Cpu {
        user: ticks(11)?,
        system: ticks(12)?,
    })
}

/// Anonymous memory in KiB: heap and stacks, without the program's own pages and the kernel's
/// socket buffers.
pub fn anonymous_kib(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"))
        .context(path)?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Raises the soft limit of open descriptors to the hard limit, and returns it.
pub fn raise_descriptor_limit() -> Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
