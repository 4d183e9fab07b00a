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
}

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
    /// Channels that not everybody saw in the same order.
    pub disagreements: usize,
    /// Processes of subscribers that did not get everything in time.
    pub late: usize,
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
            && self.findings.duplicated <= self.allowed_duplicates()
            && self.disagreements == 0
            && self.presence == 0
            && self.late == 0
            && repeats
    }
}

impl Report {
    /// Idempotency keys of an anonymous publisher hold within its session. When the key of resume
    /// tokens is deleted, the session is gone, and a publication whose answer was on its way is
    /// published again: one for each publisher, since a client awaits each answer.
    fn allowed_duplicates(&self) -> u64 {
        let publications = u64::from(self.broken.keys_deleted) * self.plan.publishers as u64;
        publications * self.plan.subscribers as u64
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
        let note = if findings.duplicated > 0 && findings.duplicated <= self.allowed_duplicates() {
            "by publishers whose sessions were lost with the deleted key"
        } else {
            ""
        };
        row(f, findings.duplicated, "duplicated", note)?;
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
        if self.late > 0 {
            let note = "that did not get everything in time";
            row(f, self.late as u64, "processes", note)?;
        }
        writeln!(
            f,
            "\nbroken     the server killed {} times ({} with its key deleted), stopped {} times,\n           \
             frozen {} times, restored {} times from {} backups;\n           \
             {} connections cut, {} frozen; processes frozen {} times",
            broken.kills,
            broken.keys_deleted,
            broken.stops,
            broken.frozen_server,
            broken.restores,
            broken.backups,
            grouped(broken.cut as u64),
            grouped(broken.frozen_connections as u64),
            broken.frozen_processes,
        )?;
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
    use super::grouped;

    #[test]
    fn thousands_are_parted() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }
}
