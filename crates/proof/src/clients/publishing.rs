//! Publishers: each numbers its publications from 0, and publishes whether it is connected or not.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use offhook_client::{Client, Data, Error, Event, Position, Publishing, Since};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::{Instructions, Reporter, next_instruction, text_of};
use crate::messages::{Instruction, Total, Update};
use crate::plan::channel;

/// The maximum number of a publisher's publications whose answers were not examined. The client's
/// own queue fills up long before.
const UNANSWERED: usize = 100_000;

pub(super) async fn publish(
    reporter: &Reporter,
    instructions: &mut Instructions,
    publishers: &[(usize, usize)],
    rate: f64,
) -> io::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let mut running = Vec::new();
    for (number, to) in publishers.iter().copied() {
        let publisher = Publisher {
            reporter: reporter.clone(),
            client: reporter.client(number)?,
            number,
            channel: channel(to),
        };
        let every = Duration::from_secs_f64(1.0 / rate);
        running.push((number, tokio::spawn(publisher.run(every, stopped.clone()))));
    }
    reporter.tell(&Update::Ready).await?;
    settle(reporter, instructions, async || {
        stop.send_replace(true);
        let mut totals = Vec::new();
        for (publisher, task) in running.drain(..) {
            let published = task.await.map_err(io::Error::other)?;
            let (client, channel, acknowledged) = published.map_err(io::Error::other)?;
            let discarded = discarded(&client, &channel, publisher, &acknowledged).await?;
            let count = acknowledged.len() as u64;
            totals.push(Total {
                publisher,
                count,
                discarded,
            });
        }
        Ok(totals)
    })
    .await
}

/// Waits until the runner stops the publishers, and reports what they have published.
pub(super) async fn settle(
    reporter: &Reporter,
    instructions: &mut Instructions,
    mut stop: impl AsyncFnMut() -> io::Result<Vec<Total>>,
) -> io::Result<()> {
    while let Some(instruction) = next_instruction(instructions).await? {
        if !matches!(instruction, Instruction::Stop) {
            continue;
        }
        let totals = stop().await?;
        reporter.tell_progress_now().await?;
        reporter.tell(&Update::Published { totals }).await?;
    }
    Ok(())
}

struct Publisher {
    reporter: Reporter,
    client: Client,
    number: usize,
    channel: String,
}

impl Publisher {
    /// Publishes until it is told to stop, then waits for every answer.
    async fn run(self, every: Duration, mut stopped: watch::Receiver<bool>) -> Result<Done, Error> {
        let (queued, answers) = mpsc::channel(UNANSWERED);
        let counting = tokio::spawn(count(self.reporter.clone(), answers));
        let mut clock = interval(every);
        // After being frozen, it does not catch up all at once.
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
                // The queue is full: this one is published later.
                Err(Error::Full) => {}
                Err(error) => return Err(error),
            }
        }
        drop(queued);
        let answered = counting.await.map_err(|_| Error::Closed)??;
        debug_assert_eq!(answered.len() as u64, number);
        Ok((self.client, self.channel, answered))
    }

    fn next(&self, number: u64) -> Result<Publishing, Error> {
        let text = format!("{} {number}", self.number);
        // Half of the publications are bytes, which have a form of their own on the wire.
        let data = match number % 2 {
            0 => Data::from(text),
            _ => Data::from(text.into_bytes()),
        };
        self.client.publish(self.channel.as_str(), data).queue()
    }
}

/// The client, the channel, and the position of each publication by its number.
type Done = (Client, String, Vec<Position>);

/// Collects the answers: every one must arrive.
async fn count(
    reporter: Reporter,
    mut answers: mpsc::Receiver<Publishing>,
) -> Result<Vec<Position>, Error> {
    let mut positions = Vec::new();
    while let Some(publishing) = answers.recv().await {
        let published = publishing.await?;
        positions.push(published.position);
        let mut progress = reporter.progress();
        progress.published += 1;
        progress.recognised += u64::from(published.duplicate);
    }
    Ok(positions)
}

/// Numbers that were acknowledged and are not in the stream because their epoch ended before them:
/// a restored backup does not contain them. Subscribers report others that are missing.
///
/// # Errors
/// Another publication has an acknowledged position: one position, two publications.
async fn discarded(
    client: &Client,
    channel: &str,
    publisher: usize,
    acknowledged: &[Position],
) -> io::Result<BTreeSet<u64>> {
    let stream = read(client, channel).await?;
    let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
    for (offset, (epoch, _)) in &stream {
        ends.insert(*epoch, *offset);
    }
    let mut discarded = BTreeSet::new();
    for (position, number) in acknowledged.iter().zip(0..) {
        let is_ours = format!("{publisher} {number}");
        match stream.get(&position.offset) {
            Some((epoch, text)) if *epoch == position.epoch.0 => {
                if *text != is_ours {
                    let what = format!("{position} was acknowledged as {is_ours:?}, is {text:?}");
                    return Err(io::Error::other(what));
                }
            }
            Some(_) | None => {
                if ends
                    .get(&position.epoch.0)
                    .is_none_or(|end| *end < position.offset)
                {
                    discarded.insert(number);
                }
            }
        }
    }
    Ok(discarded)
}

/// A channel's current content: epoch and text by offset.
async fn read(client: &Client, channel: &str) -> io::Result<BTreeMap<u64, (u64, String)>> {
    let newest = client.history(channel).limit(1).await;
    let head = newest.map_err(io::Error::other)?.head.offset;
    let subscription = client.subscribe(channel).since(Since::Start).await;
    let mut subscription = subscription.map_err(io::Error::other)?;
    let mut stream = BTreeMap::new();
    let mut reached = 0;
    while reached < head {
        match subscription.next().await.map_err(io::Error::other)? {
            Some(Event::Publication(publication)) => {
                let position = publication.position;
                let text = text_of(&publication.data).into_owned();
                stream.insert(position.offset, (position.epoch.0, text));
                reached = position.offset;
            }
            Some(Event::Gap(gap)) => reached = gap.to.offset,
            Some(_) => {}
            None => return Err(io::Error::other("the subscription ended")),
        }
    }
    Ok(stream)
}
