//! What is broken when: drawn from a seed.

use std::time::Duration;

use crate::chance::Chance;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// So many of a hundred connections are cut.
    CutConnections { percent: usize },
    /// So many of a hundred connections are frozen for this long.
    FreezeConnections { percent: usize, time: Duration },
    /// A process of clients is frozen for this long.
    FreezeProcess { number: usize, time: Duration },
    /// The server is killed, and dead for this long.
    KillServer { time: Duration, keeps_seals: bool },
    /// The server is stopped as it should be, and started again.
    RestartServer,
}

/// What happens next, and after which pause.
#[derive(Debug)]
pub(crate) struct Weather {
    chance: Chance,
    processes: usize,
    /// What has to happen at least once, before chance decides.
    first: Vec<Happening>,
}

const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(900));
const FROZEN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
const DEAD: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(800));

impl Weather {
    pub(crate) fn new(chance: Chance, processes: usize) -> Self {
        let mut weather = Self {
            chance,
            processes,
            first: Vec::new(),
        };
        let time = weather.chance.time(FROZEN.0, FROZEN.1);
        let number = weather.chance.below(processes);
        let dead = weather.chance.time(DEAD.0, DEAD.1);
        // Taken from the end.
        weather.first = vec![
            Happening::RestartServer,
            Happening::KillServer {
                time: dead,
                keeps_seals: false,
            },
            Happening::FreezeConnections { percent: 50, time },
            Happening::FreezeProcess { number, time },
            Happening::KillServer {
                time: dead,
                keeps_seals: true,
            },
            Happening::CutConnections { percent: 100 },
        ];
        weather
    }

    /// Whether everything has happened once at least.
    pub(crate) fn is_complete(&self) -> bool {
        self.first.is_empty()
    }

    /// After which pause, and what.
    pub(crate) fn next(&mut self) -> (Duration, Happening) {
        let pause = self.chance.time(PAUSE.0, PAUSE.1);
        let happening = match self.first.pop() {
            Some(first) => first,
            None => self.any(),
        };
        (pause, happening)
    }

    fn any(&mut self) -> Happening {
        let percent = 1 + self.chance.below(100);
        let time = self.chance.time(FROZEN.0, FROZEN.1);
        match self.chance.below(20) {
            0..8 => Happening::CutConnections { percent },
            8..12 => Happening::FreezeConnections { percent, time },
            12..15 => Happening::FreezeProcess {
                number: self.chance.below(self.processes),
                time,
            },
            15..19 => Happening::KillServer {
                time: self.chance.time(DEAD.0, DEAD.1),
                keeps_seals: self.chance.percent(75),
            },
            _ => Happening::RestartServer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_breaks_the_same_things_and_everything_is_broken_once_at_least() {
        let draw = |seed| {
            let mut weather = Weather::new(Chance::new(seed), 4);
            let mut drawn = Vec::new();
            while !weather.is_complete() {
                drawn.push(weather.next());
            }
            drawn
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let kinds: std::collections::HashSet<_> = draw(7)
            .iter()
            .map(|(_, happening)| std::mem::discriminant(happening))
            .collect();
        assert_eq!(kinds.len(), 5);
    }
}
