//! An echo server on smol: the protocol with another runtime than tokio.
//!
//! `cargo run --release -p offhook-protocol --example smol_echo -- 127.0.0.1:9001`
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program with an output"
)]
#![expect(clippy::disallowed_methods, reason = "a driver has the clock")]

use std::error::Error;

use offhook_protocol::Config;
use smol::net::TcpListener;

mod smol_driver;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    smol::block_on(async {
        let listener = TcpListener::bind(&address).await?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            let serving = async {
                if let Err(error) = smol_driver::echo(stream, Config::default()).await {
                    eprintln!("{error}");
                }
            };
            smol::spawn(serving).detach();
        }
    })
}
