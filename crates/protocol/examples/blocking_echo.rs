//! An echo server on blocking sockets, a thread a connection: what a driver has to do, and no more.
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
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_protocol::deflate::{DeflateConfig, DeflatePool};
use offhook_protocol::handshake::{Carrier, ServerConfig, ServerHandshake, ServerStep};
use offhook_protocol::{Config, Connection, Deflate, Event, Input, Limits};

mod blocking;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let listener = TcpListener::bind(&address)?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || {
            if let Err(error) = serve(stream) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> Result<(), Box<dyn Error>> {
    stream.set_nodelay(true)?;
    let deflate = DeflateConfig::default();
    let config = ServerConfig {
        deflate: Some(deflate.clone()),
        ..ServerConfig::default()
    };
    let mut handshake = ServerHandshake::new(Arc::new(config));
    let mut buffer = vec![0; 64 * 1024];
    let (decision, rest) = loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        match handshake.receive(&buffer[..read]) {
            Ok(ServerStep::Incomplete(waiting)) => handshake = waiting,
            Ok(ServerStep::Request { decision, consumed }) => break (decision, consumed..read),
            Err(rejection) => {
                stream.write_all(&rejection.response(Carrier::Upgrade).into_bytes())?;
                return Err(rejection.into());
            }
        }
    };
    let accepted = decision.accept();
    stream.write_all(&accepted.response.into_bytes())?;

    // Autobahn sends messages of 16 MiB.
    let limits = Limits {
        message_size: 64 << 20,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let mut connection = Connection::server(Arc::new(config), Instant::now());
    if let Some(params) = accepted.negotiated.deflate {
        let pool = DeflatePool::default();
        connection = connection.with_deflate(Deflate::server(&params, &deflate, &pool));
    }
    let mut unread = rest;
    loop {
        let mut input = Input::new(&mut buffer[unread], Instant::now());
        while let Some(event) = connection.receive(&mut input).transpose() {
            // A failure has queued its Close frame: write it, then the connection wants to end.
            if let Ok(Event::Message(message)) = event {
                connection.send(message)?;
            }
        }
        blocking::write_output(&mut connection, &mut stream)?;
        if connection.wants_disconnect() {
            break;
        }
        let Some(read) = blocking::read(&mut connection, &mut stream, &mut buffer)? else {
            break;
        };
        unread = 0..read;
    }
    // Not to reset the connection before the peer has read our Close frame.
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
    Ok(())
}
