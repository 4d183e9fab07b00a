//! `dial --bridge`: connects two servers, or a client and a server, and prints the messages between
//! them.
//!
//! Each direction receives a message only after the previous one was sent, so a slow side slows
//! down the other, and nothing accumulates in between.

use std::sync::Arc;

use offhook::protocol::CloseCode;
use offhook::{Connect, Error, Sender, Server, WebSocket};

use super::Dial;
use super::connection::{refused, text};
use super::listen::{acceptor, address, bind};
use super::output::Output;
use crate::screen::{BOLD, LINK, shown};
use crate::{failure::Failure, signals::Signals};

/// One end of a bridge.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// Connect to this URL.
    Url(String),
    /// Wait for a client at this address.
    Listen(String),
}

impl End {
    /// A URL, or `listen:` and an address.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        match text.strip_prefix("listen:") {
            Some(place) => address(place).map(Self::Listen),
            None if text.contains("://") => Ok(Self::Url(text.to_owned())),
            None => Err("expected a URL, or listen:PORT".to_owned()),
        }
    }
}

/// Connects both ends until one closes; with a listener, for each of its clients.
pub(super) async fn join(
    dial: &Dial,
    ends: &[End],
    output: Arc<Output>,
) -> Result<String, Failure> {
    let mut signals = Signals::listen()?;
    let open = |url: &str| dial.ask(Connect::to(url), &output);
    let (place, url) = match ends {
        [End::Url(a), End::Url(b)] => {
            let joining = async {
                let mut opened = Vec::new();
                for url in [a, b] {
                    let connect = named(open(url)?, dial);
                    let socket = connect.open().await;
                    opened.push(socket.map_err(|error| at(url, refused(&error)))?);
                    output.note(&format!("{BOLD}connected{BOLD:#} to {}", shown(url)));
                }
                let (Some(second), Some(first)) = (opened.pop(), opened.pop()) else {
                    return Ok("closed".to_owned());
                };
                Ok(both(first, second, dial.hex, &output).await)
            };
            return tokio::select! {
                joined = joining => joined,
                () = signals.next() => Ok("closed".to_owned()),
            };
        }
        [End::Listen(place), End::Url(url)] | [End::Url(url), End::Listen(place)] => (place, url),
        _ => {
            return Err(Failure::usage(
                "--bridge takes two ends, at least one of them a URL",
            ));
        }
    };
    let (listener, bound) = bind(place).await?;
    output.note(&format!(
        "{BOLD}listening{BOLD:#} on {LINK}ws://{bound}/{LINK:#}; each client gets a connection to {}",
        shown(url)
    ));
    let connect = named(open(url)?, dial);
    let is_hex = dial.hex;
    let output = Arc::clone(&output);
    let server = Server::on(listener).acceptor(acceptor(dial)?);
    let serving = server.serve(move |socket| {
        let served = client(socket, connect.clone(), is_hex, Arc::clone(&output));
        async move { Ok(served.await?) }
    });
    tokio::select! {
        served = serving => served.map_err(|error| Failure::failed(&error)).map(|()| "closed".to_owned()),
        () = signals.next() => Ok("closed".to_owned()),
    }
}

fn named(mut connect: Connect, dial: &Dial) -> Connect {
    for name in &dial.subprotocol {
        connect = connect.subprotocol(name);
    }
    connect
}

/// Adds which end it was.
fn at(url: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Usage(message) => Failure::Usage(message),
        Failure::Failed(message) => Failure::Failed(format!("{url}: {message}")),
        other @ (Failure::Logged(_) | Failure::NobodyReads) => other,
    }
}

async fn client(
    socket: WebSocket,
    connect: Connect,
    is_hex: bool,
    output: Arc<Output>,
) -> Result<(), Error> {
    let other = match connect.open().await {
        Ok(other) => other,
        Err(error) => {
            output.note(&format!("error: {}", shown(&error.to_string())));
            let _ = socket
                .sender()
                .close(CloseCode::BAD_GATEWAY, "the other end cannot be reached");
            return Err(error);
        }
    };
    let how = both(socket, other, is_hex, &output).await;
    output.note(&how);
    Ok(())
}

/// Passes messages both ways until one side has closed and the other was told.
async fn both(first: WebSocket, second: WebSocket, is_hex: bool, output: &Output) -> String {
    let (to_first, to_second) = (first.sender(), second.sender());
    let there = pass(first, to_second, "→", is_hex, output);
    let back = pass(second, to_first, "←", is_hex, output);
    let (there, back) = tokio::join!(there, back);
    format!("closed; {there} messages →, {back} messages ←")
}

/// Passes messages one way; returns how many.
async fn pass(mut from: WebSocket, to: Sender, arrow: &str, is_hex: bool, output: &Output) -> u64 {
    let mut count = 0;
    while let Ok(Some(message)) = from.recv().await {
        output.print(&format!("{arrow} {}", text(&message, is_hex, output)));
        if to.send(message).await.is_err() {
            break;
        }
        count += 1;
    }
    // The other side is told how this one ended; codes that must not be sent become 1001 or 1014.
    let closed = from.sender().closed();
    let (code, reason) = closed.map_or((CloseCode::BAD_GATEWAY, String::new()), |closed| {
        let code = if closed.code.is_sendable() {
            closed.code
        } else if closed.clean {
            CloseCode::NORMAL
        } else {
            CloseCode::BAD_GATEWAY
        };
        (code, closed.reason.to_string())
    });
    let _ = to.close(code, &reason);
    count
}
