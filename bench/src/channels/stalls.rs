//! How long one connection's actions delay all others: many deliveries to a crowd of subscribers,
//! thousands of channels opened or left, and maintenance. Also, the costs that grow with the number of
//! channels.
//!
//! Each scenario runs an action on one connection, and meanwhile measures the round trips of another
//! one, one after another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use load::process;
use serde_json::json;

use super::figures::{Figure, compare};
use super::holders::{Holders, Said};
use super::servers::ChannelServer;
use super::session::{PATIENCE, Session};
use super::{Common, For};
use crate::building::Places;
use crate::running::{Running, free_port, move_to};
use crate::words;

/// The subscribers in `crowd`, and the number of publications sent to them at once.
const CROWD: usize = 6_000;
const BURST: usize = 256;
/// The channel of the crowd.
const CROWDED: &str = "crowd";
/// Channels that one connection subscribes to in `opening`.
const OPENED: usize = 2_000;
/// Channels of one session in `leaving`.
const LEFT: usize = 4_000;
/// Channels with one subscriber each, distributed over this many sessions.
const CHANNELS: usize = 100_000;
const SESSIONS: usize = 100;
/// Publications in the log before a restart.
const RETAINED: usize = 1_000_000;
/// The channels that contain them.
const RETAINING: usize = 1_000;

/// Measure how long one connection's actions delay the others.
#[derive(Args)]
pub(crate) struct Stalls {
    #[command(flatten)]
    common: Common,
    /// Run only these scenarios.
    #[arg(long, value_delimiter = ',', value_enum)]
    scenarios: Vec<Scenario>,
    /// Seconds of publishing in `upkeep`.
    #[arg(long, default_value_t = 70.0)]
    upkeep_seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// 256 publications at once to 6,000 subscribers; another connection pings.
    Crowd,
    /// A connection subscribes to 2,000 new channels; another publishes.
    Opening,
    /// A session of 4,000 subscriptions ends; another connection pings.
    Leaving,
    /// 100,000 channels with one subscriber each: time and memory.
    Channels,
    /// 100,000 channels were used and left; a connection publishes.
    Upkeep,
    /// The server is killed with a million publications in its log, and started again.
    Restart,
}

impl Stalls {
    pub(super) fn run(&self) -> Result<()> {
        compare(
            &self.common,
            For::Stalls,
            &self.scenarios,
            |places, server, scenario| self.once(places, server, *scenario),
        )
    }

    fn once(
        &self,
        places: &Places,
        server: &ChannelServer,
        scenario: Scenario,
    ) -> Result<Vec<Figure>> {
        let cores = self.common.cores()?;
        move_to(cores[1])?;
        let scratch = places.scratch()?;
        let port = free_port()?;
        let line = server.command(port, &scratch)?;
        let log = scratch.join(format!("{}.log", server.name));
        let running = Running::start(cores[0], &line, port, &log)?;
        match scenario {
            Scenario::Crowd => crowd(places, &running, cores[1]),
            Scenario::Opening => opening(port),
            Scenario::Leaving => leaving(port),
            Scenario::Channels => channels(&running),
            Scenario::Upkeep => upkeep(port, Duration::from_secs_f64(self.upkeep_seconds)),
            Scenario::Restart => {
                fill(port)?;
                drop(running);
                let begin = Instant::now();
                let running = Running::start(cores[0], &line, port, &log)?;
                let mut session = Session::open(running.port)?;
                session.ask(&json!({"type":"subscribe","channel":"c0","since":{"last":1}}))?;
                let value = begin.elapsed().as_secs_f64() * 1e3;
                let name = "restart with a million publications: time until it serves, ms";
                Ok(vec![Figure { name, value }])
            }
        }
    }
}

fn crowd(places: &Places, running: &Running, core: usize) -> Result<Vec<Figure>> {
    process::raise_descriptor_limit()?;
    let mut holders = Holders::within(PATIENCE);
    let payload = "x".repeat(128);
    // The crowd has a low priority, so that it does not delay the measured connection.
    let line = words![
        "nice",
        "-n",
        "19",
        places.load(),
        "hold",
        format!("127.0.0.1:{}", running.port),
        "--dialect",
        "native",
        "--channel",
        CROWDED,
        "--connections",
        CROWD.to_string(),
        "--expects",
        &payload,
    ];
    holders.start(core, &line)?;
    let ready = |said| match said {
        Said::Ready(count) => Some(count),
        _ => None,
    };
    holders.wait(ready, |_, _| {})?;
    // Subscribed last, so that it receives each message about as late as anybody.
    let mut last = Session::open(running.port)?;
    last.ask(&json!({"type":"subscribe","channel":CROWDED}))?;
    let mut publisher = Session::open(running.port)?;
    let channel = CROWDED;
    let trips = beside(running.port, Kind::Ping, || {
        for _ in 0..BURST {
            publisher.queue(&json!({"type":"publish","channel":channel,"data":payload}))?;
        }
        publisher.flush()?;
        publisher.answers(BURST)?;
        // Deliveries continue after the acknowledgements.
        last.publications(BURST)
    })?;
    // Everyone received everything: a ping of every subscriber is answered after its deliveries.
    // The 6,000 pings come after the measurement, which is about deliveries.
    holders.ping()?;
    let pinged = |said| match said {
        Said::Pinged(count) => Some(count),
        _ => None,
    };
    holders.wait(pinged, |_, _| {})?;
    Ok(vec![
        trips.figure(
            "256 publications to 6,000 connections: another connection's ping, p99, ms",
            0.99,
        ),
        trips.figure(
            "256 publications to 6,000 connections: another connection's ping, worst, ms",
            1.0,
        ),
    ])
}

fn opening(port: u16) -> Result<Vec<Figure>> {
    let mut opener = Session::open(port)?;
    let begin = Instant::now();
    let trips = beside(port, Kind::Publish, || {
        opener.subscribe("opened", OPENED)?;
        Ok(())
    })?;
    let name = "opening 2,000 channels: time until all are open, ms";
    let value = begin.elapsed().as_secs_f64() * 1e3;
    Ok(vec![
        trips.figure(
            "opening 2,000 channels: another connection's publish, worst, ms",
            1.0,
        ),
        Figure { name, value },
    ])
}

fn leaving(port: u16) -> Result<Vec<Figure>> {
    let mut leaver = Session::open(port)?;
    leaver.subscribe("left", LEFT)?;
    let trips = beside(port, Kind::Ping, || {
        drop(leaver);
        thread::sleep(Duration::from_millis(500));
        Ok(())
    })?;
    let name = "a session of 4,000 subscriptions ends: another connection's ping, worst, ms";
    Ok(vec![trips.figure(name, 1.0)])
}

/// Opens sessions that together have one subscription to each channel.
fn many(port: u16) -> Result<Vec<Session>> {
    let sessions = (0..SESSIONS).map(|number| {
        let mut session = Session::open(port)?;
        session.subscribe(&format!("many{number}"), CHANNELS / SESSIONS)?;
        Ok(session)
    });
    sessions.collect()
}

fn channels(running: &Running) -> Result<Vec<Figure>> {
    let before = process::anonymous_kib(running.id())?;
    let begin = Instant::now();
    let sessions = many(running.port)?;
    let seconds = begin.elapsed().as_secs_f64();
    let after = process::anonymous_kib(running.id())?;
    drop(sessions);
    let bytes = (after as f64 - before as f64) * 1024.0 / CHANNELS as f64;
    Ok(vec![
        Figure {
            name: "100,000 channels with a subscriber each: total time, s",
            value: seconds,
        },
        Figure {
            name: "100,000 channels with a subscriber each: bytes per channel",
            value: bytes,
        },
    ])
}

fn upkeep(port: u16, time: Duration) -> Result<Vec<Figure>> {
    let mut sessions = many(port)?;
    for (number, session) in sessions.iter_mut().enumerate() {
        session.publish(CHANNELS / SESSIONS, |channel| {
            format!("many{number}/{channel}")
        })?;
    }
    drop(sessions);
    let trips = beside(port, Kind::Publish, || {
        thread::sleep(time);
        Ok(())
    })?;
    let name = "100,000 channels were used and left: slowest publish afterwards, ms";
    Ok(vec![trips.figure(name, 1.0)])
}

/// Publishes the messages that are in the log before the restart.
fn fill(port: u16) -> Result<()> {
    let mut session = Session::open(port)?;
    session.publish(RETAINED, |number| format!("c{}", number % RETAINING))
}

#[derive(Clone, Copy)]
enum Kind {
    Ping,
    Publish,
}

/// Round trips, in seconds.
struct Trips(Vec<f64>);

impl Trips {
    /// The figure at this quantile, in milliseconds.
    fn figure(&self, name: &'static str, quantile: f64) -> Figure {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len() - 1;
        let index = ((last as f64) * quantile).round() as usize;
        let value = sorted[index.min(last)] * 1e3;
        Figure { name, value }
    }
}

/// One connection's round trips, one after another, while `action` runs.
fn beside(port: u16, kind: Kind, action: impl FnOnce() -> Result<()>) -> Result<Trips> {
    let mut prober = Session::open(port)?;
    let question = match kind {
        Kind::Ping => json!({"type":"ping"}),
        Kind::Publish => json!({"type":"publish","channel":"probe","data":"x"}),
    };
    for _ in 0..20 {
        prober.ask(&question)?;
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let probing = scope.spawn(|| {
            let mut trips = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let begin = Instant::now();
                prober.ask(&question)?;
                trips.push(begin.elapsed().as_secs_f64());
                thread::sleep(Duration::from_micros(500));
            }
            Ok::<_, anyhow::Error>(trips)
        });
        let done = action();
        over.store(true, Ordering::Relaxed);
        let trips = probing.join().expect("the prober does not panic")?;
        done?;
        ensure!(!trips.is_empty(), "the prober was not answered at all");
        Ok(Trips(trips))
    })
}
