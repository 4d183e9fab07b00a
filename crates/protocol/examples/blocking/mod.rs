//! The two halves of a driver's turn on a blocking socket, for the examples.

use std::error::Error;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use offhook_protocol::Connection;

/// Writes all that the connection has to transmit.
pub(crate) fn write_output(
    connection: &mut Connection,
    stream: &mut TcpStream,
) -> Result<(), Box<dyn Error>> {
    while connection.has_output() {
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = connection.transmit(&mut slices);
        let written = stream.write_vectored(&slices[..filled])?;
        connection.transmitted(written);
    }
    Ok(())
}

/// Reads until bytes come, and lets the connection act when its time has come instead. `None`
/// when the connection is over.
pub(crate) fn read(
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
            // The end of the stream, or a reset: `Connection::closed` tells whether it was clean.
            Ok(_) | Err(_) => {
                connection.handle_transport_closed(Instant::now());
                return Ok(None);
            }
        }
    }
}
