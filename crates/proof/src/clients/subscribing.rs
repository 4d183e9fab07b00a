//! Subscribers: each keeps a ledger for each channel it follows.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use offhook_client::{Client, ConnectionEvent, ConnectionEvents, Event, Since, Subscription};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Instructions, Reporter, next_instruction, text_of};
use crate::ledger::{Expected, Findings, Ledger};
use crate::messages::{Instruction, Update};
use crate::plan::channel;

/// How many events of a subscriber are kept, to explain why it lacks messages.
const STORY: usize = 16;

/// The last events of a subscriber: those of its connection, and those of its channels except
/// publications.
#[derive(Clone, Default)]
pub(super) struct Story(Arc<Mutex<VecDeque<(Instant, String)>>>);

/// One channel of one subscriber.
#[derive(Clone)]
pub(super) struct Reader {
    /// The number of the subscriber in its process.
    subscriber: usize,
    channel: usize,
    story: Story,
    ledger: Arc<Mutex<Ledger>>,
    /// The offset of the last publication received.
    reached: Arc<watch::Sender<u64>>,
}

pub(super) async fn subscribe(
    reporter: &Reporter,
    instructions: &mut Instructions,
    subscribers: Vec<Vec<usize>>,
) -> io::Result<()> {
    let (mut clients, mut readers) = (Vec::new(), Vec::new());
    for (subscriber, channels) in subscribers.into_iter().enumerate() {
        let client = reporter.client(subscriber)?;
        let story = Story::default();
        tokio::spawn(story.clone().follow(client.events()));
        for number in channels {
            let subscription = client.subscribe(channel(number)).since(Since::Start);
            let subscription = subscription.presence().await;
            let subscription = subscription.map_err(io::Error::other)?;
            let reader = Reader::new(subscriber, number, story.clone());
            tokio::spawn(reader.clone().read(reporter.clone(), subscription));
            readers.push(reader);
        }
        clients.push(client);
    }
    reporter.tell(&Update::Ready).await?;
    let repeats = || clients.iter().map(Client::repeats).sum();
    settle(reporter, instructions, &readers, repeats).await
}

/// Waits until the readers have what the runner expects, and reports what they received.
pub(super) async fn settle(
    reporter: &Reporter,
    instructions: &mut Instructions,
    readers: &[Reader],
    repeats: impl Fn() -> u64,
) -> io::Result<()> {
    let mut expected: Vec<Expected> = Vec::new();
    let mut waiting = JoinSet::new();
    loop {
        tokio::select! {
            instruction = next_instruction(instructions) => match instruction? {
                Some(Instruction::Expect { channels }) => {
                    for reader in readers {
                        let head = channels.get(reader.channel).map_or(0, |c| c.head);
                        waiting.spawn(reader.clone().reach(head));
                    }
                    expected = channels;
                }
                Some(Instruction::Report) => break,
                Some(Instruction::Subscribe { .. } | Instruction::Publish { .. } | Instruction::Stop) => {}
                None => return Ok(()),
            },
            Some(_reached) = waiting.join_next() => {
                if waiting.is_empty() {
                    break;
                }
            }
        }
    }
    reporter.progress().repeats = repeats();
    reporter.tell_progress_now().await?;
    reporter.tell(&found(readers, &expected)).await?;
    // Until the runner closes stdin.
    while next_instruction(instructions).await?.is_some() {}
    Ok(())
}

fn found(readers: &[Reader], expected: &[Expected]) -> Update {
    let mut findings = Findings::default();
    let mut orders = vec![Vec::new(); expected.len()];
    let mut lacking = Vec::new();
    for reader in readers {
        let Some(channel) = expected.get(reader.channel) else {
            continue;
        };
        lacking.extend(reader.lacks(channel.head));
        let ledger = reader.ledger();
        findings = findings.and(ledger.findings(channel));
        if let Some(seen) = orders.get_mut(reader.channel)
            && !seen.contains(&ledger.order())
        {
            seen.push(ledger.order());
        }
    }
    Update::Found {
        findings,
        orders,
        lacking,
    }
}

impl Story {
    pub(super) fn add(&self, event: String) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == STORY {
            events.pop_front();
        }
        events.push_back((Instant::now(), event));
    }

    async fn follow(self, mut events: ConnectionEvents) {
        while let Some(event) = events.next().await {
            self.add(match event {
                ConnectionEvent::Open { recovery, .. } => format!("open ({recovery:?})"),
                ConnectionEvent::Connecting { attempt } => format!("connecting ({attempt})"),
                ConnectionEvent::Lost { cause, .. } => format!("lost ({cause})"),
                other @ (ConnectionEvent::Moving { .. }
                | ConnectionEvent::Told { .. }
                | ConnectionEvent::Held { .. }
                | ConnectionEvent::TokenFailed { .. }
                | ConnectionEvent::GivenUp { .. }
                | _) => format!("{other:?}"),
            });
        }
    }
}

impl Reader {
    pub(super) fn new(subscriber: usize, channel: usize, story: Story) -> Self {
        Self {
            subscriber,
            channel,
            story,
            ledger: Arc::default(),
            reached: Arc::new(watch::Sender::new(0)),
        }
    }

    pub(super) const fn channel(&self) -> usize {
        self.channel
    }

    /// Records a publication with this text. False if no publisher makes such a publication.
    pub(super) fn receive(
        &self,
        reporter: &Reporter,
        offset: u64,
        text: &str,
        session: &str,
    ) -> bool {
        let Some((publisher, number)) = numbers(text) else {
            return false;
        };
        self.ledger().receive(offset, publisher, number, session);
        reporter.progress().delivered += 1;
        self.reached.send_replace(offset);
        true
    }

    /// Records a message without an offset. It counts as received again if its publisher's message
    /// with this number was received before, which is no mistake if the message `may_repeat`.
    pub(super) fn receive_text(&self, reporter: &Reporter, text: &str, may_repeat: bool) -> bool {
        let Some((publisher, number)) = numbers(text) else {
            return false;
        };
        let mut ledger = self.ledger();
        let is_known = ledger.has(publisher, number);
        if is_known && may_repeat {
            reporter.progress().again += 1;
            return true;
        }
        let offset = ledger.reached() + 1;
        ledger.receive(offset, publisher, number, "");
        drop(ledger);
        let mut progress = reporter.progress();
        progress.delivered += 1;
        drop(progress);
        if !is_known {
            self.reached.send_modify(|distinct| *distinct += 1);
        }
        true
    }

    /// Records a gap.
    pub(super) fn gap(&self, to: u64, what: &str) {
        self.story.add(format!("channel {}: {what}", self.channel));
        self.ledger().gap(to);
        self.reached.send_replace(to);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Describes what the subscriber lacks in a channel with this newest offset, and its last
    /// events.
    fn lacks(&self, head: u64) -> Option<String> {
        let reached = *self.reached.borrow();
        if reached >= head {
            return None;
        }
        let (subscriber, channel) = (self.subscriber, self.channel);
        let mut lacks =
            format!("subscriber {subscriber} is at {reached} of {head} in channel {channel}:");
        let events = self.story.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, event) in &*events {
            let ago = at.elapsed().as_secs_f32();
            let _infallible = write!(lacks, "\n    {ago:.1} s ago: {event}");
        }
        Some(lacks)
    }

    async fn read(self, reporter: Reporter, mut subscription: Subscription) {
        loop {
            let event = subscription.next().await;
            match event {
                Ok(Some(Event::Publication(publication))) => {
                    let text = text_of(&publication.data);
                    let offset = publication.position.offset;
                    let session = publication.session.as_deref().unwrap_or_default();
                    if !self.receive(&reporter, offset, &text, session) {
                        return reporter
                            .failed("received a publication that was not made")
                            .await;
                    }
                }
                Ok(Some(Event::Gap(gap))) => {
                    self.gap(gap.to.offset, &format!("{gap:?}"));
                }
                Ok(Some(event @ (Event::Live { .. } | Event::CatchingUp))) => {
                    self.story
                        .add(format!("channel {}: {event:?}", self.channel));
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) => return reporter.failed(&error.to_string()).await,
            }
        }
    }

    async fn reach(self, head: u64) {
        let mut reached = self.reached.subscribe();
        // Its sender lives as long as this value.
        let _there = reached.wait_for(|offset| *offset >= head).await;
    }
}

/// The publisher's number, and the publication's.
fn numbers(text: &str) -> Option<(usize, u64)> {
    let (publisher, number) = text.split_once(' ')?;
    Some((publisher.parse().ok()?, number.parse().ok()?))
}
