//! Clients that speak other dialects than the native one. They are written for the proof, on the
//! codecs of the dialects: each keeps its session over all connections, and reconnects at once.

mod connection;
mod mqtt;
mod socketio;

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::publishing::settle as settle_publishers;
use super::subscribing::{Reader, Story, settle as settle_subscribers};
use super::{Instructions, Reporter};
use crate::messages::{Total, Update};
use crate::plan::Dialect;

/// Starts the subscribers of this process, and reports what they receive.
pub(super) async fn subscribe(
    reporter: &Reporter,
    instructions: &mut Instructions,
    url: &str,
    dialect: Dialect,
    subscribers: Vec<Vec<usize>>,
) -> io::Result<()> {
    let mut readers = Vec::new();
    for (number, channels) in subscribers.into_iter().enumerate() {
        let story = Story::default();
        let own: Vec<_> = channels
            .into_iter()
            .map(|channel| Reader::new(number, channel, story.clone()))
            .collect();
        readers.extend(own.iter().cloned());
        let (ready, is_ready) = oneshot::channel();
        let subscriber = Subscriber {
            reporter: reporter.clone(),
            url: url.to_owned(),
            number,
            story,
            readers: own,
            ready: Some(ready),
        };
        match dialect {
            Dialect::Mqtt { qos } => drop(tokio::spawn(mqtt::subscribe(subscriber, qos))),
            Dialect::SocketIo | Dialect::Native => {
                drop(tokio::spawn(socketio::subscribe(subscriber)));
            }
        }
        // It lives as long as the process, unless it has failed, which it reports itself.
        let _failed = is_ready.await;
    }
    reporter.tell(&Update::Ready).await?;
    settle_subscribers(reporter, instructions, &readers, || 0).await
}

/// Starts the publishers of this process, and reports what they published.
pub(super) async fn publish(
    reporter: &Reporter,
    instructions: &mut Instructions,
    url: &str,
    dialect: Dialect,
    publishers: &[(usize, usize)],
    rate: f64,
) -> io::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let mut running: Vec<(usize, JoinHandle<u64>)> = Vec::new();
    for (number, channel) in publishers.iter().copied() {
        let mut clock = interval(Duration::from_secs_f64(1.0 / rate));
        // After being frozen, it does not catch up all at once.
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let publisher = Publisher {
            reporter: reporter.clone(),
            url: url.to_owned(),
            number,
            channel,
            clock,
            stopped: stopped.clone(),
        };
        let publishing = match dialect {
            Dialect::Mqtt { qos } => tokio::spawn(mqtt::publish(publisher, qos)),
            Dialect::SocketIo | Dialect::Native => tokio::spawn(socketio::publish(publisher)),
        };
        running.push((number, publishing));
    }
    reporter.tell(&Update::Ready).await?;
    settle_publishers(reporter, instructions, async || {
        stop.send_replace(true);
        let mut totals = Vec::new();
        for (publisher, task) in running.drain(..) {
            totals.push(Total {
                publisher,
                count: task.await.map_err(io::Error::other)?,
                discarded: BTreeSet::new(),
            });
        }
        Ok(totals)
    })
    .await
}

/// A subscriber: what it was told, and where it reports.
struct Subscriber {
    reporter: Reporter,
    url: String,
    /// Its number in this process.
    number: usize,
    story: Story,
    readers: Vec<Reader>,
    /// Told once every subscription was answered.
    ready: Option<oneshot::Sender<()>>,
}

impl Subscriber {
    fn is_ready(&mut self) {
        if let Some(ready) = self.ready.take() {
            let _told = ready.send(());
        }
    }

    /// Notes how a connection ended.
    fn lost(&self, why: &str) {
        self.story.add(format!("lost ({why})"));
        self.reporter.progress().failures += 1;
    }
}

/// A publisher: what it was told, and where it reports.
struct Publisher {
    reporter: Reporter,
    url: String,
    number: usize,
    channel: usize,
    /// When the next message is due.
    clock: Interval,
    stopped: watch::Receiver<bool>,
}

impl Publisher {
    /// Waits until the next message is due; false once it has to stop.
    async fn is_next(&mut self) -> bool {
        if *self.stopped.borrow() {
            return false;
        }
        tokio::select! {
            _ = self.clock.tick() => true,
            _told = self.stopped.wait_for(|stopped| *stopped) => false,
        }
    }

    fn text(&self, number: u64) -> String {
        format!("{} {number}", self.number)
    }
}
