//! A ticker whose connection is lost repeatedly, and a client that reconnects. Try it:
//!
//! ```console
//! $ cargo run -p offhook --example reconnecting_ticker
//! ```
//!
//! `reconnecting_ticker [URL] [COUNT]`: with a URL, listens there instead of to a server of its
//! own; with a count, ends after that many messages.
#![expect(clippy::print_stdout, reason = "a program with an output")]

use std::error::Error;
use std::time::Duration;

use offhook::protocol::CloseCode;
use offhook::{Acceptor, Backoff, Connect, Update};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut url, mut count) = (None, 20);
    for argument in std::env::args().skip(1) {
        match argument.parse() {
            Ok(number) => count = number,
            Err(_) => url = Some(argument),
        }
    }
    let url = match url {
        Some(url) => url,
        None => unreliable_ticker().await?,
    };
    let mut backoff = Backoff::default();
    backoff.first = Duration::from_millis(200);
    let mut ticker = Connect::to(url).reconnecting().backoff(backoff);
    // Kept until there is a connection.
    ticker.send("hello").await?;
    let mut seen = 0;
    while let Some(update) = ticker.next().await {
        match update {
            Update::Message(message) => {
                println!("{message}");
                seen += 1;
            }
            Update::Connecting { attempt } => println!("connecting, attempt {attempt}"),
            Update::Open(sender) => {
                println!("open");
                sender.send("ticks, please").await?;
            }
            Update::Failed { cause } => println!("failed: {cause}"),
            Update::Lost { cause, unsent } => println!("lost: {cause}; {unsent} bytes unsent"),
            Update::Waiting { delay } => println!("waiting {delay:?}"),
            Update::GivenUp { cause, .. } => return Err(cause.into()),
            other => println!("{other:?}"),
        }
        if seen >= count {
            ticker.close(CloseCode::NORMAL, "enough").await?;
        }
    }
    Ok(())
}

/// A server that ticks, and goes away after every fifth tick.
async fn unreliable_ticker() -> Result<String, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", listener.local_addr()?);
    tokio::spawn(async move {
        let acceptor = Acceptor::default();
        let mut tick = 0_u64;
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut socket) = acceptor.accept(stream).await else {
                continue;
            };
            let asked = socket.recv().await;
            println!("the server was asked for {asked:?}");
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                tick += 1;
                if socket.send(format!("tick {tick}")).await.is_err() {
                    break;
                }
            }
            // Dropped, the socket says that it goes away.
        }
    });
    Ok(url)
}
