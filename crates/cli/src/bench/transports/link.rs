//! A link that delays and loses packets. It has no clock and no socket: whoever owns it passes packets and the
//! time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Packets that may wait in one direction. 10,000: more are lost, as in a router whose queue is full.
const WAITING: usize = 10_000;

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// What was put on a link in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Of these packets, those that were lost.
    pub(super) lost: u64,
}

impl Counts {
    /// What was put on the link since then.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            packets: self.packets - earlier.packets,
            bytes: self.bytes - earlier.bytes,
            lost: self.lost - earlier.lost,
        }
    }
}

/// A packet, and how many of its bytes are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    pub(super) counted: usize,
}

/// Both directions. Each packet is lost with the same probability, independently of the others; the others
/// arrive after the same delay, in order.
#[derive(Debug)]
pub(super) struct Link {
    delay: Duration,
    loss: f64,
    random: Random,
    up: Lane,
    down: Lane,
}

#[derive(Debug, Default)]
struct Lane {
    /// Packets, and when they arrive; times ascend.
    queue: VecDeque<(Instant, Packet)>,
    counts: Counts,
    /// The next packet with at least this many counted bytes is lost.
    doomed: Option<usize>,
}

impl Link {
    pub(super) fn new(delay: Duration, seed: u64) -> Self {
        Self {
            delay,
            loss: 0.0,
            random: Random(seed),
            up: Lane::default(),
            down: Lane::default(),
        }
    }

    /// The share of packets that are lost from now on, from 0 to 1.
    pub(super) fn set_loss(&mut self, share: f64) {
        self.loss = share;
    }

    /// Loses the next packet with at least this many counted bytes.
    pub(super) fn lose_next(&mut self, direction: Direction, counted: usize) {
        self.lane(direction).doomed = Some(counted);
    }

    fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    /// A packet is put on the link.
    pub(super) fn put(&mut self, direction: Direction, packet: Packet, now: Instant) {
        let is_unlucky = self.random.share() < self.loss;
        let arrival = now + self.delay;
        let lane = self.lane(direction);
        let is_doomed = lane.doomed.is_some_and(|least| packet.counted >= least);
        if is_doomed {
            lane.doomed = None;
        }
        lane.counts.packets += 1;
        lane.counts.bytes += packet.counted as u64;
        if is_unlucky || is_doomed || lane.queue.len() >= WAITING {
            lane.counts.lost += 1;
            return;
        }
        lane.queue.push_back((arrival, packet));
    }

    /// When the next packet arrives, if one is on the link.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        let front = |lane: &Lane| lane.queue.front().map(|(at, _)| *at);
        front(&self.up).into_iter().chain(front(&self.down)).min()
    }

    /// The next packet that has arrived by now.
    pub(super) fn take(&mut self, now: Instant) -> Option<Packet> {
        let next = self.next_arrival().filter(|at| *at <= now)?;
        let is_next = |lane: &Lane| lane.queue.front().is_some_and(|(at, _)| *at == next);
        let lane = if is_next(&self.up) {
            &mut self.up
        } else {
            &mut self.down
        };
        lane.queue.pop_front().map(|(_, packet)| packet)
    }

    /// What was put on the link to the server, and to the client.
    pub(super) fn counts(&self) -> [Counts; 2] {
        [self.up.counts, self.down.counts]
    }
}

/// `SplitMix64`: the same seed loses the same packets, in the order in which they are put on the link.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// A number from 0 to 1, without 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // 53 bits are what a float holds.
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(20);

    fn packet(number: u32) -> Packet {
        Packet {
            bytes: number.to_be_bytes().to_vec(),
            counted: 100,
        }
    }

    /// The numbers of all packets that arrive by then.
    fn arrived(link: &mut Link, now: Instant) -> Vec<u32> {
        let next = || link.take(now);
        std::iter::from_fn(next)
            .map(|packet| u32::from_be_bytes(packet.bytes.try_into().expect("4 bytes")))
            .collect()
    }

    #[test]
    fn packets_arrive_in_order_after_the_delay_and_not_earlier() {
        let (mut link, start) = (Link::new(DELAY, 1), Instant::now());
        for number in 0..10 {
            let at = start + Duration::from_millis(number.into());
            link.put(Direction::Down, packet(number), at);
        }
        assert_eq!(link.next_arrival(), Some(start + DELAY));
        let just_before = start + DELAY - Duration::from_nanos(1);
        assert_eq!(arrived(&mut link, just_before), [0_u32; 0]);
        let middle = start + DELAY + Duration::from_millis(4);
        assert_eq!(arrived(&mut link, middle), [0, 1, 2, 3, 4]);
        assert_eq!(arrived(&mut link, start + DELAY * 2), [5, 6, 7, 8, 9]);
        assert_eq!(link.next_arrival(), None);
    }

    #[test]
    fn directions_do_not_wait_for_each_other() {
        let (mut link, start) = (Link::new(DELAY, 1), Instant::now());
        link.put(Direction::Up, packet(0), start + DELAY);
        link.put(Direction::Down, packet(1), start);
        assert_eq!(arrived(&mut link, start + DELAY), [1]);
        assert_eq!(arrived(&mut link, start + DELAY * 2), [0]);
    }

    #[test]
    fn the_given_share_of_packets_is_lost_and_the_rest_keeps_its_order() {
        for (percent, expected) in [(0, 0..=0), (1, 700..=1_300), (5, 4_500..=5_500)] {
            let (mut link, start) = (Link::new(DELAY, 42), Instant::now());
            link.set_loss(f64::from(percent) / 100.0);
            let mut received = Vec::new();
            for number in 0..100_000 {
                link.put(Direction::Up, packet(number), start);
                received.extend(arrived(&mut link, start + DELAY));
            }
            let lost = 100_000 - received.len();
            assert!(expected.contains(&lost), "{percent} %: {lost}");
            assert!(received.is_sorted(), "{percent} %");
            let [up, down] = link.counts();
            let counted = (up.packets, up.bytes, up.lost);
            assert_eq!(counted, (100_000, 10_000_000, lost as u64));
            assert_eq!(down, Counts::default());
        }
    }

    #[test]
    fn the_same_seed_loses_the_same_packets() {
        let lost = |seed| {
            let (mut link, start) = (Link::new(DELAY, seed), Instant::now());
            link.set_loss(0.05);
            for number in 0..1_000 {
                link.put(Direction::Up, packet(number), start);
            }
            arrived(&mut link, start + DELAY)
        };
        assert_eq!(lost(7), lost(7));
        assert_ne!(lost(7), lost(8));
    }

    #[test]
    fn one_packet_of_a_size_can_be_lost_on_purpose() {
        let (mut link, start) = (Link::new(DELAY, 1), Instant::now());
        link.lose_next(Direction::Down, 200);
        let mut large = packet(2);
        large.counted = 200;
        let large_again = Packet {
            bytes: 3_u32.to_be_bytes().to_vec(),
            ..large.clone()
        };
        link.put(Direction::Down, packet(1), start);
        link.put(Direction::Up, large.clone(), start);
        link.put(Direction::Down, large, start);
        link.put(Direction::Down, large_again, start);
        let [up, down] = link.counts();
        assert_eq!((up.lost, down.lost), (0, 1));
        let mut received = arrived(&mut link, start + DELAY);
        received.sort_unstable();
        assert_eq!(received, [1, 2, 3]);
    }

    #[test]
    fn a_full_queue_loses_packets_and_counts_them() {
        let (mut link, start) = (Link::new(DELAY, 1), Instant::now());
        for number in 0..WAITING + 5 {
            let number = u32::try_from(number).expect("small");
            link.put(Direction::Up, packet(number), start);
        }
        assert_eq!(link.counts()[0].lost, 5);
        assert_eq!(arrived(&mut link, start + DELAY).len(), WAITING);
    }
}
