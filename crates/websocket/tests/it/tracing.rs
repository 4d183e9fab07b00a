//! The events of the feature `tracing`, their levels, and what is never logged.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock};

use offhook::protocol::CloseCode;
use offhook::{Connect, Error, HandlerResult, Pair, Reconnecting, Refusal, Server, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::DefaultGuard;

use crate::scripted::{self, Reply};

/// A subscriber that nobody uses, and that wants everything. While a new subscriber is registered, an
/// event that another thread creates for the first time may be recorded as unwanted for all of them,
/// and then a test misses it. With this one, each event is wanted from the first test on.
static WANTS_EVERYTHING: OnceLock<Dispatch> = OnceLock::new();

/// The lines of a log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Of everything that this thread does from now on.
    fn begin(level: LevelFilter) -> (Self, DefaultGuard) {
        WANTS_EVERYTHING.get_or_init(|| {
            let everything = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE);
            Dispatch::new(everything.finish())
        });
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines about connections, without those of other crates.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let ours = text.lines().filter(|line| line.contains(" offhook: "));
        ours.map(|line| line.trim_start().to_owned()).collect()
    }

    /// The only line with all of these words.
    #[track_caller]
    fn line(&self, words: &[&str]) -> String {
        let lines = self.lines();
        let mut found = lines
            .iter()
            .filter(|line| words.iter().all(|word| line.contains(word)));
        let line = found
            .next()
            .unwrap_or_else(|| panic!("{words:?}: {lines:#?}"));
        assert!(found.next().is_none(), "{words:?} twice: {lines:#?}");
        line.clone()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn echo(mut socket: WebSocket) -> HandlerResult {
    while let Some(message) = socket.recv().await? {
        if message.as_text() == Some("fail") {
            return Err("the database is gone".into());
        }
        tracing::info!("a message of the application's");
        socket.send(message).await?;
    }
    Ok(())
}

/// Serves until it is shut down, and returns its address and a way to shut it down.
async fn serve() -> (std::net::SocketAddr, offhook::Connections) {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (server.local_addr().unwrap(), server.connections());
    tokio::spawn(server.serve(echo));
    (address, connections)
}

async fn stop(connections: &offhook::Connections) {
    let soon = std::time::Duration::from_secs(60);
    connections.shutdown(CloseCode::GOING_AWAY, soon).await;
}

#[tokio::test]
async fn both_ends_log_open_and_close_with_code_and_culprit() {
    let (log, _guard) = Log::begin(LevelFilter::DEBUG);
    let (address, connections) = serve().await;
    let url = format!("ws://{address}/room/7?token=secret");
    let mut socket = Connect::to(url).no_proxy().open().await.unwrap();
    socket.send("hello").await.unwrap();
    socket.recv().await.unwrap();
    socket
        .close(CloseCode::new(4001), "bye\n\u{1b}[2J")
        .await
        .unwrap();
    drop(socket);
    stop(&connections).await;

    let client = log.line(&["role=\"client\"", "opened"]);
    assert!(client.starts_with("DEBUG websocket{"), "{client}");
    assert!(
        client.contains(&format!("server=\"{address}\"")),
        "{client}"
    );
    let server = log.line(&["role=\"server\"", "opened"]);
    assert!(server.contains("path=/room/7"), "{server}");
    assert!(server.contains("peer=127.0.0.1:"), "{server}");

    let ours = log.line(&["role=\"client\"", "closed"]);
    assert!(ours.contains("code=4001"), "{ours}");
    assert!(ours.contains("by=\"us\""), "{ours}");
    let theirs = log.line(&["role=\"server\"", "closed"]);
    assert!(theirs.contains("code=4001"), "{theirs}");
    assert!(theirs.contains("by=\"peer\""), "{theirs}");
    assert!(theirs.contains("messages_received=1"), "{theirs}");
    assert!(theirs.contains("reason=bye\\n\\u{1b}[2J"), "{theirs}");
    let all = log.lines().join("\n");
    assert!(!all.contains("secret"), "{all}");
}

#[tokio::test]
async fn events_of_a_handler_are_in_the_connections_span() {
    let (log, _guard) = Log::begin(LevelFilter::INFO);
    let (address, connections) = serve().await;
    let url = format!("ws://{address}/room/7");
    let mut socket = Connect::to(url).no_proxy().open().await.unwrap();
    socket.send("hello").await.unwrap();
    socket.recv().await.unwrap();
    drop(socket);
    stop(&connections).await;
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = text
        .lines()
        .find(|line| line.contains("a message of the application's"))
        .unwrap();
    assert!(line.contains("path=/room/7"), "{line}");
    // Nothing else was logged at this level.
    assert_eq!(log.lines(), [""; 0]);
}

#[tokio::test]
async fn an_error_of_a_handler_is_logged_as_an_error_and_the_end_of_its_connection_is_not() {
    let (log, _guard) = Log::begin(LevelFilter::DEBUG);
    let (address, connections) = serve().await;
    let connect = Connect::to(format!("ws://{address}/")).no_proxy();
    let mut socket = connect.open().await.unwrap();
    socket.send("fail").await.unwrap();
    socket.recv().await.unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 10]).await.unwrap();
    // A breach of the protocol: it is not masked.
    stream.write_all(b"\x81\x01a").await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.ok();
    drop(stream);
    stop(&connections).await;

    let own = log.line(&["the database is gone"]);
    assert!(own.starts_with("ERROR websocket{"), "{own}");
    let breach = log.line(&["closed", "by=\"peer broke the protocol\""]);
    assert!(breach.starts_with("DEBUG"), "{breach}");
    assert!(breach.contains("sent_code=1002"), "{breach}");
    let handler = log.line(&["handler failed", "not masked"]);
    assert!(handler.starts_with("DEBUG"), "{handler}");
}

#[tokio::test]
async fn a_protocol_violation_by_the_server_is_a_warning_at_the_client() {
    let (log, _guard) = Log::begin(LevelFilter::DEBUG);
    // A masked frame.
    let server = scripted::Server::with([Reply::open_with("", b"\x81\x80\0\0\0\0")]).await;
    let mut socket = server.connect().open().await.unwrap();
    socket.recv().await.unwrap_err();
    let line = log.line(&["closed"]);
    assert!(line.starts_with("WARN"), "{line}");
    assert!(line.contains("by=\"peer broke the protocol\""), "{line}");
}

#[tokio::test]
async fn failed_handshakes_are_logged_at_the_end_that_detects_them() {
    let (log, _guard) = Log::begin(LevelFilter::DEBUG);
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let connections = server.connections();
    tokio::spawn(server.serve_requests(|incoming| async move {
        incoming.reject(Refusal::new(401)?).await?;
        Ok(())
    }));
    let connect = Connect::to(format!("ws://{address}/secret")).no_proxy();
    connect.open().await.unwrap_err();
    let foreign = connect.clone().origin("https://elsewhere.example");
    foreign.open().await.unwrap_err();
    stop(&connections).await;

    log.line(&[
        "DEBUG",
        "role=\"server\"",
        "refused status=401",
        "path=/secret",
    ]);
    log.line(&["DEBUG", "role=\"client\"", "handshake failed", "status 401"]);
    log.line(&[
        "DEBUG",
        "handshake failed",
        "pages from https://elsewhere.example",
        "role=\"server\"",
    ]);
    log.line(&["DEBUG", "role=\"client\"", "handshake failed", "status 403"]);
}

#[tokio::test(start_paused = true)]
async fn a_reconnecting_connection_logs_loss_reopening_and_giving_up() {
    let (log, _guard) = Log::begin(LevelFilter::INFO);
    let mut first = true;
    let mut feed = Reconnecting::to(move |_| {
        let (client, server, link) = Pair::new().open();
        let opened = if std::mem::take(&mut first) {
            tokio::spawn(async move {
                let _server = server;
                link.cut();
            });
            Ok(client)
        } else {
            Err(Error::Closing)
        };
        async { opened }
    });
    feed.recv().await.unwrap_err();
    let lines = log.lines();
    assert!(lines[0].starts_with("INFO"), "{lines:#?}");
    assert!(lines[0].contains("connected attempt=1"), "{lines:#?}");
    assert!(lines[1].starts_with("INFO"), "{lines:#?}");
    assert!(lines[1].contains("connection lost"), "{lines:#?}");
    assert!(lines[2].starts_with("WARN"), "{lines:#?}");
    assert!(lines[2].contains("given up"), "{lines:#?}");
    assert_eq!(lines.len(), 3, "{lines:#?}");
}
