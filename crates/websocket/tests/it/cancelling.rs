//! Every future of the library, dropped at every point where it waits.

use std::time::Duration;

use offhook::protocol::{CloseCode, Kind};
use offhook::{Error, Link, Message, Pair, Settings, WebSocket};

use crate::cancelled::cancelled_after;

/// The most polls that any of these futures needs to complete.
const POLLS: usize = 12;

/// A slow link, so that everything takes several polls.
fn slow() -> (WebSocket, WebSocket, Link) {
    let settings = Settings::default().send_buffer(60);
    Pair::new()
        .settings(&settings)
        .capacity(40)
        .bandwidth(1_000)
        .delay(Duration::from_millis(10))
        .open()
}

/// Receives all messages until the close.
fn collect(mut socket: WebSocket) -> tokio::task::JoinHandle<Vec<Message>> {
    tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(message) = socket.recv().await.unwrap() {
            all.push(message);
        }
        all
    })
}

/// Sends 20 messages, half of them longer than one read, then closes.
fn talk(socket: WebSocket) -> Vec<Message> {
    let messages: Vec<Message> = (0..20)
        .map(|n: usize| format!("{n}:").repeat(1 + 9 * (n % 2)).into())
        .collect();
    let all = messages.clone();
    tokio::spawn(async move {
        let mut socket = socket;
        for message in all {
            socket.send(message).await.unwrap();
        }
        socket.sender().close(CloseCode::NORMAL, "").unwrap();
        socket.recv().await
    });
    messages
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_send_has_sent_the_whole_message_or_nothing() {
    let mut interrupted = 0;
    for polls in 1..POLLS {
        let (mut client, server, _link) = slow();
        let received = collect(server);
        let mut sent = Vec::new();
        for n in 0..20 {
            let message = Message::from(format!("{n:030}"));
            match cancelled_after(polls, client.send(&message)).await {
                Some(result) => {
                    result.unwrap();
                    sent.push(message);
                }
                None => interrupted += 1,
            }
        }
        client.close(CloseCode::NORMAL, "").await.unwrap();
        assert_eq!(received.await.unwrap(), sent, "{polls} polls");
    }
    assert!(interrupted > 5, "{interrupted}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_recv_neither_loses_nor_repeats_a_message() {
    for polls in 1..POLLS {
        let (client, mut server, _link) = slow();
        let sent = talk(client);
        let mut received = Vec::new();
        loop {
            match cancelled_after(polls, server.recv()).await {
                Some(Ok(Some(message))) => received.push(message),
                Some(ended) => break assert_eq!(ended.unwrap(), None),
                None => {}
            }
        }
        assert_eq!(received, sent, "{polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_recv_stream_or_next_neither_loses_nor_repeats_a_message() {
    for polls in 1..POLLS {
        let (client, mut server, _link) = slow();
        let sent = talk(client);
        let mut received = Vec::new();
        loop {
            let mut message = match cancelled_after(polls, server.recv_stream()).await {
                None => continue,
                Some(begun) => match begun.unwrap() {
                    Some(message) => message,
                    None => break,
                },
            };
            let mut text = String::new();
            loop {
                match cancelled_after(polls, message.next()).await {
                    None => {}
                    Some(piece) => match piece.unwrap() {
                        Some(piece) => text.push_str(piece.as_text().unwrap()),
                        None => break,
                    },
                }
            }
            received.push(Message::from(text));
        }
        assert_eq!(received, sent, "{polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_write_has_sent_its_whole_piece_or_nothing() {
    let mut interrupted = 0;
    for polls in 1..POLLS {
        let (mut client, server, _link) = slow();
        let received = collect(server);
        let mut writer = client.send_stream(Kind::Text).await.unwrap();
        let mut sent = String::new();
        for n in 0..20 {
            let piece = format!("{n:030}");
            match cancelled_after(polls, writer.write(piece.as_str())).await {
                Some(result) => {
                    result.unwrap();
                    sent.push_str(&piece);
                }
                None => interrupted += 1,
            }
        }
        writer.finish("").await.unwrap();
        client.close(CloseCode::NORMAL, "").await.unwrap();
        let expected = [Message::from(sent)];
        assert_eq!(received.await.unwrap(), expected, "{polls} polls");
    }
    assert!(interrupted > 5, "{interrupted}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_finish_has_finished_or_closes_with_1011() {
    let mut interrupted = 0;
    for polls in 1..POLLS {
        let (mut client, mut server, _link) = slow();
        let receiving = tokio::spawn(async move {
            let mut all = Vec::new();
            while let Some(message) = server.recv().await.unwrap() {
                all.push(message);
            }
            (all, server.closed().unwrap().code)
        });
        let mut writer = client.send_stream(Kind::Text).await.unwrap();
        while client.buffered_amount() < 60 {
            writer.write("0123456789").await.unwrap();
        }
        let finished = cancelled_after(polls, writer.finish("end")).await;
        // The first close stands.
        client.close(CloseCode::NORMAL, "").await.unwrap();
        let (received, code) = receiving.await.unwrap();
        if finished.is_some() {
            assert_eq!((received.len(), code), (1, CloseCode::NORMAL));
        } else {
            interrupted += 1;
            assert_eq!((received.len(), code), (0, CloseCode::INTERNAL_ERROR));
        }
    }
    assert!(interrupted > 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_send_stream_does_not_block_other_senders() {
    for polls in 1..POLLS {
        let (mut client, server, _link) = slow();
        let received = collect(server);
        let mut first = client.send_stream(Kind::Text).await.unwrap();
        let sender = client.sender();
        let second = tokio::spawn(async move {
            let begun = cancelled_after(polls, sender.send_stream(Kind::Text)).await;
            drop(begun);
        });
        for _ in 0..10 {
            first.write("0123456789").await.unwrap();
        }
        first.finish("").await.unwrap();
        second.await.unwrap();
        client.send("next").await.unwrap();
        client.close(CloseCode::NORMAL, "").await.unwrap();
        assert_eq!(received.await.unwrap().len(), 2, "{polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_ping_loses_no_message() {
    for polls in 1..POLLS {
        let (client, mut server, _link) = slow();
        let sent = talk(client);
        let mut received = Vec::new();
        loop {
            if let Some(Err(error)) = cancelled_after(polls, server.ping()).await {
                assert!(
                    matches!(error, Error::Closed(_) | Error::Closing),
                    "{error:?}"
                );
            }
            match server.recv().await.unwrap() {
                Some(message) => received.push(message),
                None => break,
            }
        }
        assert_eq!(received, sent, "{polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_close_continues_and_can_be_awaited_again() {
    for polls in 1..POLLS {
        let (mut client, server, _link) = slow();
        let received = collect(server);
        client.send("before").await.unwrap();
        let _cancelled = cancelled_after(polls, client.close(CloseCode::new(4000), "")).await;
        let closed = client.close(CloseCode::NORMAL, "").await.unwrap();
        assert!(closed.clean, "{polls} polls");
        assert_eq!(closed.code.get(), 4000, "the first close stands");
        assert_eq!(received.await.unwrap(), [Message::from("before")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_flush_loses_nothing() {
    for polls in 1..POLLS {
        let (mut client, server, _link) = slow();
        let received = collect(server);
        for n in 0..10 {
            client.send(format!("{n:030}")).await.unwrap();
            let _cancelled = cancelled_after(polls, client.flush()).await;
        }
        client.close(CloseCode::NORMAL, "").await.unwrap();
        assert_eq!(received.await.unwrap().len(), 10, "{polls} polls");
    }
}
