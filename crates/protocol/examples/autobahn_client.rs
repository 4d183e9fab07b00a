//! Runs every case of an Autobahn fuzzing server against this crate's client.
//!
//! `cargo run --release -p offhook-protocol --example autobahn_client -- ws://127.0.0.1:9002 offhook`
#![expect(clippy::print_stderr, reason = "a program with an output")]
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a driver has the I/O"
)]

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use offhook_protocol::deflate::{DeflateConfig, DeflatePool};
use offhook_protocol::handshake::{ClientRequest, ClientStep};
use offhook_protocol::{Config, Connection, Deflate, Event, Input, Limits, Message};

mod blocking;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or("ws://127.0.0.1:9001".into());
    let agent = arguments.next().unwrap_or("offhook".into());
    let authority = url
        .strip_prefix("ws://")
        .ok_or("the URL begins with ws://")?;
    let authority = authority.trim_end_matches('/');
    let mut count = 0_u32;
    run(authority, "/getCaseCount", |message| {
        if let Message::Text(text) = &message {
            count = text.parse().unwrap_or(0);
        }
        None
    })?;
    for case in 1..=count {
        let target = format!("/runCase?case={case}&agent={agent}");
        if let Err(error) = run(authority, &target, Some) {
            eprintln!("case {case} of {count}: {error}");
        }
    }
    run(authority, &format!("/updateReports?agent={agent}"), |_| {
        None
    })
}

/// Opens a connection and answers messages until it is over.
fn run(
    authority: &str,
    target: &str,
    mut answer: impl FnMut(Message<'static>) -> Option<Message<'static>>,
) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(authority)?;
    stream.set_nodelay(true)?;
    let deflate = DeflateConfig::default();
    let request = ClientRequest::new(authority, target)?.deflate(deflate.clone());
    let (bytes, mut handshake) = request.start(*b"not for real use");
    stream.write_all(&bytes)?;
    let mut buffer = vec![0; 64 * 1024];
    let (opened, rest) = loop {
        let read = stream.read(&mut buffer)?;
        match handshake.receive(&buffer[..read])? {
            ClientStep::Incomplete(_) if read == 0 => return Err("no answer".into()),
            ClientStep::Incomplete(waiting) => handshake = waiting,
            ClientStep::Open { opened, consumed } => break (opened, consumed..read),
            ClientStep::Refused(refused) => {
                return Err(format!("refused with status {}", refused.status()).into());
            }
        }
    };
    let limits = Limits {
        message_size: 64 << 20,
        ..Limits::default()
    };
    let config = Arc::new(Config {
        limits,
        ..Config::default()
    });
    // A test suite's server needs no unforeseeable masks; see `MaskKeys`.
    let key = AtomicU32::new(1);
    let keys = move || key.fetch_add(0x9e37_79b9, Ordering::Relaxed).to_le_bytes();
    let mut connection = Connection::client(config, Arc::new(keys), Instant::now());
    if let Some(params) = opened.negotiated.deflate {
        let pool = DeflatePool::default();
        connection = connection.with_deflate(Deflate::client(&params, &deflate, &pool));
    }
    let mut unread = rest;
    loop {
        let mut input = Input::new(&mut buffer[unread], Instant::now());
        while let Some(event) = connection.receive(&mut input).transpose() {
            if let Ok(Event::Message(message)) = event
                && let Some(answer) = answer(message.into_owned())
            {
                connection.send(answer)?;
            }
        }
        blocking::write_output(&mut connection, &mut stream)?;
        if connection.wants_disconnect() {
            return Ok(());
        }
        let Some(read) = blocking::read(&mut connection, &mut stream, &mut buffer)? else {
            return Ok(());
        };
        unread = 0..read;
    }
}
