//! A running server, and plain HTTP with it.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    path::Path,
    sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use offhook::Connect;
use offhook_auth::ApiKey;
use offhook_engine::{Access, ChannelRules, History, Limits};
use offhook_server::{
    Config, Listening, Running, Server, Sessions, Sockets, StartError,
    config::{Change, ChannelRule, Connections, ResumeKey},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::caller::Caller;

/// Longer than anything in a test takes: an event that has not happened by then never will.
pub(crate) const NEVER: Duration = Duration::from_secs(60);

/// If a test takes longer than this, the whole run ends with its name. Otherwise a test that hangs
/// would report nothing.
const WATCHDOG: Duration = Duration::from_secs(300);

/// A server for one test.
pub(crate) struct Hall {
    running: Running,
    _watchdog: Watchdog,
}

/// Watches the test on whose thread it was created.
struct Watchdog(Option<(SyncSender<()>, JoinHandle<()>)>);

impl Watchdog {
    fn new() -> Self {
        // The test harness names threads after their tests.
        let test = thread::current().name().unwrap_or("a test").to_owned();
        let (alive, ended) = sync_channel(0);
        let watch = move || {
            if ended.recv_timeout(WATCHDOG) == Err(RecvTimeoutError::Timeout) {
                println!("{test} has not ended after {WATCHDOG:?}");
                std::process::abort();
            }
        };
        Self(Some((alive, thread::spawn(watch))))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some((alive, watching)) = self.0.take() {
            drop(alive);
            watching.join().unwrap();
        }
    }
}

/// One worker, in memory, with all kinds of rules, and without rate limits that a test could reach by
/// accident.
pub(crate) fn config() -> Config {
    let rule = |pattern: &str, rules| ChannelRule {
        pattern: pattern.to_owned(),
        rules,
        ..ChannelRule::default()
    };
    let history = History {
        count: 1_000_000,
        bytes: 1 << 30,
        age: None,
    };
    let fleeting = ChannelRules {
        history: History::NONE,
        presence: false,
        ..ChannelRules::default()
    };
    let silent = ChannelRules {
        publish: Access::Nobody,
        subscribe: Access::Users,
        ..ChannelRules::default()
    };
    let kept = ChannelRules {
        history,
        ..ChannelRules::default()
    };
    Config {
        listen: vec![([127, 0, 0, 1], 0).into()],
        in_memory: true,
        workers: NonZeroUsize::MIN,
        limits: Limits {
            commands_per_second: 1_000_000,
            command_burst: 1_000_000,
            publishes_per_second: 1_000_000,
            publish_burst: 1_000_000,
            ..Limits::default()
        },
        channels: vec![
            rule("fleeting/*", fleeting),
            rule("silent/*", silent),
            rule("chat*", kept),
        ],
        ..Config::default()
    }
}

/// The same on a log in this directory.
pub(crate) fn on_disk(directory: &Path) -> Config {
    Config {
        in_memory: false,
        data: directory.to_owned(),
        ..config()
    }
}

/// [`config`] with its connection limits changed.
pub(crate) fn with_connections(change: impl FnOnce(&mut Connections)) -> Config {
    let mut config = config();
    change(&mut config.connections);
    config
}

impl Hall {
    pub(crate) async fn open(config: Config) -> Self {
        let _watchdog = Watchdog::new();
        let running = Server::start(config).await.unwrap();
        Self { running, _watchdog }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.addresses()[0]
    }

    pub(crate) fn mqtt_address(&self) -> SocketAddr {
        self.running.mqtt_addresses()[0]
    }

    pub(crate) fn stomp_address(&self) -> SocketAddr {
        self.running.stomp_addresses()[0]
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.running.admin_addresses()[0]
    }

    pub(crate) fn set_resume_keys(&self, keys: &[ResumeKey]) {
        self.running.set_resume_keys(keys);
    }

    pub(crate) fn set_api_keys(&self, keys: Vec<ApiKey>) {
        self.running.set_api_keys(keys);
    }

    pub(crate) fn reload_keys(&self, config: &Config) -> Result<(), StartError> {
        self.running.reload_keys(&config.auth, &config.api)
    }

    pub(crate) async fn reload(&self, config: Config) -> Result<Vec<Change>, StartError> {
        self.running.reload(config).await
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        self.running.sessions()
    }

    /// A server that uses these sockets, and opens those that are missing.
    pub(crate) async fn open_on(config: Config, sockets: Sockets) -> Self {
        let _watchdog = Watchdog::new();
        let prepared = Server::prepare(config, sockets).await.unwrap();
        let running = prepared.start().await.unwrap();
        Self { running, _watchdog }
    }

    pub(crate) fn listening(&self) -> &[Listening] {
        self.running.listening()
    }

    pub(crate) async fn hand_over(self) -> Sockets {
        timeout(NEVER, self.running.hand_over()).await.unwrap()
    }

    pub(crate) async fn close(self) {
        timeout(NEVER, self.running.stop()).await.unwrap();
    }

    /// How to connect to the server: path and subprotocol are correct unless changed.
    pub(crate) fn number(&self) -> Connect {
        self.number_at("/ws").subprotocol("offhook.v1.json")
    }

    pub(crate) fn number_at(&self, path: &str) -> Connect {
        Connect::to(format!("ws://{}{path}", self.address())).no_proxy()
    }

    /// A connection that has not sent anything.
    pub(crate) async fn dial(&self) -> Caller {
        Caller::new(self.number().open().await.unwrap())
    }

    /// A connection that has sent `connect`.
    pub(crate) async fn caller(&self) -> Caller {
        let mut caller = self.dial().await;
        caller.connect().await;
        caller
    }

    /// The same with a small receive buffer, so that what it does not read soon waits at the
    /// server.
    pub(crate) async fn narrow_caller(&self) -> Caller {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = socket.connect(self.address()).await.unwrap();
        let opened = self.number().over(stream).open().await;
        let mut caller = Caller::new(opened.unwrap());
        caller.connect().await;
        caller
    }

    /// One request over HTTP/1.1: status, head in lower case, and body.
    pub(crate) async fn request(
        &self,
        head: &(impl AsRef<[u8]> + ?Sized),
    ) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        let rest = format!("\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address());
        let request = [head.as_ref(), rest.as_bytes()].concat();
        stream.write_all(&request).await.unwrap();
        let mut answer = Vec::new();
        timeout(NEVER, stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        // A picture is no text.
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    /// Any bytes of a request, after which the connection ends: the first status, head and the rest.
    pub(crate) async fn raw(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = timeout(NEVER, stream.read_to_string(&mut answer)).await;
        read.unwrap().unwrap();
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), rest.to_owned())
    }

    /// A request to the API: status, head, and the body as JSON.
    pub(crate) async fn api(&self, key: &str, request: &str, body: &str) -> (u16, String, Value) {
        let length = body.len();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}",
            self.address()
        );
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = timeout(NEVER, stream.read_to_string(&mut answer)).await;
        read.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {body:?}"));
        (status, head.to_lowercase(), body)
    }

    /// A WebSocket whose frames the test writes itself.
    pub(crate) async fn upgraded_by_hand(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(&self.handshake()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        stream
    }

    /// RFC 6455 §1.2, word for word.
    pub(crate) fn handshake(&self) -> Vec<u8> {
        let head = "GET /ws HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: offhook.v1.json\r\n\r\n";
        head.as_bytes().to_vec()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String, String) {
        self.request(&format!("GET {path} HTTP/1.1")).await
    }

    pub(crate) async fn health(&self) -> (u16, Value) {
        let (status, _, body) = self.get("/healthz").await;
        (status, serde_json::from_str(&body).unwrap())
    }
}
