//! Flow control: an unread stream buffers little, and does not block others.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use offhook::protocol::{Config, Limits};
use offhook::{Acceptor, Error, HttpVersion, Settings, Transport, WebSocket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;

use crate::http2_peer::{Echo, assert_echoes, echo};
use crate::scripted::to;

const LARGE: usize = 16 << 20;

fn settings() -> Settings {
    let limits = Limits {
        message_size: LARGE as u64,
        ..Limits::default()
    };
    Settings::default().config(Config {
        limits,
        ..Config::default()
    })
}

/// Data in which no two places are alike.
fn large() -> Vec<u8> {
    (0..LARGE / 4)
        .flat_map(|number| u32::try_from(number).unwrap().to_be_bytes())
        .collect()
}

#[tokio::test]
async fn a_message_of_16_mib_is_echoed_completely() {
    let server = Echo::with(Acceptor::default().settings(settings())).await;
    let connect = server.connect().settings(&settings());
    let mut socket = connect.open().await.unwrap();
    let sent = large();
    let sender = socket.sender();
    let message = sent.clone();
    let sending = tokio::spawn(async move { sender.send(&message[..]).await });
    let received = socket.recv().await.unwrap().unwrap();
    assert!(received.as_bytes() == sent, "it came back changed");
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn large_messages_are_echoed_with_compression_and_in_many_streams_at_once() {
    let settings = settings().deflate(offhook::protocol::deflate::DeflateConfig::default());
    let server = Echo::with(Acceptor::default().settings(settings.clone())).await;
    let connection = server.connect().settings(&settings).http2().await.unwrap();
    let mut running = Vec::new();
    for number in 0..8_u8 {
        let mut socket = connection.open("/").await.unwrap();
        assert!(socket.deflate().is_some());
        running.push(tokio::spawn(async move {
            let sent = vec![number; 1 << 20];
            for _ in 0..4 {
                socket.send(&sent[..]).await.unwrap();
                let received = socket.recv().await.unwrap().unwrap();
                assert!(received.as_bytes() == sent, "it came back changed");
            }
        }));
    }
    for one in running {
        one.await.unwrap();
    }
}

/// A stream that counts written bytes.
struct Counted<S> {
    stream: S,
    written: Arc<AtomicUsize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.written.fetch_add(written, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Two WebSockets of one connection, both ends of each, and the number of bytes the client has
/// written.
struct Pairs {
    client: [WebSocket; 2],
    server: [WebSocket; 2],
    from_client: Arc<AtomicUsize>,
    from_server: Arc<AtomicUsize>,
}

async fn pairs() -> Pairs {
    let (near, far) = tokio::io::duplex(256 * 1024);
    let [from_client, from_server] = [(); 2].map(|()| Arc::default());
    let near = Counted {
        stream: near,
        written: Arc::clone(&from_client),
    };
    let far = Counted {
        stream: far,
        written: Arc::clone(&from_server),
    };
    let (told, mut accepted) = mpsc::channel(2);
    tokio::spawn(async move {
        let acceptor = Acceptor::default().settings(settings());
        let mut requests = acceptor.requests(Transport::boxed(far)).await.unwrap();
        while let Some(request) = requests.next().await {
            let socket = request.unwrap().accept().await.unwrap();
            told.send(socket).await.unwrap();
        }
    });
    let connect = to("ws://a.example/").settings(&settings());
    let connect = connect.version(HttpVersion::Http2);
    let connection = connect.over(near).http2().await.unwrap();
    let client = [
        connection.open("/1").await.unwrap(),
        connection.open("/2").await.unwrap(),
    ];
    Pairs {
        client,
        server: [
            accepted.recv().await.unwrap(),
            accepted.recv().await.unwrap(),
        ],
        from_client,
        from_server,
    }
}

/// One window of a stream, plus the other stream, frames and acknowledgements.
const LITTLE: usize = 65_535 + 16 * 1024;

#[tokio::test]
async fn a_server_that_does_not_read_holds_one_window_and_delays_no_other_stream() {
    let Pairs {
        client: [slow, mut quick],
        server: [mut unread, answering],
        from_client,
        ..
    } = pairs().await;
    tokio::spawn(echo(answering));
    let sent = large();
    let message = sent.clone();
    let sending = tokio::spawn(async move { slow.send(&message[..]).await.map(|()| slow) });
    for _ in 0..100 {
        assert_echoes(&mut quick, "not held up").await;
    }
    let written = from_client.load(Ordering::Relaxed);
    assert!(
        written < LITTLE,
        "{written} bytes were written although the peer does not read"
    );
    let received = unread.recv().await.unwrap().unwrap();
    assert!(received.as_bytes() == sent, "it came changed");
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_one_window_and_delays_no_other_stream() {
    let Pairs {
        client: [mut unread, mut quick],
        server: [slow, answering],
        from_server,
        ..
    } = pairs().await;
    tokio::spawn(echo(answering));
    let sent = large();
    let message = sent.clone();
    let sending = tokio::spawn(async move { slow.send(&message[..]).await.map(|()| slow) });
    for _ in 0..100 {
        assert_echoes(&mut quick, "not held up").await;
    }
    let written = from_server.load(Ordering::Relaxed);
    assert!(
        written < LITTLE,
        "{written} bytes were written although the peer does not read"
    );
    let received = unread.recv().await.unwrap().unwrap();
    assert!(received.as_bytes() == sent, "it came changed");
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reader_far_behind_by_small_messages_ends_no_connection() {
    let Pairs {
        client: [slow, mut quick],
        server: [mut unread, answering],
        ..
    } = pairs().await;
    tokio::spawn(echo(answering));
    let sending = tokio::spawn(async move {
        for _ in 0..20_000 {
            slow.send("x").await?;
            // Each is a DATA frame of its own.
            tokio::task::yield_now().await;
        }
        Ok::<_, Error>(slow)
    });
    for _ in 0..100 {
        assert_echoes(&mut quick, "not held up").await;
    }
    for _ in 0..20_000 {
        assert_eq!(unread.recv().await.unwrap().unwrap().as_text(), Some("x"));
    }
    sending.await.unwrap().unwrap();
}
