//! Publishers: each counts from 0, one publication after the other, whether there is a connection or not.

use std::io;
use std::time::Duration;

use offhook_client::{Client, Error, Publishing};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::{Desk, Orders, next_order};
use crate::plan::channel;
use crate::words::{News, Order};

/// Publications of one publisher whose answers were not looked at. The client's own queue is full
/// long before.
const UNANSWERED: usize = 100_000;

pub(super) async fn publish(
    desk: &Desk,
    orders: &mut Orders,
    url: &str,
    publishers: &[(usize, usize)],
    rate: f64,
) -> io::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let mut running = Vec::new();
    for (number, to) in publishers.iter().copied() {
        let publisher = Publisher {
            desk: desk.clone(),
            client: desk.client(url),
            number,
            channel: channel(to),
        };
        let every = Duration::from_secs_f64(1.0 / rate);
        running.push((number, tokio::spawn(publisher.run(every, stopped.clone()))));
    }
    desk.tell(&News::Ready).await?;
    while let Some(order) = next_order(orders).await? {
        if !matches!(order, Order::Stop) {
            continue;
        }
        stop.send_replace(true);
        let mut totals = Vec::new();
        for (number, publisher) in running.drain(..) {
            let total = publisher.await.map_err(io::Error::other)?;
            totals.push((number, total.map_err(io::Error::other)?));
        }
        desk.tell_progress_now().await?;
        desk.tell(&News::Published { totals }).await?;
    }
    Ok(())
}

struct Publisher {
    desk: Desk,
    client: Client,
    number: usize,
    channel: String,
}

impl Publisher {
    /// Publishes until it is told to stop; then waits for every answer. How many there were.
    async fn run(self, every: Duration, mut stopped: watch::Receiver<bool>) -> Result<u64, Error> {
        let (queued, answers) = mpsc::channel(UNANSWERED);
        let counting = tokio::spawn(count(self.desk.clone(), answers));
        let mut clock = interval(every);
        // Who was frozen does not make up for it all at once.
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0;
        while !*stopped.borrow() {
            tokio::select! {
                _ = clock.tick() => {}
                _told = stopped.changed() => continue,
            }
            match self.next(number) {
                Ok(publishing) => {
                    number += 1;
                    if queued.send(publishing).await.is_err() {
                        break;
                    }
                }
                // As much as may waits already: this one is for later.
                Err(Error::Full) => {}
                Err(error) => return Err(error),
            }
        }
        drop(queued);
        let answered = counting.await.map_err(|_| Error::Closed)??;
        debug_assert_eq!(answered, number);
        Ok(answered)
    }

    fn next(&self, number: u64) -> Result<Publishing, Error> {
        let text = format!("{} {number}", self.number);
        self.client.publish(self.channel.as_str(), text).queue()
    }
}

/// Counts the answers: every one has to come.
async fn count(desk: Desk, mut answers: mpsc::Receiver<Publishing>) -> Result<u64, Error> {
    let mut total = 0;
    while let Some(publishing) = answers.recv().await {
        let published = publishing.await?;
        total += 1;
        let mut progress = desk.progress();
        progress.published += 1;
        progress.recognised += u64::from(published.duplicate);
    }
    Ok(total)
}
