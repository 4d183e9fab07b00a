//! The channels with the most recent publications, in little memory regardless of the number of
//! channels.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use offhook_engine::ChannelName;

use super::quick_hash::QuickHash;

/// How many channels are counted at a time. 128: more than a screen lists, and few enough that the
/// least busy one is found quickly.
const CHANNELS: usize = 128;

/// The length of a window. 10 s: long enough to show a burst, and short enough that a channel that
/// has become quiet disappears soon.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// How many publications of a window are counted individually. 4,096: 400 a second. Beyond that,
/// only one in [`SAMPLE`] is counted, with that weight, so that counting stays cheap at high rates.
const COUNTED: u32 = 4_096;
const SAMPLE: u32 = 16;

/// Counts publications by channel over two windows: the last complete window and the current one.
/// The algorithm is "space-saving": a channel that is not counted yet replaces the channel with the
/// lowest count, and starts from that count. A busy channel is therefore never missed. The count of
/// a quiet channel can be too high, by at most the number of all publications divided by
/// `CHANNELS`.
#[derive(Debug)]
pub(super) struct Busiest {
    began: Instant,
    present: Counts,
    complete: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    channels: HashMap<ChannelName, u64, QuickHash>,
    total: u32,
    /// How many publications to skip before the next one is counted. Pseudorandom, so that no
    /// publisher is missed because it publishes in a regular pattern.
    skip: u32,
    random: u32,
}

impl Busiest {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            present: Counts::default(),
            complete: Counts::default(),
        }
    }

    /// Counts a publication that was requested.
    pub(super) fn published(&mut self, channel: &ChannelName) {
        self.present.count(channel);
    }

    /// Begins a new window when the current one is over.
    pub(super) fn keep_time(&mut self, now: Instant) {
        let past = now.saturating_duration_since(self.began);
        if past < WINDOW {
            return;
        }
        let present = std::mem::take(&mut self.present);
        self.complete = match past < 2 * WINDOW {
            true => present,
            false => Counts::default(),
        };
        self.began = now;
    }

    /// Publications per second by channel, over the last complete window and the current one.
    pub(super) fn rates(&self, now: Instant) -> Vec<(ChannelName, f64)> {
        let present = now.saturating_duration_since(self.began);
        let is_first = self.complete.channels.is_empty();
        let seconds = match is_first {
            true => present.as_secs_f64().max(1.0),
            false => (WINDOW + present).as_secs_f64(),
        };
        let mut counts: HashMap<&ChannelName, u64> = HashMap::new();
        for (channel, count) in self.complete.channels.iter().chain(&self.present.channels) {
            *counts.entry(channel).or_default() += count;
        }
        let rate = |count: u64| count as f64 / seconds;
        let rates = counts.into_iter();
        rates
            .map(|(channel, count)| (channel.clone(), rate(count)))
            .collect()
    }
}

impl Counts {
    fn count(&mut self, channel: &ChannelName) {
        self.total = self.total.saturating_add(1);
        let mut weight = 1;
        if self.total > COUNTED {
            if self.skip > 0 {
                self.skip -= 1;
                return;
            }
            weight = u64::from(SAMPLE);
            self.skip = self.next_random() % (2 * SAMPLE - 1);
        }
        if let Some(count) = self.channels.get_mut(channel) {
            *count += weight;
            return;
        }
        let mut before = 0;
        if self.channels.len() >= CHANNELS {
            let least = self.channels.iter().min_by_key(|(_, count)| **count);
            if let Some((least, count)) = least.map(|(least, count)| (least.clone(), *count)) {
                self.channels.remove(&least);
                before = count;
            }
        }
        self.channels.insert(channel.clone(), before + weight);
    }

    /// Xorshift. Predicting it gives no advantage to anyone.
    const fn next_random(&mut self) -> u32 {
        let mut random = self.random | 1;
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        self.random = random;
        random
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::new(name).unwrap()
    }

    fn rate_of(rates: &[(ChannelName, f64)], name: &str) -> Option<f64> {
        let found = rates.iter().find(|(channel, _)| channel.as_str() == name);
        found.map(|(_, rate)| *rate)
    }

    #[test]
    fn a_busy_channel_is_found_among_any_number_of_quiet_ones() {
        let began = Instant::now();
        let mut busiest = Busiest::new(began);
        for n in 0..2_000 {
            busiest.published(&channel(&format!("quiet/{n}")));
            busiest.published(&channel("busy"));
        }
        assert_eq!(busiest.present.channels.len(), CHANNELS);
        let rates = busiest.rates(began + Duration::from_secs(10));
        let busy = rate_of(&rates, "busy").unwrap();
        assert!((200.0..=220.0).contains(&busy), "{busy}");
        let loudest = rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        assert!((loudest - busy).abs() < f64::EPSILON, "{rates:?}");
    }

    #[test]
    fn a_channel_that_has_become_quiet_disappears_after_two_windows() {
        let began = Instant::now();
        let mut busiest = Busiest::new(began);
        busiest.published(&channel("a"));
        busiest.keep_time(began + WINDOW);
        let soon = began + WINDOW + Duration::from_secs(1);
        assert!(rate_of(&busiest.rates(soon), "a").is_some());
        busiest.keep_time(began + 2 * WINDOW);
        assert_eq!(busiest.rates(began + 2 * WINDOW).len(), 0);
    }

    #[test]
    fn a_sampled_rate_is_about_the_true_one() {
        let began = Instant::now();
        let mut busiest = Busiest::new(began);
        for n in 0..100_000 {
            let name = if n % 4 == 0 { "a" } else { "b" };
            busiest.published(&channel(name));
        }
        let rates = busiest.rates(began + Duration::from_secs(10));
        let (a, b) = (rate_of(&rates, "a"), rate_of(&rates, "b"));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!((2_000.0..3_000.0).contains(&a), "{a}");
        assert!((6_500.0..8_500.0).contains(&b), "{b}");
    }
}
