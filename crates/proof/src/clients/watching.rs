//! Subscribers: each keeps a ledger of each channel it follows.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use offhook_client::{Client, Event, Since, Subscription};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Desk, Orders, next_order};
use crate::ledger::{Findings, Ledger};
use crate::plan::channel;
use crate::words::{Expected, News, Order};

/// One channel of one subscriber.
#[derive(Clone)]
struct Reader {
    channel: usize,
    ledger: Arc<Mutex<Ledger>>,
    /// The offset of what came last.
    reached: Arc<watch::Sender<u64>>,
}

pub(super) async fn watch(
    desk: &Desk,
    orders: &mut Orders,
    url: &str,
    subscribers: Vec<Vec<usize>>,
) -> io::Result<()> {
    let (mut clients, mut readers) = (Vec::new(), Vec::new());
    for channels in subscribers {
        let client = desk.client(url);
        for number in channels {
            let subscription = client.subscribe(channel(number)).since(Since::Start).await;
            let subscription = subscription.map_err(io::Error::other)?;
            let reader = Reader::new(number);
            tokio::spawn(reader.clone().read(desk.clone(), subscription));
            readers.push(reader);
        }
        clients.push(client);
    }
    desk.tell(&News::Ready).await?;
    let mut expected: Vec<Expected> = Vec::new();
    let mut waiting = JoinSet::new();
    loop {
        tokio::select! {
            order = next_order(orders) => match order? {
                Some(Order::Expect { channels }) => {
                    for reader in &readers {
                        let head = channels.get(reader.channel).map_or(0, |c| c.head);
                        waiting.spawn(reader.clone().reach(head));
                    }
                    expected = channels;
                }
                Some(Order::Report) => break,
                Some(Order::Watch { .. } | Order::Publish { .. } | Order::Stop) => {}
                None => return Ok(()),
            },
            Some(_reached) = waiting.join_next() => {
                if waiting.is_empty() {
                    break;
                }
            }
        }
    }
    desk.progress().repeats = clients.iter().map(Client::repeats).sum();
    desk.tell_progress_now().await?;
    desk.tell(&found(&readers, &expected)).await?;
    // Until the conductor hangs up.
    while next_order(orders).await?.is_some() {}
    Ok(())
}

fn found(readers: &[Reader], expected: &[Expected]) -> News {
    let mut findings = Findings::default();
    let mut orders = vec![Vec::new(); expected.len()];
    for reader in readers {
        let Some(channel) = expected.get(reader.channel) else {
            continue;
        };
        let ledger = reader.ledger();
        findings = findings.and(ledger.findings(&channel.published));
        if let Some(seen) = orders.get_mut(reader.channel)
            && !seen.contains(&ledger.order())
        {
            seen.push(ledger.order());
        }
    }
    News::Found { findings, orders }
}

impl Reader {
    fn new(channel: usize) -> Self {
        Self {
            channel,
            ledger: Arc::default(),
            reached: Arc::new(watch::Sender::new(0)),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(self, desk: Desk, mut subscription: Subscription) {
        loop {
            let event = subscription.next().await;
            match event {
                Ok(Some(Event::Publication(publication))) => {
                    let text = publication.data.text();
                    match text.as_deref().and_then(numbers) {
                        Some((publisher, number)) => self.ledger().receive(publisher, number),
                        None => return desk.failed("a publication that nobody made").await,
                    }
                    desk.progress().delivered += 1;
                    self.reached.send_replace(publication.position.offset);
                }
                Ok(Some(Event::Gap(gap))) => {
                    self.ledger().gap(gap.count());
                    self.reached.send_replace(gap.to.offset);
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) => return desk.failed(&error.to_string()).await,
            }
        }
    }

    async fn reach(self, head: u64) {
        let mut reached = self.reached.subscribe();
        // Its sender lives as long as this does.
        let _there = reached.wait_for(|offset| *offset >= head).await;
    }
}

/// The publisher's number, and the publication's.
fn numbers(text: &str) -> Option<(usize, u64)> {
    let (publisher, number) = text.split_once(' ')?;
    Some((publisher.parse().ok()?, number.parse().ok()?))
}
