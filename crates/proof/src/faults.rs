//! The faults and their times, drawn from a seed.

use std::time::Duration;

use crate::random::Random;

/// A fault to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This percentage of the connections is cut.
    CutConnections { percent: usize },
    /// This percentage of the connections is frozen for this long.
    FreezeConnections { percent: usize, time: Duration },
    /// A process of clients is frozen for this long.
    FreezeProcess { number: usize, time: Duration },
    /// The server is frozen for this long: longer than its presence leases.
    FreezeServer { time: Duration },
    /// The server is killed, and stays down for this long.
    KillServer { time: Duration, keeps_key: bool },
    /// The server is stopped in an orderly way, and started again.
    RestartServer,
    /// Moves the server's wall clock this many seconds ahead.
    SetClock { ahead: i64 },
    /// One fsync of the log fails.
    FailFsync,
    /// The log is backed up while the server runs.
    BackUp,
    /// The server is killed, and its log replaced by the newest backup.
    RestoreBackup,
}

/// Draws the next fault, and the pause before it.
#[derive(Debug)]
pub(crate) struct Faults {
    random: Random,
    processes: usize,
    /// Whether the log is replaced by an older backup.
    has_restores: bool,
    /// Faults that each proof injects before drawing others.
    first: Vec<Fault>,
}

const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(900));
/// How long connections and processes of clients are frozen.
pub(crate) const FROZEN: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_secs(5));
const DOWN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));
/// Longer than the leases that the server is started with.
const SERVER_FROZEN: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(7));

/// The maximum error of the server's clock. A step is at most twice as long: less than the hour for
/// which idempotency keys are kept, which is measured by that clock.
const CLOCK: usize = 900;

fn clock(random: &mut Random) -> i64 {
    let ahead = i64::try_from(random.below(2 * CLOCK + 1)).unwrap_or_default();
    ahead - CLOCK as i64
}

impl Faults {
    pub(crate) fn new(random: Random, processes: usize, has_restores: bool) -> Self {
        let mut faults = Self {
            random,
            processes,
            has_restores,
            first: Vec::new(),
        };
        let time = faults.random.time(FROZEN.0, FROZEN.1);
        let number = faults.random.below(processes);
        let down = faults.random.time(DOWN.0, DOWN.1);
        let frozen = faults.random.time(SERVER_FROZEN.0, SERVER_FROZEN.1);
        // Taken from the end.
        faults.first = vec![
            Fault::RestoreBackup,
            Fault::FailFsync,
            Fault::FreezeServer { time: frozen },
            Fault::RestartServer,
            Fault::KillServer {
                time: down,
                keeps_key: false,
            },
            Fault::BackUp,
            Fault::SetClock {
                ahead: clock(&mut faults.random),
            },
            Fault::FailFsync,
            Fault::FreezeConnections { percent: 50, time },
            Fault::FreezeProcess { number, time },
            Fault::KillServer {
                time: down,
                keeps_key: true,
            },
            Fault::CutConnections { percent: 100 },
        ];
        if !has_restores {
            let is_restore = |fault: &Fault| matches!(fault, Fault::BackUp | Fault::RestoreBackup);
            faults.first.retain(|fault| !is_restore(fault));
        }
        faults
    }

    /// Whether each kind has been drawn at least once.
    pub(crate) fn is_complete(&self) -> bool {
        self.first.is_empty()
    }

    /// The next fault, and the pause before it.
    pub(crate) fn next(&mut self) -> (Duration, Fault) {
        let pause = self.random.time(PAUSE.0, PAUSE.1);
        let fault = match self.first.pop() {
            Some(first) => first,
            None => self.any(),
        };
        (pause, fault)
    }

    fn any(&mut self) -> Fault {
        let percent = 1 + self.random.below(100);
        let time = self.random.time(FROZEN.0, FROZEN.1);
        match self.random.below(44) {
            0..15 => Fault::CutConnections { percent },
            15..22 => Fault::FreezeConnections { percent, time },
            22..27 => Fault::FreezeProcess {
                number: self.random.below(self.processes),
                time,
            },
            27..34 => Fault::KillServer {
                time: self.random.time(DOWN.0, DOWN.1),
                keeps_key: self.random.percent(75),
            },
            34..36 => Fault::RestartServer,
            36..38 => Fault::FreezeServer {
                time: self.random.time(SERVER_FROZEN.0, SERVER_FROZEN.1),
            },
            38 if self.has_restores => Fault::BackUp,
            39..41 => Fault::SetClock {
                ahead: clock(&mut self.random),
            },
            38 | 41..43 => Fault::FailFsync,
            _ if self.has_restores => Fault::RestoreBackup,
            _ => Fault::CutConnections { percent },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_causes_the_same_faults_and_each_kind_at_least_once() {
        let draw = |seed| {
            let mut faults = Faults::new(Random::new(seed), 4, true);
            let mut drawn = Vec::new();
            while !faults.is_complete() {
                drawn.push(faults.next());
            }
            drawn
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let kinds: std::collections::HashSet<_> = draw(7)
            .iter()
            .map(|(_, fault)| std::mem::discriminant(fault))
            .collect();
        assert_eq!(kinds.len(), 10);
    }

    #[test]
    fn without_restores_the_log_is_never_replaced() {
        let mut faults = Faults::new(Random::new(7), 4, false);
        for _ in 0..1000 {
            let (_, fault) = faults.next();
            assert!(!matches!(fault, Fault::BackUp | Fault::RestoreBackup));
        }
        assert!(faults.is_complete());
    }
}
