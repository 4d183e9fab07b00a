//! A driver on smol: one task a connection, which reads, writes, and waits for bytes or the time.

use std::error::Error;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use offhook_protocol::handshake::{
    Carrier, ServerConfig, ServerDecision, ServerHandshake, ServerStep,
};
use offhook_protocol::{Config, Connection, Event, Input};
use smol::Timer;
use smol::future::or;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{Shutdown, TcpStream};

/// How long the peer's last bytes are waited for after ours have left.
const LINGER: Duration = Duration::from_secs(1);

/// Serves one connection: answers each message with itself, until the connection has ended.
pub(crate) async fn echo(
    mut stream: TcpStream,
    config: Config,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 * 1024];
    let Some((decision, mut unread)) = handshake(&mut stream, &mut buffer).await? else {
        return Ok(());
    };
    let accepted = decision.accept();
    stream.write_all(&accepted.response.into_bytes()).await?;
    let mut connection = Connection::server(Arc::new(config), Instant::now());
    loop {
        let mut input = Input::new(&mut buffer[unread], Instant::now());
        while let Some(event) = connection.receive(&mut input).transpose() {
            // A failure has queued its Close frame: write it, and then the connection wants to end.
            if let Ok(Event::Message(message)) = event {
                connection.send(message)?;
            }
        }
        write_output(&mut connection, &mut stream).await?;
        if connection.wants_disconnect() {
            break;
        }
        let Some(read) = read(&mut connection, &mut stream, &mut buffer).await? else {
            break;
        };
        unread = 0..read;
    }
    // Not to reset the connection before the peer has read our Close frame.
    stream.shutdown(Shutdown::Write)?;
    let drain = async { while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {} };
    or(drain, async {
        Timer::after(LINGER).await;
    })
    .await;
    Ok(())
}

/// Reads the request. Returns the decision on it, and the position in the buffer of the bytes after
/// it; `None` if the peer closed the connection.
async fn handshake(
    stream: &mut TcpStream,
    buffer: &mut [u8],
) -> Result<Option<(ServerDecision, Range<usize>)>, Box<dyn Error + Send + Sync>> {
    let mut handshake = ServerHandshake::new(Arc::new(ServerConfig::default()));
    loop {
        let read = stream.read(buffer).await?;
        if read == 0 {
            return Ok(None);
        }
        match handshake.receive(&buffer[..read]) {
            Ok(ServerStep::Incomplete(waiting)) => handshake = waiting,
            Ok(ServerStep::Request { decision, consumed }) => {
                return Ok(Some((decision, consumed..read)));
            }
            Err(rejection) => {
                let response = rejection.response(Carrier::Upgrade);
                stream.write_all(&response.into_bytes()).await?;
                return Err(rejection.into());
            }
        }
    }
}

/// Writes all that the connection has to transmit.
async fn write_output(
    connection: &mut Connection,
    stream: &mut TcpStream,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    while connection.has_output() {
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = connection.transmit(&mut slices);
        let written = stream.write_vectored(&slices[..filled]).await?;
        connection.transmitted(written);
    }
    Ok(())
}

/// Reads until bytes arrive, and lets the connection act when its timeout has expired. `None` when
/// the connection has ended.
async fn read(
    connection: &mut Connection,
    stream: &mut TcpStream,
    buffer: &mut [u8],
) -> Result<Option<usize>, Box<dyn Error + Send + Sync>> {
    loop {
        let due = connection.poll_timeout();
        let read = async { Some(stream.read(buffer).await) };
        let time = async {
            match due {
                Some(at) => Timer::at(at).await,
                None => Timer::never().await,
            };
            None
        };
        match or(read, time).await {
            Some(Ok(read)) if read > 0 => return Ok(Some(read)),
            None => {
                connection.handle_timeout(Instant::now())?;
                write_output(connection, stream).await?;
            }
            // The end of the stream, or a reset: `Connection::closed` says whether it was clean.
            Some(Ok(_) | Err(_)) => {
                connection.handle_transport_closed(Instant::now());
                return Ok(None);
            }
        }
    }
}
