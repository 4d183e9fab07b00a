//! A process of clients, from the inside: takes orders, follows or publishes, tells what it sees.

mod publishing;
mod watching;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use offhook_client::{Backoff, Client, ConnectionEvent, ConnectionEvents, Heartbeat, Recovery};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, Stdin};
use tokio::sync::Mutex as Turn;

use crate::words::{News, Order, Progress};

/// How often it says how far it is.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// What this process has come to, and the way to tell.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    progress: Arc<Mutex<Progress>>,
    stdout: Arc<Turn<tokio::io::Stdout>>,
}

/// Takes orders on stdin and answers on stdout, until stdin ends: the clients' side of a proof.
///
/// # Errors
/// The pipes break, or an order can't be understood.
pub async fn crew() -> io::Result<()> {
    die_with_the_conductor();
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let desk = Desk {
        progress: Arc::default(),
        stdout: Arc::new(Turn::new(tokio::io::stdout())),
    };
    tokio::spawn(desk.clone().tell_progress());
    match next_order(&mut orders).await? {
        Some(Order::Watch { url, subscribers }) => {
            watching::watch(&desk, &mut orders, &url, subscribers).await
        }
        Some(Order::Publish {
            url,
            publishers,
            rate,
        }) => publishing::publish(&desk, &mut orders, &url, &publishers, rate).await,
        Some(Order::Stop | Order::Expect { .. } | Order::Report) => {
            Err(io::Error::other("what to do has to be said first"))
        }
        None => Ok(()),
    }
}

/// A conductor that is killed can't thaw anybody: whoever is frozen would stay for ever.
fn die_with_the_conductor() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        // The end of stdin does the same for whoever is not frozen.
        let _best_effort = set_parent_process_death_signal(Some(Signal::KILL));
    }
}

type Orders = Lines<BufReader<Stdin>>;

async fn next_order(orders: &mut Orders) -> io::Result<Option<Order>> {
    match orders.next_line().await? {
        Some(line) => serde_json::from_str(&line).map_err(io::Error::other),
        None => Ok(None),
    }
}

impl Desk {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tell(&self, news: &News) -> io::Result<()> {
        let mut line = serde_json::to_string(news).map_err(io::Error::other)?;
        line.push('\n');
        let mut stdout = self.stdout.lock().await;
        stdout.write_all(line.as_bytes()).await?;
        stdout.flush().await
    }

    /// The conductor ends everything then.
    async fn failed(&self, why: &str) {
        let why = why.to_owned();
        let _unheard = self.tell(&News::Failed { why }).await;
    }

    async fn tell_progress(self) {
        let mut clock = tokio::time::interval(TELL_EVERY);
        loop {
            clock.tick().await;
            if self.tell_progress_now().await.is_err() {
                return;
            }
        }
    }

    async fn tell_progress_now(&self) -> io::Result<()> {
        let progress = *self.progress();
        self.tell(&News::Progress(progress)).await
    }

    /// A client that comes back quickly, and its comings and goings on record.
    fn client(&self, url: &str) -> Client {
        let mut backoff = Backoff::default();
        backoff.first = Duration::from_millis(100);
        backoff.cap = Duration::from_secs(1);
        backoff.stable_after = Duration::from_secs(2);
        let heartbeat = Heartbeat {
            every: Duration::from_secs(1),
            within: Duration::from_secs(3),
        };
        let client = Client::to(url)
            .connection(|connect| connect.no_proxy())
            .backoff(backoff)
            .heartbeat(heartbeat)
            .start();
        tokio::spawn(self.clone().record(client.events()));
        client
    }

    async fn record(self, mut events: ConnectionEvents) {
        while let Some(event) = events.next().await {
            match event {
                ConnectionEvent::Open { recovery, .. } => match recovery {
                    Recovery::New => {}
                    Recovery::Resumed => self.progress().resumed += 1,
                    Recovery::Positions => self.progress().by_position += 1,
                },
                ConnectionEvent::Lost { .. } => self.progress().failures += 1,
                ConnectionEvent::GivenUp { cause } => {
                    self.failed(&format!("a client has given up: {cause}"))
                        .await;
                }
                ConnectionEvent::Connecting { .. }
                | ConnectionEvent::Moving { .. }
                | ConnectionEvent::Held { .. }
                | _ => {}
            }
        }
    }
}
