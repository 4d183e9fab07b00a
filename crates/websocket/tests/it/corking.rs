//! When output is sent, and in how many writes.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream as _;
use offhook::protocol::Prepared;
use offhook::{Error, Pair, Settings, WebSocket};
use tokio::time::Instant;

use crate::counted::{Count, counted_pair};

#[tokio::test]
async fn pipelined_messages_are_echoed_with_one_write_per_read() {
    let (mut client, mut server, _link, count) = counted_pair(&Settings::default());
    for n in 0..1_000 {
        client.send(n.to_string()).await.unwrap();
    }
    client.flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = server.recv().await? {
            server.send(message).await?;
        }
        Ok::<_, Error>(())
    });
    for n in 0..1_000 {
        assert_eq!(client.recv().await.unwrap(), Some(n.to_string().into()));
    }
    assert_eq!((count.reads(), count.writes()), (1, 1));
}

/// As in `futures`: a trait with a `send` for every sink.
#[expect(dead_code, reason = "that nobody calls it is the point")]
trait SinkExt: futures_sink::Sink<offhook::Message> {
    /// Would write each message separately.
    async fn send(&mut self, message: offhook::Message);
}

impl<S: futures_sink::Sink<offhook::Message>> SinkExt for S {
    async fn send(&mut self, message: offhook::Message) {
        unreachable!("{message} was sent as through any sink");
    }
}

#[tokio::test]
async fn sinkext_in_scope_does_not_shadow_the_corked_send() {
    let (mut client, server, _link, count) = counted_pair(&Settings::default());
    for n in 0..10 {
        server.send(n.to_string()).await.unwrap();
    }
    for n in 0..10 {
        assert_eq!(client.recv().await.unwrap(), Some(n.to_string().into()));
    }
    assert_eq!(count.writes(), 1);
}

#[tokio::test]
async fn each_answers_all_messages_of_one_read_with_one_write() {
    let (mut client, mut server, _link, count) = counted_pair(&Settings::default());
    for n in 0..1_000 {
        client.send(n.to_string()).await.unwrap();
    }
    client.flush().await.unwrap();
    tokio::spawn(async move { server.each(|message, replies| replies.send(message)).await });
    for n in 0..1_000 {
        assert_eq!(client.recv().await.unwrap(), Some(n.to_string().into()));
    }
    assert_eq!((count.reads(), count.writes()), (1, 1));
}

/// Echoes one message, and returns how many writes `send` made.
async fn echo_one(server: &mut WebSocket, count: &Count) -> usize {
    let message = server.recv().await.unwrap().unwrap();
    let before = count.writes();
    // Not the method of `SinkExt` above.
    WebSocket::send(server, message).await.unwrap();
    count.writes() - before
}

#[tokio::test]
async fn a_task_that_answers_each_message_with_one_writes_its_reply_at_once() {
    let (mut client, mut server, _link, count) = counted_pair(&Settings::default());
    let talking = tokio::spawn(async move {
        for n in 0..100 {
            client.send(n.to_string()).await.unwrap();
            assert_eq!(client.recv().await.unwrap(), Some(n.to_string().into()));
        }
        // Several at once: they are answered together.
        for n in 0..100 {
            client.put(n.to_string()).unwrap();
        }
        for n in 0..100 {
            assert_eq!(client.recv().await.unwrap(), Some(n.to_string().into()));
        }
        client.send("last").await.unwrap();
        client.recv().await.unwrap()
    });
    assert_eq!(echo_one(&mut server, &count).await, 0);
    let mut at_once = 0;
    for _ in 1..100 {
        at_once += echo_one(&mut server, &count).await;
    }
    assert!(at_once > 80, "{at_once}");
    let before = count.writes();
    for _ in 0..100 {
        assert_eq!(echo_one(&mut server, &count).await, 0);
    }
    assert_eq!(server.recv().await.unwrap(), Some("last".into()));
    assert_eq!(count.writes(), before + 1);
    drop(server);
    assert_eq!(talking.await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_always_sent_one_reply_and_now_sends_several_makes_two_writes() {
    let (mut client, mut server, _link, count) = counted_pair(&Settings::default());
    let serving = tokio::spawn(async move {
        while let Some(message) = server.recv().await? {
            let replies = if message.as_text() == Some("ten") {
                10
            } else {
                1
            };
            for _ in 0..replies {
                server.send(&message).await?;
            }
            if replies > 1 {
                // This end neither receives nor flushes.
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        }
        Ok::<_, Error>(())
    });
    for _ in 0..20 {
        client.send("one").await.unwrap();
        assert_eq!(client.recv().await.unwrap(), Some("one".into()));
    }
    let before = count.writes();
    let begun = Instant::now();
    client.send("ten").await.unwrap();
    for _ in 0..10 {
        assert_eq!(client.recv().await.unwrap(), Some("ten".into()));
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(count.writes(), before + 2);
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn messages_sent_before_a_sleep_are_written_at_once_during_it() {
    let (mut client, server, _link, count) = counted_pair(&Settings::default());
    let asleep = tokio::spawn(async move {
        for n in 0..10 {
            server.send(n.to_string()).await.unwrap();
        }
        // This end neither receives nor flushes.
        tokio::time::sleep(Duration::from_secs(20)).await;
        server
    });
    for n in 0..10 {
        assert_eq!(client.recv().await.unwrap(), Some(n.to_string().into()));
    }
    assert!(!asleep.is_finished());
    assert_eq!(count.writes(), 1);
}

#[tokio::test]
async fn messages_of_several_tasks_in_one_round_of_the_runtime_are_written_at_once() {
    let (mut client, server, _link, count) = counted_pair(&Settings::default());
    for _ in 0..50 {
        let sender = server.sender();
        tokio::spawn(async move { sender.send("news").await });
    }
    for _ in 0..50 {
        assert_eq!(client.recv().await.unwrap(), Some("news".into()));
    }
    assert_eq!(count.writes(), 1);
}

#[tokio::test]
async fn flush_returns_when_nothing_is_unsent() {
    let (_client, server, _link, count) = counted_pair(&Settings::default());
    server.send("a").await.unwrap();
    assert!(server.buffered_amount() > 0);
    server.flush().await.unwrap();
    assert_eq!((server.buffered_amount(), count.writes()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn flush_waits_until_the_peer_has_room_for_the_last_of_many_messages() {
    const MESSAGES: usize = 4;
    let (client, mut server, _link) = Pair::new().capacity(64 * 1024).open();
    for _ in 0..MESSAGES {
        client.put(vec![7; 1 << 20]).unwrap();
    }
    let sender = client.sender();
    let flushing = tokio::spawn(async move {
        sender.flush().await.unwrap();
        sender.buffered_amount()
    });
    for _ in 1..MESSAGES {
        assert_eq!(server.recv().await.unwrap().unwrap().len(), 1 << 20);
        assert!(!flushing.is_finished());
    }
    assert_eq!(server.recv().await.unwrap().unwrap().len(), 1 << 20);
    assert_eq!(flushing.await.unwrap(), 0);
}

#[tokio::test]
async fn above_the_send_buffer_a_sender_writes_immediately() {
    let settings = Settings::default().send_buffer(10_000);
    let (_client, server, _link, count) = counted_pair(&settings);
    for _ in 0..10 {
        // The future is never pending, so no other task runs.
        server.send(vec![0; 6_000]).await.unwrap();
    }
    assert_eq!(count.writes(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_while_the_user_handles_the_next_message() {
    let (mut client, mut server, _link, _count) = counted_pair(&Settings::default());
    // Both arrive in one read.
    let sender = client.sender();
    let receiving = tokio::spawn(async move { client.recv().await });
    let (pong, sent) = tokio::join!(sender.ping(), async {
        sender.send("work").await?;
        assert_eq!(server.recv().await?, Some("work".into()));
        Ok::<_, Error>(())
        // The server's end does nothing more.
    });
    sent.unwrap();
    pong.unwrap();
    assert!(!receiving.is_finished());
}

#[tokio::test(start_paused = true)]
async fn replies_made_by_each_before_its_handler_failed_are_sent() {
    let (mut client, mut server, _link, _count) = counted_pair(&Settings::default());
    client.send("first").await.unwrap();
    client.send("second").await.unwrap();
    client.flush().await.unwrap();
    let ended = server.each(|message, replies| {
        replies.send(message)?;
        Err(Error::Full)
    });
    assert!(matches!(ended.await, Err(Error::Full)));
    assert_eq!(client.recv().await.unwrap(), Some("first".into()));
    // The second message was prefetched, and is answered from there.
    assert_eq!(server.recv().await.unwrap(), Some("second".into()));
}

/// A protocol violation or a Close waits for the answers to the messages before it.
#[tokio::test]
async fn messages_are_answered_before_an_error_later_in_the_same_read_ends_the_connection() {
    use offhook_testkit::frames::{close, opcode, rest, text};

    for (last, code) in [
        (close(1000, ""), 1000_u16),
        (text("reserved bit").rsv(1), 1002),
        (opcode(0x3, "reserved opcode"), 1002),
        (rest("nothing to continue"), 1002),
    ] {
        let said = [text("one"), text("two"), last];
        let bytes: Vec<u8> = said.iter().flat_map(|frame| frame.encode(true)).collect();
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let transport = offhook::Transport::boxed(ours);
        let mut socket =
            WebSocket::server(transport, Default::default(), &bytes, &Settings::default());
        for expected in ["one", "two"] {
            let message = socket.recv().await.unwrap().expect("a message");
            assert_eq!(message.as_text(), Some(expected));
            socket.send(message).await.unwrap();
        }
        assert!(
            !matches!(socket.recv().await, Ok(Some(_))),
            "the connection has ended"
        );
        drop(socket);
        let mut answers = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut theirs, &mut answers)
            .await
            .unwrap();
        let answers = offhook_testkit::Frame::decode_all(&answers);
        let answers: Vec<&[u8]> = answers.iter().map(|(frame, _)| frame.payload()).collect();
        assert_eq!(answers[..2], [b"one", b"two"]);
        assert_eq!(answers[2][..2], code.to_be_bytes());
    }
}

/// Each write would otherwise cost a call of the flush task and a read that finds nothing.
#[tokio::test]
async fn a_broadcast_does_not_read_from_connections_whose_receivers_wait() {
    let (mut client, mut server, _link, count) = counted_pair(&Settings::default());
    let sender = server.sender();
    let receiving = tokio::spawn(poll_fn(move |cx| Pin::new(&mut server).poll_next(cx)));
    tokio::task::yield_now().await;
    let polls = count.polls();
    let message = Prepared::new("to all");
    for _ in 0..10 {
        sender
            .write_prepared(std::slice::from_ref(&message))
            .unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(count.polls(), polls);
    for _ in 0..10 {
        assert_eq!(client.recv().await.unwrap(), Some("to all".into()));
    }
    client.send("heard").await.unwrap();
    client.flush().await.unwrap();
    let received = receiving.await.unwrap().unwrap();
    assert_eq!(received.unwrap(), "heard".into());
}
