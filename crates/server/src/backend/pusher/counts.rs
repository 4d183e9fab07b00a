//! When the number of a channel's subscribers is told: at once in small channels, and after a pause in
//! large ones, where it changes often and many are told.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    time::{Duration, Instant},
};

use offhook_engine::ChannelName;

/// The most subscribers of a channel of which every change is told. 100: as in the original service.
const SMALL: u64 = 100;

/// The pause between two numbers of a larger channel. 5 s: as in the original service.
const PAUSE: Duration = Duration::from_secs(5);

/// The numbers of subscribers that are told now or later. Holds the channels that were larger than
/// [`SMALL`] within the last [`PAUSE`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// What is told now.
    now: HashMap<ChannelName, u64>,
    /// Channels in a pause, with the number that is told after it, if there is another one.
    pausing: HashMap<ChannelName, Option<u64>>,
    /// When their pauses end, in order.
    ends: VecDeque<(Instant, ChannelName)>,
}

impl Counts {
    /// The number of a channel's subscribers has changed.
    pub(super) fn changed(&mut self, channel: &ChannelName, count: u64, now: Instant) {
        if let Some(later) = self.pausing.get_mut(channel) {
            *later = Some(count);
            return;
        }
        self.now.insert(channel.clone(), count);
        if count > SMALL {
            self.pause(channel.clone(), now);
        }
    }

    fn pause(&mut self, channel: ChannelName, now: Instant) {
        self.pausing.insert(channel.clone(), None);
        self.ends.push_back((now + PAUSE, channel));
    }

    /// When to call [`take`](Self::take), if nothing changes before.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.ends.front().map(|(at, _)| *at)
    }

    /// Takes the numbers that are told now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(ChannelName, u64)> {
        while let Some((_, channel)) = self.ends.pop_front_if(|(at, _)| *at <= now) {
            if let Some(Some(count)) = self.pausing.remove(&channel) {
                self.changed(&channel, count, now);
            }
        }
        mem::take(&mut self.now).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> ChannelName {
        ChannelName::new("chat").unwrap()
    }

    fn told(counts: &mut Counts, now: Instant) -> Vec<u64> {
        let told = counts.take(now).into_iter();
        told.map(|(_, count)| count).collect()
    }

    #[test]
    fn every_change_of_a_small_channel_is_told_at_once() {
        let (mut counts, now) = (Counts::default(), Instant::now());
        for count in [1, 2, SMALL, SMALL - 1] {
            counts.changed(&channel(), count, now);
            assert_eq!(told(&mut counts, now), [count]);
        }
        assert_eq!(counts.poll_timeout(), None);
    }

    #[test]
    fn a_large_channel_is_told_its_last_number_after_each_pause() {
        let (mut counts, mut now) = (Counts::default(), Instant::now());
        counts.changed(&channel(), SMALL + 1, now);
        assert_eq!(told(&mut counts, now), [SMALL + 1]);
        for last in [SMALL + 5, SMALL - 5] {
            counts.changed(&channel(), SMALL + 9, now);
            counts.changed(&channel(), last, now);
            assert!(told(&mut counts, now).is_empty());
            now += PAUSE;
            assert_eq!(counts.poll_timeout(), Some(now));
            assert_eq!(told(&mut counts, now), [last]);
        }
        // It is small now, and nothing is kept of it.
        assert_eq!(counts.poll_timeout(), None);
        assert!(counts.pausing.is_empty());
        counts.changed(&channel(), 3, now);
        assert_eq!(told(&mut counts, now), [3]);
    }

    #[test]
    fn a_large_channel_that_does_not_change_is_forgotten_after_the_pause() {
        let (mut counts, now) = (Counts::default(), Instant::now());
        counts.changed(&channel(), SMALL + 1, now);
        counts.take(now);
        assert!(told(&mut counts, now + PAUSE).is_empty());
        assert!(counts.pausing.is_empty() && counts.ends.is_empty());
    }
}
