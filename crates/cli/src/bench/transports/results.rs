//! What was measured.

use super::carrier::Carrier;

/// All results of a run.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// What was measured, in words.
    pub(super) conditions: Conditions,
    pub(super) cells: Vec<Cell>,
    pub(super) blocking: Vec<Blocking>,
    /// What could not be measured, and why.
    pub(super) failures: Vec<String>,
}

/// How it was measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    pub(super) round_trip_ms: f64,
    pub(super) subscribers: usize,
    pub(super) rate: f64,
    pub(super) bytes: usize,
    pub(super) poll_ms: f64,
    /// In percent.
    pub(super) losses: Vec<f64>,
    /// Whether real packets were lost and counted, or only contents were counted.
    pub(super) has_packets: bool,
}

impl Conditions {
    /// A sentence about the load.
    pub(super) fn load(&self) -> String {
        let Self {
            subscribers,
            rate,
            bytes,
            round_trip_ms,
            poll_ms,
            ..
        } = self;
        let way = match self.has_packets {
            true => format!("a round trip of {round_trip_ms} ms"),
            false => "loopback without delay or loss".to_owned(),
        };
        format!(
            "{subscribers} subscribers, {rate} messages a second with {bytes} B of text, {way}, a poll every {poll_ms} ms"
        )
    }

    /// What the column of bytes contains.
    pub(super) const fn counted(&self) -> &'static str {
        match self.has_packets {
            true => {
                "bytes of all IP packets between server and client, both directions, with the headers of TCP, UDP \
                 and QUIC, retransmissions and acknowledgements, without the headers of IP (20 a packet)"
            }
            false => {
                "bytes inside TCP and UDP, both directions, without headers of TCP, UDP and IP: a relay without \
                 rights does not see them"
            }
        }
    }
}

/// One transport under one loss.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) carrier: Carrier,
    /// In percent.
    pub(super) loss: f64,
    pub(super) latency: Times,
    /// Deliveries that were expected, and have arrived.
    pub(super) expected: u64,
    pub(super) arrived: u64,
    /// For each delivery.
    pub(super) bytes_down: f64,
    pub(super) bytes_up: f64,
    /// Microseconds for each delivery, where the system says so.
    pub(super) processor_us: Option<f64>,
    /// Packets that were lost, and all of them.
    pub(super) lost: u64,
    pub(super) packets: u64,
    pub(super) reconnect: Times,
    /// Attempts that took too long.
    pub(super) not_reconnected: usize,
}

/// Times in milliseconds; none if there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Times {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Times {
    /// The percentiles of times in milliseconds.
    pub(super) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| {
            // The smallest time that at least this share does not exceed.
            let rank = (times.len() as f64 * share).ceil() as usize;
            times.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Self {
            p50: at(0.5),
            p99: at(0.99),
            max: times.last().copied().unwrap_or(0.0),
        }
    }
}

/// What one lost packet did to messages of other channels.
#[derive(Clone, Debug)]
pub(super) struct Blocking {
    pub(super) carrier: Carrier,
    /// Packets that were lost on purpose.
    pub(super) trials: usize,
    /// The delay of the messages in the lost packets.
    pub(super) own: Times,
    /// The delay of the messages of other channels that were published next.
    pub(super) others: Times,
    /// For each of these: when it was published after the lost one, and the median of its delay, in milliseconds.
    pub(super) curve: Vec<(f64, f64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = Times::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((times.p50, times.p99, times.max), (100.0, 198.0, 200.0));
        assert_eq!(
            Times::of(vec![7.0]),
            Times {
                p50: 7.0,
                p99: 7.0,
                max: 7.0
            }
        );
        assert_eq!(Times::of(Vec::new()), Times::default());
    }
}
