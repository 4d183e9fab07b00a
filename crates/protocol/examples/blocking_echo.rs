//! An echo server on blocking sockets, with one thread per connection: a minimal driver.
//!
//! `cargo run --release -p offhook-protocol --example blocking_echo -- 127.0.0.1:9001`
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program with an output"
)]
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a driver has the I/O"
)]

use std::error::Error;
use std::net::TcpListener;

use offhook_protocol::{Config, Limits};

mod blocking;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let listener = TcpListener::bind(&address)?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || {
            // Autobahn sends messages of 16 MiB.
            let limits = Limits {
                message_size: 64 << 20,
                ..Limits::default()
            };
            let config = Config {
                limits,
                ..Config::default()
            };
            if let Err(error) = blocking::echo(stream, config) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}
