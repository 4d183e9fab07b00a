//! The live display: a progress bar in a terminal, otherwise one line per second.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plan::{Plan, Window};
use super::report::{grouped, milliseconds};
use super::tally::Glance;
use crate::screen;

/// Shows the rate and latencies on stderr during a run.
pub(super) struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    is_quiet: bool,
    connections: usize,
    rates: VecDeque<f64>,
    /// The sum over a second, for plain lines.
    second: Glance,
    said: Instant,
}

/// The number of bars in the small diagram.
const SHOWN: usize = 24;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl Progress {
    pub(super) fn new(plan: &Plan, is_quiet: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let length = (plan.warm_up + plan.time).as_millis();
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let target = if is_terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        if let Ok(style) = ProgressStyle::with_template("{msg}\n{wide_bar}") {
            bar.set_style(style.progress_chars("━╸ "));
        }
        Self {
            bar,
            is_terminal,
            connections: plan.connections(),
            is_quiet,
            rates: VecDeque::new(),
            second: Glance::default(),
            said: Instant::now(),
        }
    }

    pub(super) fn opening(&mut self, opened: usize) {
        let connections = self.connections;
        self.bar
            .set_message(format!("opened {opened} of {connections} connections"));
    }

    pub(super) fn running(&mut self, window: &Window, glance: &Glance, over: Duration) {
        let elapsed = window.start.elapsed();
        self.bar
            .set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        let rate = glance.count as f64 / over.as_secs_f64();
        self.rates.push_back(rate);
        if self.rates.len() > SHOWN {
            self.rates.pop_front();
        }
        let phase = if Instant::now() < window.measured_from {
            "  warming up"
        } else {
            ""
        };
        self.bar.set_message(format!(
            "{:>12}/s  {}  {}{phase}",
            grouped(rate as u64),
            diagram(&self.rates),
            times(glance)
        ));
        self.second.add(glance);
        if !self.is_terminal && !self.is_quiet && self.said.elapsed() >= Duration::from_secs(1) {
            let rate = self.second.count as f64 / self.said.elapsed().as_secs_f64();
            let seconds = elapsed.as_secs_f64();
            let times = times(&self.second);
            screen::tell(&format!(
                "{seconds:5.1} s {:>12}/s  {times}{phase}",
                grouped(rate as u64)
            ));
            self.second.clear();
            self.said = Instant::now();
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn times(glance: &Glance) -> String {
    if glance.times.len() == 0 {
        return "nothing received".to_owned();
    }
    let [p50, p99] = [50.0, 99.0].map(|at| milliseconds(glance.times.percentile(at)));
    format!("p50 {p50}  p99 {p99}")
}

fn diagram(rates: &VecDeque<f64>) -> String {
    let highest = rates.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let block = |rate: &f64| {
        let height = (rate / highest * 7.0).round() as usize;
        BLOCKS[height.min(7)]
    };
    rates.iter().map(block).collect()
}
