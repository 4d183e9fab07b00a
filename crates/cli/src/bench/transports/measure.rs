//! Measures one transport under one loss: deliveries, bytes, processor time, and reconnecting.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout, timeout_at};

use super::Plan;
use super::carrier::{Carrier, Delivery, Subscriber};
use super::path::{Path, Reach};
use super::publisher::Publisher;
use super::results::{Cell, Times};
use super::server::Server;

/// The channel of all subscribers.
const CHANNEL: &str = "bench";

/// Messages before the measurement, so that windows and caches are open.
const WARM_UP: u64 = 5;

/// How long opening all subscribers may take. 20 s: no packet is lost meanwhile.
const OPEN_WITHIN: Duration = Duration::from_secs(20);

/// How long one reconnect may take. 5 s: a first packet that is lost three times costs 7 s, which is counted as
/// not reconnected in time.
const RECONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Deliveries that may wait to be counted.
const WAITING: usize = 100_000;

/// A delivery to a subscriber, and when it arrived; or why there are no more.
type Arrived = (usize, Result<(Delivery, Instant), String>);

pub(super) struct Measuring<'a> {
    pub(super) plan: &'a Plan,
    pub(super) path: &'a Path,
    pub(super) server: &'a Server,
    pub(super) reach: &'a Reach,
    pub(super) carrier: Carrier,
}

impl Measuring<'_> {
    /// Measures under this loss, in percent.
    pub(super) async fn under(&self, loss: f64) -> Result<Cell, String> {
        self.path.set_loss(0.0);
        let epoch = Instant::now();
        let publisher = Publisher::connect(self.server.direct, epoch, self.plan.size);
        let mut publisher = publisher.await?;
        let (tell, mut arrived) = mpsc::channel(WAITING);
        let mut subscribers = timeout(OPEN_WITHIN, self.subscribe(&tell)).await;
        let subscribers = match &mut subscribers {
            Ok(opened) => opened.as_mut().map_err(|why| why.clone())?,
            Err(_) => return Err(format!("no connection within {OPEN_WITHIN:?}")),
        };
        self.path.set_loss(loss / 100.0);
        let mut last = vec![String::new(); self.plan.subscribers];
        let load = self.load(&mut publisher, &mut arrived, &mut last).await?;
        // Whoever reconnects is gone before.
        subscribers.shutdown().await;
        let (times, not_reconnected) = self.reconnect(&mut publisher, &mut last).await?;
        self.path.set_loss(0.0);
        let deliveries = load.arrived.max(1) as f64;
        let [up, down] = load.counts;
        Ok(Cell {
            carrier: self.carrier,
            loss,
            latency: Times::of(load.times),
            expected: load.expected,
            arrived: load.arrived,
            bytes_down: down.bytes as f64 / deliveries,
            bytes_up: up.bytes as f64 / deliveries,
            processor_us: load
                .processor
                .map(|time| time.as_secs_f64() * 1e6 / deliveries),
            lost: up.lost + down.lost,
            packets: up.packets + down.packets,
            reconnect: Times::of(times),
            not_reconnected,
        })
    }

    fn open(
        &self,
        since: Option<String>,
    ) -> impl Future<Output = Result<Subscriber, String>> + Send + 'static {
        let (carrier, reach) = (self.carrier, self.reach.clone());
        let interval = self.plan.poll;
        async move {
            let channels = [CHANNEL.to_owned()];
            Subscriber::open(carrier, &reach, &channels, since.as_deref(), interval).await
        }
    }

    /// Opens all subscribers at once. They tell what arrives until they are stopped.
    async fn subscribe(&self, tell: &mpsc::Sender<Arrived>) -> Result<JoinSet<()>, String> {
        let mut opening = JoinSet::new();
        for _ in 0..self.plan.subscribers {
            opening.spawn(self.open(None));
        }
        let mut running = JoinSet::new();
        while let Some(opened) = opening.join_next().await {
            let mut subscriber = opened.map_err(|error| error.to_string())??;
            let (number, tell) = (running.len(), tell.clone());
            running.spawn(async move {
                loop {
                    let next = subscriber.next().await;
                    let next = next.map(|delivery| (delivery, Instant::now()));
                    let is_over = next.is_err();
                    if tell.send((number, next)).await.is_err() || is_over {
                        return;
                    }
                }
            });
        }
        Ok(running)
    }

    /// Publishes at a fixed rate, and counts deliveries until all have arrived, or late.
    async fn load(
        &self,
        publisher: &mut Publisher,
        arrived: &mut mpsc::Receiver<Arrived>,
        last: &mut [String],
    ) -> Result<Load, String> {
        let mut clock = interval(Duration::from_secs_f64(1.0 / self.plan.rate));
        for _ in 0..WARM_UP {
            clock.tick().await;
            publisher.publish(CHANNEL).await?;
        }
        let everyone = self.plan.subscribers as u64;
        let mut load = Load::default();
        let mut warm = 0;
        let warm_until = Instant::now() + self.plan.grace;
        while warm < WARM_UP * everyone {
            let Ok(Some((number, delivery))) = timeout_at(warm_until, arrived.recv()).await else {
                break;
            };
            note_position(last, number, &delivery?.0);
            warm += 1;
        }
        let count = (self.plan.rate * self.plan.time.as_secs_f64())
            .ceil()
            .max(1.0) as u64;
        load.expected = count * everyone;
        let (before, processor) = (self.path.counts(), self.server.processor());
        let mut published = 0;
        let mut end = Instant::now() + self.plan.time + self.plan.grace;
        while load.arrived < load.expected {
            tokio::select! {
                _ = clock.tick(), if published < count => {
                    publisher.publish(CHANNEL).await?;
                    published += 1;
                    if published == count {
                        end = Instant::now() + self.plan.grace;
                    }
                }
                next = timeout_at(end, arrived.recv()) => {
                    let Ok(Some((number, delivery))) = next else { break };
                    let (delivery, at) = delivery?;
                    note_position(last, number, &delivery);
                    // What was published before the measurement and comes late does not count.
                    if delivery.data.number > WARM_UP {
                        let sent = Duration::from_nanos(delivery.data.sent);
                        let since_epoch = at.duration_since(publisher.epoch());
                        let took = since_epoch.saturating_sub(sent);
                        load.times.push(took.as_secs_f64() * 1e3);
                        load.arrived += 1;
                    }
                }
            }
        }
        let [up, down] = self.path.counts();
        load.counts = [up.since(before[0]), down.since(before[1])];
        load.processor = self
            .server
            .processor()
            .zip(processor)
            .map(|(now, then)| now.saturating_sub(then));
        Ok(load)
    }

    /// Reconnects everyone several times, after a message that they have missed. The time is that until the
    /// message has arrived.
    async fn reconnect(
        &self,
        publisher: &mut Publisher,
        last: &mut [String],
    ) -> Result<(Vec<f64>, usize), String> {
        let (mut times, mut failed) = (Vec::new(), 0);
        for _ in 0..self.plan.reconnects {
            let number = publisher.publish(CHANNEL).await?;
            let mut attempts = JoinSet::new();
            for (subscriber, position) in last.iter().enumerate() {
                let opening = self.open(Some(position.clone()));
                attempts.spawn(async move {
                    let began = Instant::now();
                    let attempt = Box::pin(async {
                        let position = reached(opening.await?, number).await?;
                        Ok::<_, String>((position, began.elapsed()))
                    });
                    (subscriber, timeout(RECONNECT_WITHIN, attempt).await)
                });
            }
            while let Some(done) = attempts.join_next().await {
                match done.map_err(|error| error.to_string())? {
                    (subscriber, Ok(Ok((position, took)))) => {
                        times.push(took.as_secs_f64() * 1e3);
                        if let Some(last) = last.get_mut(subscriber) {
                            *last = position;
                        }
                    }
                    (_, Ok(Err(_)) | Err(_)) => failed += 1,
                }
            }
        }
        Ok((times, failed))
    }
}

/// Waits for a publication with at least this number; returns its position.
async fn reached(mut subscriber: Subscriber, number: u64) -> Result<String, String> {
    loop {
        let delivery = subscriber.next().await?;
        if delivery.data.number >= number {
            return Ok(delivery.position);
        }
    }
}

fn note_position(last: &mut [String], number: usize, delivery: &Delivery) {
    if let Some(last) = last.get_mut(number) {
        last.clone_from(&delivery.position);
    }
}

/// What happened under load.
#[derive(Debug, Default)]
struct Load {
    /// Latencies in milliseconds.
    times: Vec<f64>,
    expected: u64,
    arrived: u64,
    /// To the server, and to the client.
    counts: [super::link::Counts; 2],
    processor: Option<Duration>,
}
