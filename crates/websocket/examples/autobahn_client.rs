//! Runs every case of an Autobahn fuzzing server against this library's client.
//!
//! ```console
//! $ cargo run --release -p offhook --example autobahn_client -- ws://127.0.0.1:9002 offhook
//! ```
//!
//! `autobahn_client URL AGENT`
#![expect(clippy::print_stderr, reason = "a program with an output")]

use std::error::Error;

use offhook::protocol::Limits;
use offhook::protocol::deflate::DeflateConfig;
use offhook::{Connect, WebSocket};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or("ws://127.0.0.1:9002".to_owned());
    let agent = arguments.next().unwrap_or("offhook".to_owned());
    let url = url.trim_end_matches('/');
    let mut count = open(&format!("{url}/getCaseCount")).await?;
    let cases: u32 = match count.recv().await? {
        Some(message) => message.as_text().unwrap_or_default().parse()?,
        None => return Err("the server did not tell how many cases there are".into()),
    };
    for case in 1..=cases {
        // Most cases end with an error: that is what they are about. The suite judges.
        let _judged = run(&format!("{url}/runCase?case={case}&agent={agent}")).await;
    }
    let mut report = open(&format!("{url}/updateReports?agent={agent}")).await?;
    while report.recv().await?.is_some() {}
    eprintln!("{cases} cases");
    Ok(())
}

async fn run(url: &str) -> Result<(), offhook::Error> {
    let mut socket = open(url).await?;
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

async fn open(url: &str) -> Result<WebSocket, offhook::Error> {
    // Autobahn sends messages of 16 MiB.
    let limits = Limits {
        message_size: 64 << 20,
        ..Limits::default()
    };
    Connect::to(url)
        .deflate(DeflateConfig::default())
        .limits(limits)
        .open()
        .await
}
