//! `dial --listen`: a server for trying out clients.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::ValueEnum;
use offhook::protocol::handshake::OriginPolicy;
use offhook::protocol::{CloseCode, Closed};
use offhook::{Acceptor, Error, Message, Sender, Server, Settings, WebSocket};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::commands::{Entry, unknown};
use super::input::Typed;
use super::lines::quiet;
use super::output::Output;
use super::{Dial, connection};
use crate::screen::{BOLD, DIM, LINK, shown};
use crate::{digits, failure::Failure, signals::Signals};

/// What a server does with received messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// Print messages, and send each line of the input to every client
    Pipe,
    /// Send each message back
    Echo,
    /// Send each message to all other clients
    Broadcast,
}

/// The maximum number of connections. 1,000: below the number of descriptors that most systems
/// allow.
const MOST: usize = 1_000;

/// How long clients may take to close when the server ends.
const GOODBYE: std::time::Duration = std::time::Duration::from_millis(500);

/// `9001`, `:9001`, `localhost:9001`. A port alone is only reachable from this machine.
pub(super) fn address(text: &str) -> Result<String, String> {
    let port = |text: &str| text.parse::<u16>().is_ok();
    match text.rsplit_once(':') {
        None if port(text) => Ok(format!("127.0.0.1:{text}")),
        Some(("", end)) if port(end) => Ok(format!("[::]:{end}")),
        Some((_, end)) if port(end) => Ok(text.to_owned()),
        _ => Err("expected a port or HOST:PORT, such as 9001, :9001 or 127.0.0.1:9001".to_owned()),
    }
}

/// A listener, and its address.
pub(super) async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |error: std::io::Error| {
        Failure::Failed(format!("{address} cannot be listened on: {error}"))
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// The acceptor configured by the flags: it allows pages of its own origin, or of the given one.
pub(super) fn acceptor(dial: &Dial) -> Result<Acceptor, Failure> {
    let mut settings = Settings::default();
    if dial.deflate {
        settings = settings.deflate(offhook::protocol::deflate::DeflateConfig::default());
    }
    let mut acceptor = Acceptor::default().settings(settings);
    if let Some(origin) = &dial.origin {
        let origins = if origin == "*" {
            OriginPolicy::Any
        } else {
            OriginPolicy::allow_list([origin.as_str()]).map_err(|error| Failure::usage(&error))?
        };
        acceptor = acceptor.origin(origins);
    }
    let names = dial.subprotocol.iter().map(String::as_str);
    acceptor
        .subprotocols(names)
        .map_err(|error| Failure::usage(&error))
}

/// Serves until Ctrl-C, or until the given number of messages were received.
pub(super) async fn serve(
    dial: &Dial,
    address: &str,
    typed: mpsc::Receiver<Typed>,
    output: Arc<Output>,
) -> Result<String, Failure> {
    let mut signals = Signals::listen()?;
    let (listener, bound) = bind(address).await?;
    output.note(&format!(
        "{BOLD}listening{BOLD:#} on {LINK}ws://{bound}/{LINK:#}, {}; Ctrl-C ends it",
        dial.role.name()
    ));
    let server = Server::on(listener)
        .acceptor(acceptor(dial)?)
        .max_connections(MOST);
    let connections = server.connections();
    let (received, mut receiving) = watch::channel(0_u64);
    let hub = Arc::new(Hub {
        role: dial.role,
        is_hex: dial.hex,
        most: dial.count,
        output: Arc::clone(&output),
        clients: Mutex::default(),
        received,
        present: watch::channel(0).0,
    });
    let serving = {
        let hub = Arc::clone(&hub);
        server.serve(move |socket| {
            let served = Arc::clone(&hub).client(socket);
            async move { Ok(served.await?) }
        })
    };
    let input = input(Arc::clone(&hub), typed, dial.linger, receiving.clone());
    let count = dial.count;
    let enough = async {
        let is_enough = |received: &u64| count.is_some_and(|count| *received >= count);
        // The hub, which holds the sender, is still alive.
        let _ = receiving.wait_for(is_enough).await;
    };
    let ended = tokio::select! {
        served = serving => served.map_err(|error| Failure::failed(&error)),
        done = input => done,
        () = enough => Ok(()),
        () = signals.next() => Ok(()),
    };
    connections.shutdown(CloseCode::GOING_AWAY, GOODBYE).await;
    if let Some(error) = output.broken_pipe() {
        return Err(error.into());
    }
    ended.map(|()| "closed".to_owned())
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Pipe => "lines of the input go to every client",
            Self::Echo => "messages are sent back",
            Self::Broadcast => "messages go to all other clients",
        }
    }
}

/// The clients of a server.
struct Hub {
    role: Role,
    is_hex: bool,
    /// After this many messages nothing more is printed.
    most: Option<u64>,
    output: Arc<Output>,
    clients: Mutex<Clients>,
    received: watch::Sender<u64>,
    /// How many clients are connected.
    present: watch::Sender<usize>,
}

#[derive(Default)]
struct Clients {
    next: u64,
    open: Vec<(u64, Sender)>,
}

impl Hub {
    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one client until it is gone.
    async fn client(self: Arc<Self>, mut socket: WebSocket) -> Result<(), Error> {
        let number = {
            let mut clients = self.clients();
            clients.next += 1;
            let number = clients.next;
            clients.open.push((number, socket.sender()));
            self.present.send_replace(clients.open.len());
            number
        };
        let from = socket.peer_addr();
        let from = from.map_or_else(String::new, |address| format!(" from {address}"));
        self.note(number, &format!("connected{from}"));
        let ended = self.receive(number, &mut socket).await;
        self.left(number);
        let how = match (&ended, socket.sender().closed()) {
            (Err(error), _) => error.to_string(),
            (Ok(()), Some(closed)) => how(&closed),
            (Ok(()), None) => "closed".to_owned(),
        };
        self.note(number, &how);
        ended
    }

    fn left(&self, number: u64) {
        let mut clients = self.clients();
        clients.open.retain(|(other, _)| *other != number);
        self.present.send_replace(clients.open.len());
    }

    /// Waits until a client is connected.
    async fn somebody(&self) {
        // The sender is ours, so that it is not gone.
        let _ = self.present.subscribe().wait_for(|count| *count > 0).await;
    }

    async fn receive(&self, number: u64, socket: &mut WebSocket) -> Result<(), Error> {
        while let Some(message) = socket.recv().await? {
            match self.role {
                Role::Pipe => self.print(&message),
                Role::Echo => socket.send(message).await?,
                Role::Broadcast => self.send_to_all(&message, Some(number)),
            }
            self.received.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    fn print(&self, message: &Message) {
        if self
            .most
            .is_some_and(|most| *self.received.borrow() >= most)
        {
            return;
        }
        self.output
            .print(&connection::text(message, self.is_hex, &self.output));
    }

    /// A client that does not read is disconnected: it would otherwise delay the others, or lose
    /// messages without notice.
    fn send_to_all(&self, message: &Message, except: Option<u64>) {
        let open = self.clients().open.clone();
        for (number, sender) in open {
            if Some(number) == except {
                continue;
            }
            if matches!(sender.try_send(message.clone()), Err(Error::Full)) {
                self.note(number, "does not read its messages: closed");
                let _ = sender.close(CloseCode::POLICY_VIOLATION, "too slow");
            }
        }
    }

    fn note(&self, number: u64, text: &str) {
        let text = shown(text);
        self.output
            .note(&format!("{DIM}client {number}: {text}{DIM:#}"));
    }
}

fn how(closed: &Closed) -> String {
    let reason = match &*closed.reason {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    format!("closed, {}{reason}", closed.code)
}

/// Sends lines to every client. Ends when the user leaves, or when nothing was received for long
/// enough after the end of a pipe.
async fn input(
    hub: Arc<Hub>,
    mut typed: mpsc::Receiver<Typed>,
    linger: Option<std::time::Duration>,
    received: watch::Receiver<u64>,
) -> Result<(), Failure> {
    while let Some(typed) = typed.recv().await {
        let line = match typed {
            Typed::Line(line) => line,
            Typed::Unreadable(why) => return Err(Failure::Failed(why)),
        };
        let text = match Entry::read(&line) {
            Entry::Command { word, .. } if hub.output.is_interactive() => {
                match word {
                    "close" => return Ok(()),
                    "help" => hub.output.note(HELP),
                    _ => hub.output.note(&unknown(word)),
                }
                continue;
            }
            Entry::Message(text) if hub.output.is_interactive() => text,
            Entry::Message(_) | Entry::Command { .. } => &line,
        };
        if !hub.output.is_interactive() {
            // Piped input waits until there is a client to send it to.
            hub.somebody().await;
        } else if *hub.present.borrow() == 0 {
            hub.output
                .note("no client is connected, and nothing was sent");
            continue;
        }
        if hub.is_hex {
            let bytes = digits::parse(text).map_err(|word| {
                Failure::usage(format!("expected bytes in hexadecimal, found {word:?}"))
            })?;
            hub.send_to_all(&Message::Binary(bytes.into()), None);
        } else {
            hub.send_to_all(&Message::Text(text.into()), None);
        }
    }
    if !hub.output.is_interactive() {
        quiet(received, linger).await;
    }
    Ok(())
}

const HELP: &str = "\
/close         close all connections and leave; Ctrl-D does the same
//text         send /text to every client
anything else  send it to every client";
