//! Random operations on both ends of a pair, in any order and cancelled anywhere, compared with a
//! small model: each accepted message arrives at the other end as a whole, once and in order; all
//! of them, unless the connection was lost.

use std::future::Future;
use std::time::Duration;

use offhook::protocol::{CloseCode, Config, Keepalive, Kind};
use offhook::{Error, Link, Message, Pair, Settings, WebSocket};
use proptest::prelude::*;

use crate::cancelled::cancelled_after;

#[derive(Clone, Copy, Debug)]
enum Op {
    TrySend(usize),
    Send(usize),
    Stream(usize),
    Recv,
    RecvStream,
    Ping,
    Flush,
    Close,
    Drop,
    Cut,
    Stall,
    Resume,
    Delay(u64),
}

/// The operation, the end it is applied to, and the number of polls before it is cancelled.
type Step = (Op, usize, usize);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let op = prop_oneof![
        5 => (0..300_usize).prop_map(Op::TrySend),
        5 => (0..300_usize).prop_map(Op::Send),
        2 => (0..6_usize).prop_map(Op::Stream),
        8 => Just(Op::Recv),
        3 => Just(Op::RecvStream),
        2 => Just(Op::Ping),
        2 => Just(Op::Flush),
        1 => Just(Op::Stall),
        2 => Just(Op::Resume),
        1 => (0..5_u64).prop_map(Op::Delay),
    ];
    let end = prop_oneof![4 => Just(Op::Close), 1 => Just(Op::Drop), 1 => Just(Op::Cut)];
    let step = |op| (op, 0..2_usize, 1..6_usize);
    // Nearly all operations come before the end, and some after.
    let (before, after) = (
        prop::collection::vec(step(op.clone().boxed()), 0..60),
        op.boxed(),
    );
    let after = prop::collection::vec(step(after), 0..10);
    (before, step(end.boxed()), after).prop_map(|(mut steps, end, after)| {
        steps.push(end);
        steps.extend(after);
        steps
    })
}

struct World {
    ends: [Option<WebSocket>; 2],
    link: Link,
    sent: [Vec<Message>; 2],
    /// `None` for one whose reader was dropped early: the rest of it is skipped.
    received: [Vec<Option<Message>>; 2],
    /// Whether the last message sent was not finished.
    unfinished: [bool; 2],
    /// Whether something may have been lost: the link was cut, or an end dropped.
    lost: bool,
}

/// Runs until nothing more can happen: the clock is paused.
async fn for_a_moment<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let moment = Duration::from_millis(20);
    tokio::time::timeout(moment, cancelled_after(polls, future))
        .await
        .ok()
        .flatten()
}

impl World {
    fn new() -> Self {
        let settings = Settings::default().send_buffer(200).config(Config {
            keepalive: Keepalive {
                interval: None,
                ..Keepalive::default()
            },
            fragment_size: 64,
            lone_frame_size: 0,
            close_timeout: Duration::from_secs(600),
            ..Config::default()
        });
        let pair = Pair::new().capacity(150).settings(&settings);
        let (client, server, link) = pair.open();
        Self {
            ends: [Some(client), Some(server)],
            link,
            sent: [Vec::new(), Vec::new()],
            received: [Vec::new(), Vec::new()],
            unfinished: [false, false],
            lost: false,
        }
    }

    async fn step(&mut self, (op, end, polls): Step) {
        match op {
            Op::Cut => {
                self.lost = true;
                self.link.cut();
            }
            Op::Stall => self.link.stall(),
            Op::Resume => self.link.resume(),
            Op::Delay(millis) => self.link.set_delay(Duration::from_millis(millis)),
            Op::Drop => {
                self.lost = true;
                self.ends[end] = None;
            }
            op => {
                if let Some(mut socket) = self.ends[end].take() {
                    self.act(op, &mut socket, end, polls).await;
                    self.ends[end] = Some(socket);
                }
            }
        }
    }

    async fn act(&mut self, op: Op, socket: &mut WebSocket, end: usize, polls: usize) {
        let number = self.sent[end].len();
        let text = |len: usize| Message::from(format!("{number}:{}", "x".repeat(len)));
        match op {
            Op::TrySend(len) => {
                let message = text(len);
                if socket.try_send(&message).is_ok() {
                    self.sent[end].push(message);
                }
            }
            Op::Send(len) => {
                let message = text(len);
                if let Some(Ok(())) = for_a_moment(polls, socket.send(&message)).await {
                    self.sent[end].push(message);
                }
            }
            Op::Stream(pieces) => {
                let begun = &mut self.unfinished[end];
                if let Some(message) = stream(socket, pieces, polls, begun).await {
                    self.sent[end].push(message);
                }
            }
            Op::Recv => {
                if let Some(Ok(Some(message))) = for_a_moment(polls, socket.recv()).await {
                    self.received[end].push(Some(message));
                }
            }
            Op::RecvStream => {
                let mut begun = false;
                let message = for_a_moment(polls, whole(socket, &mut begun)).await;
                if begun {
                    let message = message.and_then(Result::ok).flatten();
                    self.received[end].push(message);
                }
            }
            Op::Ping => drop(for_a_moment(polls, socket.ping()).await),
            Op::Flush => drop(for_a_moment(polls, socket.flush()).await),
            Op::Close => drop(socket.sender().close(CloseCode::NORMAL, "")),
            Op::Drop | Op::Cut | Op::Stall | Op::Resume | Op::Delay(_) => {}
        }
    }

    /// Lets both ends receive to the end, and compares.
    async fn finish(mut self) {
        self.link.resume();
        let [client, server] = self.ends.each_mut().map(Option::take);
        let (to_client, to_server) = tokio::join!(rest(client), rest(server));
        self.received[0].extend(to_client.into_iter().map(Some));
        self.received[1].extend(to_server.into_iter().map(Some));
        for (sent, received) in [(0, 1), (1, 0)] {
            if self.unfinished[sent] && self.received[received].len() > self.sent[sent].len() {
                // A reader has started a message that never ends.
                assert_eq!(self.received[received].pop(), Some(None));
            }
            let (sent, received) = (&self.sent[sent], &self.received[received]);
            let same = |(sent, received): (&Message, &Option<Message>)| {
                received.as_ref().is_none_or(|received| received == sent)
            };
            let complete = received.len() == sent.len() || self.lost;
            let is_prefix = received.len() <= sent.len() && sent.iter().zip(received).all(same);
            assert!(complete && is_prefix, "{sent:?}\n{received:?}");
        }
    }
}

/// Sends pieces, each cancelled or not. Returns the message if it was finished.
async fn stream(
    socket: &WebSocket,
    pieces: usize,
    polls: usize,
    unfinished: &mut bool,
) -> Option<Message> {
    let mut writer = for_a_moment(polls, socket.send_stream(Kind::Text))
        .await?
        .ok()?;
    let mut text = String::new();
    for n in 0..pieces {
        let piece = format!("piece {n};");
        if let Some(Ok(())) = for_a_moment(polls, writer.write(piece.as_str())).await {
            text.push_str(&piece);
            *unfinished = true;
        }
    }
    for_a_moment(polls, writer.finish("")).await?.ok()?;
    *unfinished = false;
    Some(text.into())
}

/// Receives a message piece by piece, and records that it has started.
async fn whole(socket: &mut WebSocket, begun: &mut bool) -> Result<Option<Message>, Error> {
    let Some(mut message) = socket.recv_stream().await? else {
        return Ok(None);
    };
    *begun = true;
    let mut text = String::new();
    while let Some(piece) = message.next().await? {
        text.push_str(piece.as_text().unwrap());
    }
    Ok(Some(text.into()))
}

async fn rest(socket: Option<WebSocket>) -> Vec<Message> {
    let mut rest = Vec::new();
    if let Some(mut socket) = socket {
        while let Ok(Some(message)) = socket.recv().await {
            rest.push(message);
        }
        // Once it has ended, it stays so and reports the same.
        assert!(socket.closed().is_some());
        assert_eq!(socket.recv().await.unwrap(), None);
        assert!(socket.send("late").await.is_err());
    }
    rest
}

proptest! {
    // `PROPTEST_CASES` asks for more.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sent_messages_arrive_regardless_of_cancelled_operations(steps in steps()) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in steps {
                world.step(step).await;
            }
            world.finish().await;
        });
    }
}
