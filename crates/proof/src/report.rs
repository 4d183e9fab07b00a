//! The result of a proof.

use std::fmt;
use std::time::Duration;

use crate::ledger::Findings;
use crate::messages::Progress;
use crate::plan::Plan;

/// How often each fault was injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// Times the server was killed.
    pub kills: u32,
    /// Of those, times the key of resume tokens was deleted.
    pub keys_deleted: u32,
    /// How often the server was stopped in an orderly way.
    pub stops: u32,
    /// Times the server was frozen for longer than its leases.
    pub frozen_server: u32,
    /// Backups that were made while it ran.
    pub backups: u32,
    /// Times its log was replaced by an older backup.
    pub restores: u32,
    /// Connections that were cut.
    pub cut: usize,
    /// Connections that were frozen.
    pub frozen_connections: usize,
    /// Times that a process of clients was frozen.
    pub frozen_processes: u32,
    /// Times that the server's clock was stepped.
    pub clock_steps: u32,
    /// Fsyncs of the log that failed.
    pub failed_fsyncs: u64,
    /// Whether there was a compiler for what steps clocks and fails fsyncs.
    pub has_system: bool,
}

/// The permitted growth of the server's process: the cache of blocks (64 MiB), a memtable for each
/// keyspace of the log (5 times 16 MiB), and 48 MiB that the allocator may keep.
const GROWTH: u64 = 192 << 20;

/// The server's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that it held for connections once everybody had everything.
    pub held: u64,
    /// What its process took when the clients were ready; none where the system does not say so.
    pub began: Option<u64>,
    /// What its process took in the end.
    pub ended: Option<u64>,
}

impl Memory {
    /// Whether the memory was freed.
    #[must_use]
    pub fn is_back(&self) -> bool {
        let (began, ended) = (self.began.unwrap_or(0), self.ended.unwrap_or(0));
        self.held == 0 && ended <= began + GROWTH
    }
}

/// The maximum number of subscribers that are described because they lack messages.
const LACKING: usize = 10;

/// The result of a proof.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The plan.
    pub plan: Plan,
    /// The injected faults.
    pub broken: Broken,
    /// The clients' progress.
    pub progress: Progress,
    /// The subscribers' results.
    pub findings: Findings,
    /// Channels whose members were wrong in the end.
    pub presence: usize,
    /// What became of the server's memory.
    pub memory: Memory,
    /// Channels that not everybody saw in the same order.
    pub disagreements: usize,
    /// Processes of subscribers that did not get everything in time.
    pub late: usize,
    /// A description of the messages that subscribers lacked then, and of their last events.
    pub lacking: Vec<String>,
    /// How long it took after the last fault until all subscribers had everything.
    pub settled: Duration,
}

impl Report {
    /// Whether everything acknowledged was delivered to every subscriber, once, in one order, in
    /// time.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let repeats = self.progress.repeats == 0;
        self.findings.is_clean()
            && self.disagreements == 0
            && self.presence == 0
            && self.late == 0
            && self.memory.is_back()
            && repeats
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            plan,
            broken,
            progress,
            findings,
            ..
        } = self;
        let row = |f: &mut fmt::Formatter<'_>, number: u64, name: &str, note: &str| {
            let line = format!("{:>14}  {name:<11}{note}", grouped(number));
            writeln!(f, "{}", line.trim_end())
        };
        let answers = grouped(progress.recognised);
        let note = format!("all acknowledged; {answers} sent again and recognised by their keys");
        row(f, progress.published, "published", &note)?;
        let note = format!(
            "to {} subscribers in {} processes",
            plan.subscribers, plan.processes
        );
        row(f, findings.received, "delivered", &note)?;
        row(f, findings.lost, "lost", "")?;
        row(f, findings.duplicated, "duplicated", "")?;
        let note = "by publishers whose sessions were lost with the deleted key";
        row(f, findings.anew, "anew", note)?;
        row(f, findings.reordered, "reordered", "")?;
        row(f, findings.announced, "missing", "and announced by a gap")?;
        row(f, findings.unannounced, "diverged", "without a gap")?;
        row(
            f,
            findings.discarded,
            "discarded",
            "by restored backups, and announced by a gap",
        )?;
        row(f, self.presence as u64, "channels", "with wrong members")?;
        if self.disagreements > 0 {
            let note = "that not everybody saw in the same order";
            row(f, self.disagreements as u64, "channels", note)?;
        }
        if progress.repeats > 0 {
            row(f, progress.repeats, "sent twice", "and dropped by clients")?;
        }
        if progress.again > 0 {
            row(f, progress.again, "again", "as QoS 1 permits")?;
        }
        if self.late > 0 {
            let note = "that did not get everything in time";
            row(f, self.late as u64, "processes", note)?;
        }
        for lacks in self.lacking.iter().take(LACKING) {
            writeln!(f, "\n{lacks}")?;
        }
        writeln!(
            f,
            "\nbroken     the server killed {} times ({} with its key deleted), stopped {} times,\n           \
             frozen {} times, restored {} times from {} backups;\n           \
             {} connections cut, {} frozen; processes frozen {} times;\n           \
             {}",
            broken.kills,
            broken.keys_deleted,
            broken.stops,
            broken.frozen_server,
            broken.restores,
            broken.backups,
            grouped(broken.cut as u64),
            grouped(broken.frozen_connections as u64),
            broken.frozen_processes,
            system(broken),
        )?;
        writeln!(f, "memory     {}", self.memory)?;
        writeln!(
            f,
            "recovered  {} connections by token, {} by position; {} missed something;\n           \
             everybody had everything {:.1} s after the last fault",
            grouped(progress.resumed),
            grouped(progress.by_position),
            findings.announced,
            self.settled.as_secs_f32(),
        )
    }
}

fn system(broken: &Broken) -> String {
    if !broken.has_system {
        return "the clock was not stepped, and no fsync failed: this needs Linux and `cc`"
            .to_owned();
    }
    format!(
        "the clock stepped {} times, {} fsyncs failed",
        broken.clock_steps, broken.failed_fsyncs
    )
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes held for connections in the end",
            grouped(self.held)
        )?;
        let (Some(began), Some(ended)) = (self.began, self.ended) else {
            return Ok(());
        };
        write!(
            f,
            ";\n           the process took {} MiB at first and {} MiB in the end, {} more allowed",
            began >> 20,
            ended >> 20,
            GROWTH >> 20
        )
    }
}

/// With a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::{GROWTH, Memory, grouped};

    #[test]
    fn memory_is_freed_when_nothing_is_held_and_the_process_has_about_its_former_size() {
        let memory = |held, began, ended| Memory { held, began, ended };
        let (small, large) = (Some(30 << 20), Some((30 << 20) + GROWTH + 1));
        assert!(memory(0, small, small).is_back());
        assert!(memory(0, None, None).is_back());
        assert!(!memory(1, small, small).is_back());
        assert!(!memory(0, small, large).is_back());
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }
}
