//! Sends a file of any size as one message, in constant memory at both ends. Try it:
//!
//! ```console
//! $ cargo run --release -p offhook --example file_stream -- receive 127.0.0.1:9002 /tmp/copy &
//! $ cargo run --release -p offhook --example file_stream -- send ws://127.0.0.1:9002 /usr/bin/env
//! $ cmp /usr/bin/env /tmp/copy
//! ```
//!
//! `file_stream receive ADDR PATH` takes one file; `file_stream send URL PATH` sends it and waits
//! until the other end says how much it has written.
#![expect(clippy::print_stdout, reason = "a program with an output")]

use std::error::Error;

use offhook::protocol::{CloseCode, Kind};
use offhook::{Acceptor, Connect};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Read from the file at a time, and sent as a fragment of its own.
const PIECE: usize = 64 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["receive", address, path] => receive(address, path).await,
        ["send", url, path] => send(url, path).await,
        _ => Err("file_stream receive ADDR PATH | file_stream send URL PATH".into()),
    }
}

async fn send(url: &str, path: &str) -> Result<(), Box<dyn Error>> {
    let mut file = File::open(path).await?;
    let mut socket = Connect::to(url).open().await?;
    let mut message = socket.send_stream(Kind::Binary).await?;
    let mut piece = vec![0; PIECE];
    loop {
        let len = file.read(&mut piece).await?;
        if len == 0 {
            break;
        }
        // Waits while the other end does not keep up.
        message.write(&piece[..len]).await?;
    }
    message.finish(&b""[..]).await?;
    if let Some(answer) = socket.recv().await? {
        println!("{answer}");
    }
    socket.close(CloseCode::NORMAL, "").await?;
    Ok(())
}

async fn receive(address: &str, path: &str) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let (stream, _) = listener.accept().await?;
    let mut socket = Acceptor::default().accept(stream).await?;
    let mut file = File::create(path).await?;
    let mut written = 0;
    if let Some(mut message) = socket.recv_stream().await? {
        while let Some(piece) = message.next().await? {
            file.write_all(piece.as_bytes()).await?;
            written += piece.len();
        }
    }
    file.flush().await?;
    socket.send(format!("{written} bytes written")).await?;
    // The sender closes when it has heard that.
    while socket.recv().await?.is_some() {}
    Ok(())
}
