//! A running server, and clients of it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use offhook_client::{
    Backoff, Builder, Client, ConnectionEvent, ConnectionEvents, Event, Recovery, Subscription,
};
use offhook_server::config::{Config, Sources, load};
use offhook_server::{Running, Server, Sessions};
use tempfile::TempDir;
use tokio::time::timeout;

/// Longer than anything in a test takes: what has not arrived within it never will.
const NEVER: Duration = Duration::from_secs(60);

/// Everything is retained, and nothing is limited; `fleeting/*` retains nothing, `short/*` little,
/// and nobody may use `closed/*`.
const CONFIG: &str = r#"
listen = "127.0.0.1:0"
workers = 1
talk = false

[limits]
commands_per_second = 1000000
command_burst = 1000000
publishes_per_second = 1000000
publish_burst = 1000000

[[channels]]
pattern = "fleeting/*"
history.count = 0

[[channels]]
pattern = "prices*"
state = { count = 1000, bytes = 1000000 }

[[channels]]
pattern = "short/*"
history.count = 10

[[channels]]
pattern = "closed/*"
subscribe = "nobody"
publish = "nobody"

[[channels]]
pattern = "*"
history = { count = 1000000 }
"#;

/// A server for one test.
pub(crate) struct TestServer {
    running: Running,
}

impl TestServer {
    /// With everything in memory.
    pub(crate) async fn open() -> Self {
        Self::start(configured(|text| format!("in_memory = true\n{text}"))).await
    }

    /// On a log in this directory.
    pub(crate) async fn on_disk(directory: &Path) -> Self {
        Self::start(configured(|text| format!("data = {directory:?}\n{text}"))).await
    }

    /// With everything in memory, and these tables before the channels.
    pub(crate) async fn with(settings: &str) -> Self {
        let add = |text: &str| {
            let text = text.replacen("[[channels]]", &format!("{settings}\n[[channels]]"), 1);
            format!("in_memory = true\n{text}")
        };
        Self::start(configured(add)).await
    }

    /// In memory, with a backend at this URL that clients may call.
    pub(crate) async fn with_backend(url: &str, secret: &str) -> Self {
        Self::start(configured(|text| {
            let backend = format!("url = {url:?}\nsecrets = [{secret:?}]\ncalls = \"everyone\"");
            format!("in_memory = true\n{text}\n[backend]\n{backend}\n")
        }))
        .await
    }

    async fn start(config: Config) -> Self {
        let running = Server::start(config).await.unwrap();
        Self { running }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.addresses()[0]
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        self.running.sessions()
    }

    /// Stops like a process that is killed, without closing connections.
    pub(crate) fn collapse(self) {
        drop(self.running);
    }

    /// Stops in order.
    pub(crate) async fn close(self) {
        within(self.running.stop()).await;
    }

    pub(crate) async fn client(&self) -> Client {
        within(builder(self.address()).connect()).await.unwrap()
    }
}

fn configured(change: impl FnOnce(&str) -> String) -> Config {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("offhook.toml");
    fs::write(&file, change(CONFIG)).unwrap();
    let sources = Sources {
        file: Some(file),
        ..Sources::default()
    };
    load(&sources).unwrap().config
}

/// A client of this address that reconnects fast.
pub(crate) fn builder(address: SocketAddr) -> Builder {
    let mut backoff = Backoff::default();
    backoff.first = Duration::from_millis(10);
    backoff.cap = Duration::from_millis(50);
    Client::to(format!("ws://{address}/ws"))
        .connection(|connect| connect.no_proxy())
        .backoff(backoff)
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(NEVER, future).await.expect("it takes too long")
}

/// The next event of a subscription.
pub(crate) async fn next(subscription: &mut Subscription) -> Event {
    let event = within(subscription.next()).await.unwrap();
    event.expect("the subscription goes on")
}

/// The texts of the next `count` publications; other events are skipped, except gaps.
pub(crate) async fn texts(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        match next(subscription).await {
            Event::Publication(publication) => texts.push(text(&publication)),
            Event::Gap(gap) => panic!("{gap:?}"),
            _ => {}
        }
    }
    texts
}

pub(crate) fn text(publication: &offhook_client::Publication) -> String {
    publication.data.text().unwrap().into_owned()
}

/// Waits until a connection is open again.
pub(crate) async fn opened(events: &mut ConnectionEvents) -> Recovery {
    loop {
        match within(events.next()).await.unwrap() {
            ConnectionEvent::Open { recovery, .. } => return recovery,
            ConnectionEvent::GivenUp { cause } => panic!("given up: {cause}"),
            _ => {}
        }
    }
}

/// Waits until the connection is lost.
pub(crate) async fn lost(events: &mut ConnectionEvents) -> offhook_client::Error {
    loop {
        match within(events.next()).await.unwrap() {
            ConnectionEvent::Lost { cause, .. } | ConnectionEvent::GivenUp { cause } => {
                return cause;
            }
            _ => {}
        }
    }
}

pub(crate) fn numbers(range: impl Iterator<Item = usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}
