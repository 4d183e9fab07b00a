//! Lets a client that speaks only HTTP/1.1 talk to a server over HTTP/2, so that suites of tests,
//! which do, can put that path to the test. Try it:
//!
//! ```console
//! $ cargo run -p offhook --features http2 --example echo_server -- 127.0.0.1:9001
//! $ cargo run -p offhook --features http2 --example http2_bridge -- 127.0.0.1:9003 127.0.0.1:9001
//! listening on 127.0.0.1:9003
//! $ cargo run -p offhook --example echo_client -- ws://127.0.0.1:9003
//! ```
//!
//! All WebSockets share one connection, by prior knowledge (RFC 9113 §3.3). Their bytes are not
//! looked at: what is between the handshakes is h2's client and a socket, and nothing of ours.
#![expect(clippy::print_stdout, reason = "a program with an output")]

use std::error::Error;
use std::future::poll_fn;
use std::io;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response};
use offhook::protocol::handshake::accept_for_key;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Longer heads are not a suite's.
const HEAD: usize = 8 * 1024;
/// At least as large as everything in flight, so that windows do not limit the measurement.
const WINDOW: u32 = 1 << 20;

/// What both versions say in the same way (RFC 8441 §5).
const SHARED: [&str; 5] = [
    "origin",
    "user-agent",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("where to listen?")?;
    let server = arguments.next().ok_or("whom to connect to?")?;
    let requests = connect(&server).await?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        let (requests, server) = (requests.clone(), server.clone());
        tokio::spawn(async move {
            if let Err(error) = carry(client, requests, &server).await {
                println!("{error}");
            }
        });
    }
}

async fn connect(server: &str) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let (requests, mut connection) = builder.handshake(stream).await?;
    let mut pings = connection.ping_pong().ok_or("no pings")?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            println!("the connection of HTTP/2 is lost: {error}");
        }
    });
    // RFC 9113 §3.4: SETTINGS come first, so they are known when the pong is there.
    pings.ping(h2::Ping::opaque()).await?;
    Ok(requests)
}

/// One WebSocket, from its handshake to the end of both directions.
async fn carry(mut client: TcpStream, requests: SendRequest<Bytes>, server: &str) -> Result<()> {
    client.set_nodelay(true)?;
    let (request, key, behind) = read_request(&mut client, server).await?;
    let (response, send) = requests.ready().await?.send_request(request, false)?;
    let response = response.await?;
    let answer = answer(&response, &key)?;
    client.write_all(answer.as_bytes()).await?;
    if !response.status().is_success() {
        return Ok(());
    }
    let (from_client, to_client) = client.into_split();
    let up = upward(behind, from_client, send);
    let down = downward(response.into_body(), to_client);
    tokio::try_join!(up, down)?;
    Ok(())
}

/// The request as an extended CONNECT (RFC 8441 §4), its key, and what came behind it.
async fn read_request(
    client: &mut TcpStream,
    server: &str,
) -> Result<(Request<()>, Vec<u8>, Bytes)> {
    let mut bytes = Vec::new();
    loop {
        if client.read_buf(&mut bytes).await? == 0 || bytes.len() > HEAD {
            return Err("no request came".into());
        }
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Request::new(&mut fields);
        let httparse::Status::Complete(length) = head.parse(&bytes)? else {
            continue;
        };
        let path = head.path.ok_or("a request without a target")?;
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(format!("http://{server}{path}"))
            .extension(Protocol::from_static("websocket"));
        let mut key = Vec::new();
        for field in head.headers.iter() {
            let name = field.name.to_ascii_lowercase();
            if SHARED.contains(&&*name) {
                request = request.header(&*name, field.value);
            } else if name == "sec-websocket-key" {
                key = field.value.to_vec();
            }
        }
        return Ok((
            request.body(())?,
            key,
            Bytes::copy_from_slice(&bytes[length..]),
        ));
    }
}

/// The answer as HTTP/1.1 has it (RFC 6455 §4.2.2).
fn answer(response: &Response<RecvStream>, key: &[u8]) -> Result<String> {
    if !response.status().is_success() {
        let status = response.status();
        return Ok(format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n"));
    }
    let accept = accept_for_key(key);
    let accept = str::from_utf8(&accept)?;
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n"
    );
    answer.push_str(&shared(response.headers())?);
    Ok(answer + "\r\n")
}

fn shared(headers: &HeaderMap) -> Result<String> {
    let mut lines = String::new();
    for name in SHARED {
        for value in headers.get_all(name) {
            lines.push_str(&format!("{name}: {}\r\n", value.to_str()?));
        }
    }
    Ok(lines)
}

/// RFC 8441 §5: the end of TCP is `END_STREAM`, its reset `RST_STREAM` with CANCEL.
async fn upward(
    behind: Bytes,
    mut client: OwnedReadHalf,
    mut server: SendStream<Bytes>,
) -> Result<()> {
    send(&mut server, behind).await?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match client.read(&mut buffer).await {
            Ok(0) => {
                // That the server has ended the stream already is no matter.
                let _ended = server.send_data(Bytes::new(), true);
                return Ok(());
            }
            Ok(count) => send(&mut server, Bytes::copy_from_slice(&buffer[..count])).await?,
            Err(_) => {
                server.send_reset(Reason::CANCEL);
                return Ok(());
            }
        }
    }
}

/// Sends as the windows allow. What the server has no use for any more is thrown away.
async fn send(server: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<()> {
    while !bytes.is_empty() {
        server.reserve_capacity(bytes.len());
        while server.capacity() == 0 {
            let Some(Ok(_)) = poll_fn(|cx| server.poll_capacity(cx)).await else {
                return Ok(());
            };
        }
        let part = bytes.split_to(server.capacity().min(bytes.len()));
        if server.send_data(part, false).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn downward(mut server: RecvStream, mut client: OwnedWriteHalf) -> Result<()> {
    while let Some(data) = server.data().await {
        let Ok(data) = data else {
            // Reset: so is the client, as the other direction ends.
            return Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
        };
        server.flow_control().release_capacity(data.len())?;
        client.write_all(&data).await?;
    }
    client.shutdown().await?;
    Ok(())
}
