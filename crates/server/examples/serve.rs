//! A server within a program of your own: everything in memory, one worker, on the address given.
//!
//! `cargo run --release -p offhook-server --example serve -- 127.0.0.1:8000`

#![expect(clippy::print_stdout, reason = "an example tells where it is")]

use std::num::NonZeroUsize;

use offhook_server::{Config, Server};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let server = Server::start(Config {
        listen: vec![address.as_deref().unwrap_or("127.0.0.1:8000").parse()?],
        in_memory: true,
        workers: NonZeroUsize::MIN,
        ..Config::default()
    })
    .await?;
    for address in server.addresses() {
        println!("ws://{address}/ws");
    }
    tokio::signal::ctrl_c().await?;
    server.stop().await;
    Ok(())
}
