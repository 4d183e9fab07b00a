//! A process of clients: follows instructions and sends updates.

mod dialects;
mod publishing;
mod subscribing;
mod ways;

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use offhook_client::{
    Backoff, Client, ConnectionEvent, ConnectionEvents, Data, Heartbeat, Recovery,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, Stdin};
use tokio::sync::Mutex as Turn;

use crate::messages::{Instruction, Progress, Reach, Update};
use crate::plan::{Dialect, Transport};
use ways::Ways;

/// How often progress is sent.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// Collects the counts of this process, and writes updates.
#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    progress: Arc<Mutex<Progress>>,
    stdout: Arc<Turn<tokio::io::Stdout>>,
    transport: Transport,
    /// How to reach the server, once the runner has said so.
    reach: Option<Reach>,
}

/// Reads instructions from stdin and writes updates to stdout, until stdin ends.
///
/// # Errors
/// A pipe breaks, or an instruction is invalid.
pub async fn client_process() -> io::Result<()> {
    die_with_the_runner();
    let mut instructions = BufReader::new(tokio::io::stdin()).lines();
    let mut reporter = Reporter {
        progress: Arc::default(),
        stdout: Arc::new(Turn::new(tokio::io::stdout())),
        transport: Transport::default(),
        reach: None,
    };
    tokio::spawn(reporter.clone().tell_progress());
    match next_instruction(&mut instructions).await? {
        Some(Instruction::Subscribe {
            reach,
            dialect,
            transport,
            subscribers,
        }) => {
            let url = reach.url.clone();
            reporter.reach = Some(reach);
            reporter.transport = transport;
            let instructions = &mut instructions;
            match dialect {
                Dialect::Native => {
                    subscribing::subscribe(&reporter, instructions, subscribers).await
                }
                Dialect::Mqtt { .. } | Dialect::SocketIo => {
                    dialects::subscribe(&reporter, instructions, &url, dialect, subscribers).await
                }
            }
        }
        Some(Instruction::Publish {
            reach,
            dialect,
            transport,
            publishers,
            rate,
        }) => {
            let url = reach.url.clone();
            reporter.reach = Some(reach);
            reporter.transport = transport;
            let instructions = &mut instructions;
            match dialect {
                Dialect::Native => {
                    publishing::publish(&reporter, instructions, &publishers, rate).await
                }
                Dialect::Mqtt { .. } | Dialect::SocketIo => {
                    dialects::publish(&reporter, instructions, &url, dialect, &publishers, rate)
                        .await
                }
            }
        }
        Some(Instruction::Stop | Instruction::Expect { .. } | Instruction::Report) => Err(
            io::Error::other("the first instruction must be `subscribe` or `publish`"),
        ),
        None => Ok(()),
    }
}

/// A runner that was killed cannot resume its processes: a frozen one would stay forever.
fn die_with_the_runner() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        // A process that is not frozen notices the end of stdin.
        let _best_effort = set_parent_process_death_signal(Some(Signal::KILL));
    }
}

/// The text of a publication, which may have been published as bytes.
fn text_of(data: &Data) -> Cow<'_, str> {
    match data.is_json() {
        true => data.text().unwrap_or_default(),
        false => String::from_utf8_lossy(data.as_bytes()),
    }
}

type Instructions = Lines<BufReader<Stdin>>;

async fn next_instruction(instructions: &mut Instructions) -> io::Result<Option<Instruction>> {
    match instructions.next_line().await? {
        Some(line) => serde_json::from_str(&line).map_err(io::Error::other),
        None => Ok(None),
    }
}

impl Reporter {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tell(&self, update: &Update) -> io::Result<()> {
        let mut line = serde_json::to_string(update).map_err(io::Error::other)?;
        line.push('\n');
        let mut stdout = self.stdout.lock().await;
        stdout.write_all(line.as_bytes()).await?;
        stdout.flush().await
    }

    /// Tells the runner to abort the proof.
    async fn failed(&self, why: &str) {
        let why = why.to_owned();
        let _unheard = self.tell(&Update::Failed { why }).await;
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
        self.tell(&Update::Progress(progress)).await
    }

    /// A client that reconnects quickly, and whose connections are counted. `number` says with which
    /// transport it begins, if they change.
    fn client(&self, number: usize) -> io::Result<Client> {
        let mut backoff = Backoff::default();
        backoff.first = Duration::from_millis(100);
        backoff.cap = Duration::from_secs(1);
        backoff.stable_after = Duration::from_secs(2);
        let heartbeat = Heartbeat {
            every: Duration::from_secs(1),
            within: Duration::from_secs(3),
        };
        let reach = self.reach.as_ref();
        let reach = reach.ok_or_else(|| io::Error::other("no server was named"))?;
        let client = Client::over(Ways::new(reach, self.transport, number)?)
            .backoff(backoff)
            .heartbeat(heartbeat)
            .start();
        tokio::spawn(self.clone().record(client.events()));
        Ok(client)
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
