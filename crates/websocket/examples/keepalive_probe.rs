//! Two ends that only listen to each other's heartbeat, to see how fast either notices that the
//! network swallows everything.
//!
//! ```console
//! $ cargo run --release -p offhook --example keepalive_probe -- listen 10.0.0.1:9001
//! $ cargo run --release -p offhook --example keepalive_probe -- connect ws://10.0.0.1:9001
//! ```
//!
//! Each prints `open` once a ping was answered, and how the connection ended: `pong timeout after 1503 ms` counts from when it
//! opened. `conformance/stock/run blackhole` cuts a real link under it.
//!
//! `keepalive_probe listen ADDR | connect URL [--interval MS] [--pong-timeout MS]`
#![expect(clippy::print_stdout, reason = "a program with an output")]

use std::error::Error;
use std::time::{Duration, Instant};

use offhook::protocol::{Config, Error as Failure, Keepalive, TimeoutError};
use offhook::{Connect, Server, Settings, WebSocket};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next().ok_or("listen or connect?")?;
    let target = arguments.next().ok_or("which address?")?;
    let mut keepalive = Keepalive {
        interval: Some(Duration::from_millis(500)),
        pong_timeout: Duration::from_secs(1),
    };
    while let (Some(option), Some(value)) = (arguments.next(), arguments.next()) {
        let time = Duration::from_millis(value.parse()?);
        match option.as_str() {
            "--interval" => keepalive.interval = Some(time),
            "--pong-timeout" => keepalive.pong_timeout = time,
            other => return Err(format!("unknown: {other}").into()),
        }
    }
    match role.as_str() {
        "listen" => listen(&target, keepalive).await?,
        "connect" => until_lost(Connect::to(&target).keepalive(keepalive).open().await?).await,
        other => return Err(format!("listen or connect, not {other}").into()),
    }
    Ok(())
}

async fn listen(address: &str, keepalive: Keepalive) -> std::io::Result<()> {
    let settings = Settings::default().config(Config {
        keepalive,
        ..Config::default()
    });
    let server = Server::bind(address).await?.settings(settings);
    println!("listening on {}", server.local_addr()?);
    server
        .serve(|socket| async move {
            until_lost(socket).await;
            Ok(())
        })
        .await
}

async fn until_lost(mut socket: WebSocket) {
    if let Err(error) = socket.ping().await {
        return println!("no answer: {error}");
    }
    println!("open");
    let opened = Instant::now();
    let end = loop {
        match socket.recv().await {
            Ok(Some(_)) => {}
            Ok(None) => break "closed".to_owned(),
            Err(offhook::Error::Peer(Failure::Timeout(TimeoutError::Pong))) => {
                break "pong timeout".to_owned();
            }
            Err(other) => break other.to_string(),
        }
    };
    println!("{end} after {} ms", opened.elapsed().as_millis());
}
