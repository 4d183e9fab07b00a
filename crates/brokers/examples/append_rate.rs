//! Measures acknowledged publications per second for each broker, depending on how many are in
//! flight.
//!
//! `cargo run --release -p offhook-brokers --example append_rate [DIRECTORY [BROKER]]`
//!
//! One worker publishes 128 B messages round robin to some channels and keeps a window of them
//! unanswered; every one is acknowledged after the broker's promise.
#![expect(clippy::print_stdout, reason = "this is a program that prints a table")]

use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use offhook_brokers::{Broker, Durability, Log, LogOptions, Mailbox, Memory};
use offhook_engine::{
    BrokerEvent, BrokerRequest, ChannelName, ChannelRules, Draft, Format, History, Key, Now,
    ReadFrom, ReadLimit, RequestId, RuleBook, Tags,
};

type Failure = Box<dyn std::error::Error>;

const RUN: Duration = Duration::from_secs(3);

fn now() -> Now {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        instant: Instant::now(),
        unix_ms: since.as_millis() as u64,
    }
}

fn rules() -> Arc<RuleBook> {
    let history = History {
        count: 10_000,
        bytes: u64::MAX / 2,
        age: None,
    };
    Arc::new(RuleBook::everything(ChannelRules {
        history,
        ..ChannelRules::default()
    }))
}

struct TestWorker {
    broker: Arc<dyn Broker>,
    mailbox: Arc<Mailbox>,
    worker_id: offhook_brokers::WorkerId,
    woken: mpsc::Receiver<()>,
}

impl TestWorker {
    fn new(broker: Arc<dyn Broker>) -> Self {
        let (wake, woken) = mpsc::sync_channel(1);
        let wake = move || wake.try_send(()).unwrap_or_default();
        let mailbox = Arc::new(Mailbox::new(64 << 20, wake));
        let worker_id = broker.attach(Arc::clone(&mailbox));
        Self {
            broker,
            mailbox,
            worker_id,
            woken,
        }
    }

    /// Waits until an event arrives.
    fn take(&self) -> Result<Vec<BrokerEvent>, Failure> {
        loop {
            let events = self.mailbox.take();
            if !events.is_empty() {
                return Ok(events);
            }
            self.woken.recv()?;
        }
    }
}

/// Acknowledged publications per second, and the median and 99th percentile of the latency in µs.
fn publish(
    worker: &TestWorker,
    channels: usize,
    window: usize,
) -> Result<(f64, u128, u128), Failure> {
    let names = (0..channels).map(|n| ChannelName::new(&format!("channel {n}")));
    let names: Vec<_> = names.collect::<Result<_, _>>()?;
    let data = bytes::Bytes::from(vec![b'x'; 128]);
    let (mut sent, mut acknowledged, mut waits) = (0_usize, 0_usize, Vec::new());
    let mut sent_at = std::collections::VecDeque::new();
    let began = Instant::now();
    while began.elapsed() < RUN {
        while sent - acknowledged < window {
            let draft = Draft {
                channel: names[sent % channels].clone(),
                data: data.clone(),
                format: Format::Binary,
                tags: Tags::default(),
                publisher: None,
                key: Some(Key::new(&format!("{channels}/{window}/{sent}"))?),
                time_ms: 0,
            };
            let id = RequestId(sent as u64);
            sent_at.push_back(Instant::now());
            let publish = BrokerRequest::Publish { id, draft };
            if worker.broker.submit(worker.worker_id, publish).is_some() {
                return Err("the queue is full".into());
            }
            sent += 1;
        }
        for event in worker.take()? {
            let BrokerEvent::Published { .. } = event else {
                return Err("not published".into());
            };
            acknowledged += 1;
            waits.extend(sent_at.pop_front().map(|at| at.elapsed().as_micros()));
        }
    }
    let rate = acknowledged as f64 / began.elapsed().as_secs_f64();
    while acknowledged < sent {
        acknowledged += worker.take()?.len();
    }
    waits.sort_unstable();
    Ok((rate, waits[waits.len() / 2], waits[waits.len() * 99 / 100]))
}

/// Publications read per second, in pages of 512 through all channels.
fn read(worker: &TestWorker, channels: usize) -> Result<f64, Failure> {
    let (began, mut read, mut turn) = (Instant::now(), 0, 0);
    while began.elapsed() < RUN {
        let channel = ChannelName::new(&format!("channel {}", turn % channels))?;
        let (id, limit) = (
            RequestId(turn as u64),
            ReadLimit {
                count: 512,
                bytes: 128 << 10,
            },
        );
        let from = ReadFrom::Last(512);
        worker.broker.submit(
            worker.worker_id,
            BrokerRequest::History {
                id,
                channel,
                from,
                limit,
            },
        );
        for event in worker.take()? {
            let BrokerEvent::History { publications, .. } = event else {
                return Err("no history".into());
            };
            read += publications.len();
        }
        turn += 1;
    }
    Ok(read as f64 / began.elapsed().as_secs_f64())
}

fn rows(name: &str, open: impl Fn() -> Result<Arc<dyn Broker>, Failure>) -> Result<(), Failure> {
    for channels in [1, 1000] {
        for window in [1, 256, 4096] {
            let worker = TestWorker::new(open()?);
            let (rate, median, tail) = publish(&worker, channels, window)?;
            println!("| {name} | {channels} | {window} | {rate:.0} | {median} | {tail} |");
        }
    }
    let worker = TestWorker::new(open()?);
    publish(&worker, 100, 4096)?;
    println!(
        "| {name}, history | 100 | 512 a page | {:.0} read | | |",
        read(&worker, 100)?
    );
    Ok(())
}

fn log(path: &Path, durability: Durability) -> Result<Arc<dyn Broker>, Failure> {
    let fresh = path.join(format!("append_rate.{}", now().unix_ms));
    let options = LogOptions {
        durability,
        ..LogOptions::new(fresh)
    };
    Ok(Arc::new(Log::open(options, rules(), now())?))
}

fn main() -> Result<(), Failure> {
    let directory = match std::env::args().nth(1) {
        Some(path) => {
            std::fs::create_dir_all(&path)?;
            tempfile::tempdir_in(path)?
        }
        None => tempfile::tempdir()?,
    };
    println!(
        "128 B, each with a key; {RUN:?} a row; in {}",
        directory.path().display()
    );
    println!("| broker | channels | in flight | acknowledged/s | p50 µs | p99 µs |");
    println!("|---|---|---|---|---|---|");
    let only = std::env::args().nth(2);
    let wanted = |name: &str| only.as_ref().is_none_or(|only| only == name);
    if wanted("memory") {
        rows("memory", || Ok(Arc::new(Memory::new(rules(), now()))))?;
    }
    if wanted("fsync") {
        rows("log, fsync", || log(directory.path(), Durability::Fsync))?;
    }
    if wanted("os") {
        rows("log, os", || log(directory.path(), Durability::Os))?;
    }
    Ok(())
}
