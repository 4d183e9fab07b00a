//! Runs candidates in turns, so that a machine whose speed drifts favours none of them; the result
//! is the median of the rounds.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A candidate: runs the work at least the given number of times, and returns how many times it
/// ran.
pub type Work = Box<dyn FnMut(u64) -> u64>;

/// The candidates by name; ours may take part in more than one way.
pub type Field = Vec<(&'static str, Work)>;

#[derive(Clone, Copy)]
pub struct Race {
    pub rounds: usize,
    /// How long each candidate runs in each round.
    pub turn: Duration,
}

impl Race {
    /// Median nanoseconds per run, in the order of the candidates.
    pub fn run(self, field: &mut Field) -> Vec<f64> {
        let counts: Vec<u64> = field
            .iter_mut()
            .map(|(_, work)| self.calibrate(work))
            .collect();
        let mut times = vec![Vec::new(); field.len()];
        for round in 0..self.rounds {
            for turn in 0..field.len() {
                // The order rotates, so that no candidate always follows the same other one.
                let index = (round + turn) % field.len();
                times[index].push(time(&mut field[index].1, counts[index]));
            }
        }
        times.into_iter().map(median).collect()
    }

    /// Returns how many runs fill a turn; this also warms up.
    fn calibrate(self, work: &mut Work) -> u64 {
        let mut count = 1;
        loop {
            let each = time(work, count);
            let fit = self.turn.as_nanos() as f64 / each;
            if fit < 2.0 * count as f64 {
                return fit.ceil() as u64;
            }
            count *= 4;
        }
    }
}

/// Nanoseconds per run, in processor time of this thread, so that other load on the machine hardly
/// counts.
fn time(work: &mut Work, count: u64) -> f64 {
    let start = processor_time();
    let done = work(count);
    (processor_time() - start).as_nanos() as f64 / done as f64
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime)
        .try_into()
        .expect("it runs forward from 0")
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// A Markdown table in nanoseconds: a row per case and a column per candidate. The last column is
/// how many times faster ours is than the fastest other.
pub fn print_table(title: &str, race: Race, cases: Vec<(String, Field)>) {
    let Some((_, field)) = cases.first() else {
        return;
    };
    let names: Vec<&str> = field.iter().map(|(name, _)| *name).collect();
    println!(
        "\n## {title}\n\n| ns | {} | fastest other ÷ ours |",
        names.join(" | ")
    );
    println!("|---|{}---:|", "---:|".repeat(names.len()));
    for (case, mut field) in cases {
        let times = race.run(&mut field);
        let fastest = |ours: bool| {
            let side = names.iter().zip(&times);
            side.filter(|(name, _)| name.starts_with(crate::ours::NAME) == ours)
                .fold(f64::INFINITY, |least, (_, time)| least.min(*time))
        };
        let cells: Vec<String> = times.iter().map(|time| format!("{time:.1}")).collect();
        println!(
            "| {case} | {} | {:.2} |",
            cells.join(" | "),
            fastest(false) / fastest(true)
        );
    }
}
