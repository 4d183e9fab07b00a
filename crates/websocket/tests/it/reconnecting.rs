//! Connections that reconnect, and cases in which they do not.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use offhook::protocol::CloseCode;
use offhook::{Backoff, Connect, Error, Link, Pair, Reconnecting, Settings, Update, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::cancelled::cancelled_after;

type Servers = mpsc::Receiver<(WebSocket, Link)>;

/// Reconnects over pairs; the servers' ends come from the channel.
fn over_pairs(pair: Pair) -> (Reconnecting, Servers) {
    let (servers, accept) = mpsc::channel(100);
    let feed = Reconnecting::to(move |_| {
        let (client, server, link) = pair.clone().open();
        servers.try_send((server, link)).unwrap();
        async { Ok(client) }
    });
    (feed, accept)
}

/// A server that answers every request with this response.
fn answering(response: &'static str) -> Reconnecting {
    Reconnecting::to(move |_| async move {
        let (near, mut far, _link) = Pair::new().link();
        tokio::spawn(async move {
            let mut request = [0; 1024];
            let _head = far.read(&mut request).await?;
            far.write_all(response.as_bytes()).await
        });
        Connect::to("ws://example.com/").over(near).open().await
    })
}

async fn open(feed: &mut Reconnecting) -> offhook::Sender {
    loop {
        match feed.next().await.unwrap() {
            Update::Open(sender) => return sender,
            Update::GivenUp { cause, .. } => panic!("{cause}"),
            _ => {}
        }
    }
}

/// The next delay.
async fn wait(feed: &mut Reconnecting) -> Duration {
    loop {
        match feed.next().await.unwrap() {
            Update::Waiting { delay } => return delay,
            Update::GivenUp { cause, .. } => panic!("{cause}"),
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn recv_continues_over_lost_connections() {
    let (mut feed, mut servers) = over_pairs(Pair::new());
    tokio::spawn(async move {
        for n in 0..10 {
            let (server, link) = servers.recv().await.unwrap();
            server.send(n.to_string()).await.unwrap();
            server.flush().await.unwrap();
            link.cut();
        }
        servers.recv().await
    });
    for n in 0..10 {
        assert_eq!(feed.recv().await.unwrap(), Some(n.to_string().into()));
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_reported_in_order() {
    let (mut feed, mut servers) = over_pairs(Pair::new());
    let mut told = Vec::new();
    for _ in 0..7 {
        let update = feed.next().await.unwrap();
        if matches!(update, Update::Open(_)) {
            let (server, link) = servers.recv().await.unwrap();
            server.send("hello").await.unwrap();
            server.flush().await.unwrap();
            link.cut();
        }
        told.push(match update {
            Update::Message(message) => message.to_string(),
            Update::Lost { cause, unsent } => format!("lost: {cause}, {unsent} unsent"),
            Update::Waiting { .. } => "waiting".to_owned(),
            Update::Connecting { attempt } => format!("connecting {attempt}"),
            Update::Open(_) => "open".to_owned(),
            other => panic!("{other:?}"),
        });
    }
    let expected = [
        "connecting 1",
        "open",
        "hello",
        "lost: the connection was lost, 0 unsent",
        "waiting",
        "connecting 2",
        "open",
    ];
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn pauses_are_random_below_a_bound_that_doubles_up_to_the_maximum() {
    let refused = |_| async {
        let source = io::ErrorKind::ConnectionRefused.into();
        let to = "example.com".into();
        Err(Error::Connect { to, source })
    };
    let mut feed = Reconnecting::to(refused);
    for bound in [2, 4, 8, 16] {
        let delay = wait(&mut feed).await;
        assert!(
            delay <= Duration::from_secs(bound),
            "{delay:?} of {bound} s"
        );
    }
    let cap = Duration::from_secs(30);
    let mut delays = Vec::new();
    for _ in 0..300 {
        let before = Instant::now();
        let delay = wait(&mut feed).await;
        delays.push(delay);
        assert!(delay <= cap);
        // The delay was awaited: the clock is paused, so nothing else takes time.
        assert!(before.elapsed() <= cap);
    }
    // Fails by chance once in 10^37 runs.
    assert!(delays.iter().any(|delay| *delay < cap / 4));
    assert!(delays.iter().any(|delay| *delay > cap * 3 / 4));
}

#[tokio::test(start_paused = true)]
async fn only_a_stable_connection_resets_the_bound_of_the_pauses() {
    let (mut feed, mut servers) = over_pairs(Pair::new());
    for attempt in 1..=10 {
        let next = feed.next().await;
        assert!(matches!(next, Some(Update::Connecting { attempt: n }) if n == attempt));
        open(&mut feed).await;
        let (_server, link) = servers.recv().await.unwrap();
        link.cut();
        wait(&mut feed).await;
    }
    open(&mut feed).await;
    let (server, link) = servers.recv().await.unwrap();
    let sender = server.sender();
    tokio::spawn(async move {
        let mut server = server;
        server.recv().await
    });
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(31)).await;
        sender.send("still here").await.unwrap();
        sender.flush().await.unwrap();
        link.cut();
    });
    assert_eq!(feed.recv().await.unwrap(), Some("still here".into()));
    let delay = wait(&mut feed).await;
    assert!(delay <= Duration::from_secs(1), "{delay:?}");
    let next = feed.next().await;
    assert!(matches!(next, Some(Update::Connecting { attempt: 1 })));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_respected() {
    let mut feed = answering("HTTP/1.1 503 Busy\r\nRetry-After: 100\r\nContent-Length: 0\r\n\r\n");
    let delay = wait(&mut feed).await.as_secs();
    assert!((100..=102).contains(&delay), "{delay} s");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_a_year_is_limited_to_an_hour() {
    let mut feed =
        answering("HTTP/1.1 503 Busy\r\nRetry-After: 31536000\r\nContent-Length: 0\r\n\r\n");
    let delay = wait(&mut feed).await.as_secs();
    assert!((3_600..=3_602).contains(&delay), "{delay} s");
}

#[tokio::test(start_paused = true)]
async fn a_permanent_refusal_is_not_retried() {
    for response in [
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut feed = answering(response);
        assert!(
            matches!(feed.recv().await, Err(Error::Refused(_))),
            "{response}"
        );
        assert!(matches!(feed.recv().await, Ok(None)));
        assert!(matches!(feed.send("late").await, Err(Error::Closing)));
    }
}

#[tokio::test(start_paused = true)]
async fn close_codes_decide_whether_to_reconnect() {
    for (code, comes_back) in [
        (1001, true),
        (1011, true),
        (1012, true),
        (1013, true),
        (1003, false),
        (1008, false),
        (3000, false),
        (4001, false),
    ] {
        let (mut feed, mut servers) = over_pairs(Pair::new());
        open(&mut feed).await;
        let (server, _link) = servers.recv().await.unwrap();
        server
            .sender()
            .close(CloseCode::new(code), "because")
            .unwrap();
        drop(server);
        match feed.next().await.unwrap() {
            Update::Lost { cause, .. } => assert!(comes_back, "{cause}"),
            Update::GivenUp { cause, .. } => {
                assert!(!comes_back, "{cause}");
                assert_eq!(cause.close_code(), Some(CloseCode::new(code)));
                assert!(feed.next().await.is_none());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_normal_close_by_the_server_is_the_end_and_not_an_error() {
    let (mut feed, mut servers) = over_pairs(Pair::new());
    open(&mut feed).await;
    let (server, _link) = servers.recv().await.unwrap();
    server.sender().close(CloseCode::NORMAL, "").unwrap();
    drop(server);
    assert!(matches!(feed.recv().await, Ok(None)));
}

#[tokio::test(start_paused = true)]
async fn the_user_can_decide_what_is_retried() {
    let (feed, mut servers) = over_pairs(Pair::new());
    let mut feed = feed.retry_if(|error| error.close_code() == Some(CloseCode::new(4001)));
    open(&mut feed).await;
    let (server, _link) = servers.recv().await.unwrap();
    server.sender().close(CloseCode::new(4001), "").unwrap();
    drop(server);
    assert!(matches!(feed.next().await, Some(Update::Lost { .. })));
    open(&mut feed).await;
    let (_server, link) = servers.recv().await.unwrap();
    link.cut();
    assert!(matches!(feed.next().await, Some(Update::GivenUp { .. })));
}

#[tokio::test(start_paused = true)]
async fn after_the_maximum_number_of_attempts_it_gives_up() {
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&attempts);
    let mut backoff = Backoff::default();
    backoff.attempts = Some(3);
    let feed = Reconnecting::to(move |attempt| {
        seen.lock().unwrap().push(attempt);
        async { Err(Error::Lost(io::ErrorKind::ConnectionReset.into())) }
    });
    let mut feed = feed.backoff(backoff);
    assert!(matches!(feed.recv().await, Err(Error::Lost(_))));
    assert_eq!(*attempts.lock().unwrap(), [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn messages_sent_while_disconnected_follow_the_first_messages_of_a_connection_in_order() {
    let (mut feed, mut servers) = over_pairs(Pair::new());
    for n in 0..3 {
        feed.send(n.to_string()).await.unwrap();
    }
    assert_eq!(feed.sender().queued(), 3);
    let first = open(&mut feed).await;
    feed.send("3").await.unwrap();
    first.send("who I am").await.unwrap();
    let (mut server, _link) = servers.recv().await.unwrap();
    server.send("welcome").await.unwrap();
    assert_eq!(feed.recv().await.unwrap(), Some("welcome".into()));
    feed.send("4").await.unwrap();
    assert_eq!(feed.sender().queued(), 0);
    for expected in ["who I am", "0", "1", "2", "3", "4"] {
        assert_eq!(server.recv().await.unwrap(), Some(expected.into()));
    }
}

#[tokio::test]
async fn the_queue_is_limited_while_disconnected() {
    let (feed, _servers) = over_pairs(Pair::new());
    let feed = feed.queue(1_000);
    let sender = feed.sender();
    let mut kept = 0;
    while sender.send("x".repeat(100)).await.is_ok() {
        kept += 1;
    }
    assert!((5..10).contains(&kept), "{kept}");
    assert!(matches!(
        sender.send("x".repeat(100)).await,
        Err(Error::Full)
    ));
    assert_eq!(sender.take_queued().len(), kept);
    sender.send("again").await.unwrap();
    drop(feed);
    assert!(matches!(sender.send("late").await, Err(Error::Closing)));
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_connection_was_lost_is_sent_on_the_next_one() {
    let settings = Settings::default().send_buffer(100);
    let (mut feed, mut servers) = over_pairs(Pair::new().client(&settings).capacity(100));
    let connection = open(&mut feed).await;
    let (server, link) = servers.recv().await.unwrap();
    server.send("go").await.unwrap();
    feed.recv().await.unwrap();
    // The server does not receive, but reads a little ahead, which makes room for a while.
    for _ in 0..1_000 {
        while connection.try_send(vec![0; 50]).is_ok() {}
        tokio::task::yield_now().await;
    }
    // It waits for room that will never exist.
    let sender = feed.sender();
    let waiting = tokio::spawn(async move { sender.send("saved").await });
    tokio::task::yield_now().await;
    link.cut();
    match feed.next().await.unwrap() {
        Update::Lost { unsent, .. } => assert!((100..200).contains(&unsent), "{unsent} unsent"),
        other => panic!("{other:?}"),
    }
    waiting.await.unwrap().unwrap();
    open(&mut feed).await;
    let (mut server, _link) = servers.recv().await.unwrap();
    let serving = tokio::spawn(async move { server.recv().await });
    let closed = feed.close(CloseCode::NORMAL, "").await;
    assert_eq!(serving.await.unwrap().unwrap(), Some("saved".into()));
    drop(closed);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_next_neither_loses_nor_repeats_an_event() {
    for polls in 1..8 {
        let link = Pair::new()
            .bandwidth(1_000)
            .delay(Duration::from_millis(10));
        let (mut feed, mut servers) = over_pairs(link);
        tokio::spawn(async move {
            for round in 0..5 {
                let (mut server, link) = servers.recv().await.unwrap();
                for n in 0..5 {
                    server.send(format!("{round} {n}")).await.unwrap();
                }
                assert_eq!(server.recv().await.unwrap(), Some("got it".into()));
                link.cut();
            }
            servers.recv().await
        });
        let mut received = Vec::new();
        while received.len() < 25 {
            if let Some(message) = cancelled_after(polls, feed.recv()).await {
                received.push(message.unwrap().unwrap().to_string());
                if received.len().is_multiple_of(5) {
                    feed.send("got it").await.unwrap();
                }
            }
        }
        let rounds = (0..5).flat_map(|round| (0..5).map(move |n| format!("{round} {n}")));
        let expected: Vec<String> = rounds.collect();
        assert_eq!(received, expected, "{polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn close_sends_queued_messages_and_is_final() {
    let (mut feed, mut servers) = over_pairs(Pair::new());
    feed.send("kept").await.unwrap();
    open(&mut feed).await;
    let (mut server, _link) = servers.recv().await.unwrap();
    let serving = tokio::spawn(async move {
        assert_eq!(server.recv().await.unwrap(), Some("kept".into()));
        assert_eq!(server.recv().await.unwrap(), None);
        server.closed().unwrap().code
    });
    let closed = feed.close(CloseCode::GOING_AWAY, "").await.unwrap();
    assert!(closed.unwrap().clean);
    assert_eq!(serving.await.unwrap(), CloseCode::GOING_AWAY);
    assert!(matches!(feed.recv().await, Ok(None)));
    assert!(matches!(feed.send("late").await, Err(Error::Closing)));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_close_is_final() {
    let (mut feed, mut servers) = over_pairs(Pair::new());
    open(&mut feed).await;
    let (server, link) = servers.recv().await.unwrap();
    let closing = feed.close(CloseCode::GOING_AWAY, "");
    assert!(
        tokio::time::timeout(Duration::from_secs(1), closing)
            .await
            .is_err()
    );
    link.cut();
    assert!(matches!(feed.next().await, Some(Update::GivenUp { .. })));
    assert!(feed.next().await.is_none());
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn closing_while_disconnected_returns_immediately() {
    let (mut feed, mut servers) = over_pairs(Pair::new());
    open(&mut feed).await;
    let (_server, link) = servers.recv().await.unwrap();
    link.cut();
    wait(&mut feed).await;
    assert_eq!(feed.close(CloseCode::NORMAL, "").await.unwrap(), None);
    assert!(matches!(feed.recv().await, Ok(None)));
}

#[tokio::test]
async fn a_restarted_server_is_reconnected_to() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let acceptor = offhook::Acceptor::default();
        for n in 0..3 {
            let (stream, _) = listener.accept().await.unwrap();
            let socket = acceptor.accept(stream).await.unwrap();
            socket.send(n.to_string()).await.unwrap();
            // Dropping it sends 1001.
        }
    });
    let mut backoff = Backoff::default();
    backoff.first = Duration::from_millis(1);
    let connect = Connect::to(format!("ws://{address}/")).no_proxy();
    let mut feed = Reconnecting::to(connect).backoff(backoff);
    for n in 0..3 {
        assert_eq!(feed.recv().await.unwrap(), Some(n.to_string().into()));
    }
}
