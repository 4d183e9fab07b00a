//! Many WebSockets over one connection. Try it, with a server of its own or with another:
//!
//! ```console
//! $ cargo run -p offhook --features http2 --example http2
//! 100 WebSockets over one connection, each echoed its number
//! $ cargo run -p offhook --features http2 --example http2 -- wss://example.com/echo
//! ```
//!
//! `ws://` means HTTP/2 without TLS here, which the server must be known to speak.
#![expect(clippy::print_stdout, reason = "a program with an output")]

use std::error::Error;

use offhook::protocol::CloseCode;
use offhook::{Connect, Http2, Server};

/// As many as servers allow by default.
const SOCKETS: usize = 100;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => format!("ws://{}/echo", start_echo_server().await?),
    };
    let connection: Http2 = Connect::to(&url).http2().await?;
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();

    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(connection.open(&format!("/{path}")).await?);
    }
    for (number, socket) in sockets.iter().enumerate() {
        socket.send(&*number.to_string()).await?;
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        let message = socket.recv().await?.ok_or("it was closed")?;
        if message.as_text() != Some(&number.to_string()) {
            return Err(format!("socket {number} was told {message:?}").into());
        }
        socket.close(CloseCode::NORMAL, "").await?;
    }
    println!("{SOCKETS} WebSockets over one connection, each echoed its number");
    Ok(())
}

async fn start_echo_server() -> std::io::Result<std::net::SocketAddr> {
    let server = Server::bind("127.0.0.1:0").await?;
    let address = server.local_addr()?;
    tokio::spawn(server.serve(|mut socket| async move {
        while let Some(message) = socket.recv().await? {
            socket.send(message).await?;
        }
        Ok(())
    }));
    Ok(address)
}
