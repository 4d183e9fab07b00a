//! A driver on blocking sockets, a thread a connection.

use std::error::Error;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_protocol::deflate::{DeflateConfig, DeflatePool};
use offhook_protocol::handshake::{Carrier, ServerConfig, ServerHandshake, ServerStep};
use offhook_protocol::{Config, Connection, Deflate, Event, Input};

/// Serves one connection: answers each message with itself, until the connection has ended.
pub(crate) fn echo(mut stream: TcpStream, config: Config) -> Result<(), Box<dyn Error>> {
    stream.set_nodelay(true)?;
    let deflate = DeflateConfig::default();
    let server = ServerConfig {
        deflate: Some(deflate.clone()),
        ..ServerConfig::default()
    };
    let mut handshake = ServerHandshake::new(Arc::new(server));
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

    let mut connection = Connection::server(Arc::new(config), Instant::now());
    if let Some(params) = accepted.negotiated.deflate {
        let pool = DeflatePool::default();
        connection = connection.with_deflate(Deflate::server(&params, &deflate, &pool));
    }
    let mut unread = rest;
    loop {
        let mut input = Input::new(&mut buffer[unread], Instant::now());
        while let Some(event) = connection.receive(&mut input).transpose() {
            // A failure has queued its Close frame: write it, and then the connection wants to end.
            if let Ok(Event::Message(message)) = event {
                connection.send(message)?;
            }
        }
        write_output(&mut connection, &mut stream)?;
        if connection.wants_disconnect() {
            break;
        }
        let Some(count) = read(&mut connection, &mut stream, &mut buffer)? else {
            break;
        };
        unread = 0..count;
    }
    // Not to reset the connection before the peer has read our Close frame.
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
    Ok(())
}

/// Writes all that the connection has to transmit.
fn write_output(connection: &mut Connection, stream: &mut TcpStream) -> Result<(), Box<dyn Error>> {
    while connection.has_output() {
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = connection.transmit(&mut slices);
        let written = stream.write_vectored(&slices[..filled])?;
        connection.transmitted(written);
    }
    Ok(())
}

/// Reads until bytes arrive, and lets the connection act when its timeout has expired. `None` when
/// the connection has ended.
fn read(
    connection: &mut Connection,
    stream: &mut TcpStream,
    buffer: &mut [u8],
) -> Result<Option<usize>, Box<dyn Error>> {
    loop {
        let wait = connection.poll_timeout().map(|at| {
            at.saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1))
        });
        stream.set_read_timeout(wait)?;
        match stream.read(buffer) {
            Ok(read) if read > 0 => return Ok(Some(read)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                connection.handle_timeout(Instant::now())?;
                write_output(connection, stream)?;
            }
            // The end of the stream, or a reset: `Connection::closed` says whether it was clean.
            Ok(_) | Err(_) => {
                connection.handle_transport_closed(Instant::now());
                return Ok(None);
            }
        }
    }
}
