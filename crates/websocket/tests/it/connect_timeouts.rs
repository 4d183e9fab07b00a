//! Every wait has a deadline and names what it waited for; an abandoned wait leaves nothing behind.

use std::time::Duration;

use offhook::{Error, Phase};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::cancelled::cancelled_after;
use crate::scripted::{Reply, Server, converse, read_head, to};

/// Long enough for a busy machine to reach the wait under test.
const SHORT: Duration = Duration::from_millis(300);

fn timed_out(error: &Error) -> (Phase, &str) {
    assert!(error.is_retryable());
    match error {
        Error::Timeout { phase, to } => (*phase, to),
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_handshake_without_an_answer_times_out() {
    let server = Server::with([Reply::say("HTTP/1.1 101 Switch")]).await;
    let connect = server.connect().handshake_timeout(SHORT);
    let error = connect.open().await.unwrap_err();
    let to = server.address.to_string();
    assert_eq!(timed_out(&error), (Phase::Handshake, to.as_str()));
    let expected = format!("the opening handshake with {to} took too long");
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn interim_answers_do_not_prolong_the_handshake() {
    let hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let server = Server::with([Reply::say(hint.repeat(3))]).await;
    let error = server.connect().handshake_timeout(SHORT).open().await;
    assert_eq!(timed_out(&error.unwrap_err()).0, Phase::Handshake);
}

#[tokio::test(start_paused = true)]
async fn an_endless_refusal_is_returned_after_two_seconds_as_far_as_received() {
    let server = Server::with([Reply::say("HTTP/1.1 403 No\r\n\r\nnot yo")]).await;
    let before = tokio::time::Instant::now();
    let Error::Refused(refused) = server.connect().open().await.unwrap_err() else {
        panic!("refused with 403");
    };
    assert_eq!((refused.status(), refused.body()), (403, &b"not yo"[..]));
    assert_eq!(before.elapsed().as_secs(), 2);
}

#[tokio::test]
async fn a_proxy_that_never_answers_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for scheme in ["http", "socks5h"] {
        let proxy = format!("{scheme}://{}", silent.local_addr().unwrap());
        let connect = to("ws://example.com/").proxy(&proxy).connect_timeout(SHORT);
        let error = connect.open().await.unwrap_err();
        assert_eq!(timed_out(&error), (Phase::Proxy, proxy.as_str()));
    }
}

#[cfg(any(feature = "aws-lc", feature = "ring"))]
#[tokio::test]
async fn a_tls_handshake_without_an_answer_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls = offhook::Tls::builder()
        .pinned_sha256([0; 32])
        .build()
        .unwrap();
    let connect = to(format!("wss://{}/", silent.local_addr().unwrap())).tls(tls);
    let error = connect.connect_timeout(SHORT).open().await.unwrap_err();
    assert_eq!(timed_out(&error), (Phase::Tls, "127.0.0.1"));
}

#[tokio::test(start_paused = true)]
async fn by_default_both_timeouts_are_ten_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let before = tokio::time::Instant::now();
    let error = to(format!("ws://{address}/")).open().await.unwrap_err();
    assert_eq!(timed_out(&error).0, Phase::Handshake);
    assert_eq!(before.elapsed().as_secs(), 10);

    let before = tokio::time::Instant::now();
    let connect = to("ws://example.com/").proxy(format!("http://{address}"));
    let error = connect.open().await.unwrap_err();
    assert_eq!(timed_out(&error).0, Phase::Proxy);
    assert_eq!(before.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn the_longest_timeout_does_not_overflow() {
    let server = Server::with([Reply::open()]).await;
    let connect = server.connect().connect_timeout(Duration::MAX);
    connect
        .handshake_timeout(Duration::MAX)
        .open()
        .await
        .unwrap();
}

#[tokio::test]
async fn cancelling_connect_closes_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let opening = tokio::spawn(async move { to(url).open().await.map(drop) });
    let (mut stream, _) = listener.accept().await.unwrap();
    assert!(read_head(&mut stream).await.is_some());
    opening.abort();
    // The end of the stream, and not a moment before.
    let rest = stream.read_to_end(&mut Vec::new()).await;
    assert_eq!(rest.unwrap(), 0);
    assert!(opening.await.unwrap_err().is_cancelled());
}

/// Whichever of its waits it is given up in: the connection, the request, the answer.
#[tokio::test]
async fn cancelling_open_at_any_point_leaves_no_connection_and_no_task() {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let mut interrupted = 0;
    for polls in 1.. {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let (told, _heads) = mpsc::channel(1);
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            // Returns at the end of the stream, and not before.
            converse(stream, Reply::open(), &told).await;
        });
        let opened = cancelled_after(polls, to(url).open()).await;
        let done = opened.is_some();
        drop(opened);
        serving.await.unwrap();
        while tasks() > before {
            tokio::task::yield_now().await;
        }
        if done {
            break;
        }
        interrupted += 1;
    }
    assert!(interrupted >= 2, "{interrupted}");
}
