//! Puts an echo server of anybody's to the test, one connection a check. The exit status is 0 only if each
//! passed.
//!
//! ```console
//! $ cargo run --release -p offhook --example echo_server -- 127.0.0.1:9001
//! $ cargo run --release -p offhook --example echo_check -- ws://127.0.0.1:9001
//! ok text
//! ```
//!
//! `echo_check URL [--ca FILE] [--deflate] [--told-to-close]`
//!
//! With `--deflate` the server must agree to compress. With `--told-to-close` it must close with 4001
//! and "as asked" on the message "close".
#![expect(clippy::print_stdout, reason = "a program with an output")]

use std::error::Error;

use offhook::protocol::deflate::DeflateConfig;
use offhook::protocol::{CloseCode, Kind};
use offhook::{Connect, Message, WebSocket};

type Checked = Result<(), Box<dyn Error>>;

const MEBIBYTE: usize = 1 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Checked {
    let mut arguments = std::env::args().skip(1);
    let mut connect = Connect::to(arguments.next().ok_or("whom to connect to?")?);
    let (mut deflate, mut told_to_close) = (false, false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--ca" => connect = trusting(connect, &arguments.next().ok_or("--ca needs a file")?)?,
            "--deflate" => deflate = true,
            "--told-to-close" => told_to_close = true,
            other => return Err(format!("unknown: {other}").into()),
        }
    }
    if deflate {
        connect = connect.deflate(DeflateConfig::default());
    }
    let mut socket = connect.clone().open().await?;
    if deflate && socket.deflate().is_none() {
        return Err("the server declined permessage-deflate".into());
    }
    messages(&mut socket).await?;
    socket.ping().await?;
    println!("ok ping");
    closing(socket).await?;
    if told_to_close {
        closed_by_the_server(connect.open().await?).await?;
    }
    Ok(())
}

async fn messages(socket: &mut WebSocket) -> Checked {
    echoed(socket, "text", "Grüße, 世界 👋".into()).await?;
    echoed(socket, "an empty text", "".into()).await?;
    echoed(socket, "binary", vec![0, 1, 254, 255].into()).await?;
    let long: Vec<u8> = (0..MEBIBYTE).map(|i| (i * 31 % 251) as u8).collect();
    echoed(socket, "1 MiB", long.into()).await?;

    let mut message = socket.send_stream(Kind::Text).await?;
    message.write("one, ").await?;
    message.write("two, ").await?;
    message.finish("three").await?;
    expect(socket, "fragments", &"one, two, three".into()).await
}

async fn echoed(socket: &mut WebSocket, name: &str, message: Message) -> Checked {
    socket.send(message.clone()).await?;
    expect(socket, name, &message).await
}

async fn expect(socket: &mut WebSocket, name: &str, message: &Message) -> Checked {
    let answer = socket.recv().await?.ok_or(format!("{name}: closed"))?;
    if answer != *message {
        return Err(format!("{name}: the echo is another message").into());
    }
    println!("ok {name}");
    Ok(())
}

/// RFC 6455 §5.5.1: the other end typically echoes the code; it may answer with another.
async fn closing(mut socket: WebSocket) -> Checked {
    let closed = socket.close(CloseCode::new(3000), "done").await?;
    if !closed.clean {
        return Err(format!("not a clean close: {closed:?}").into());
    }
    println!("ok close, answered with {}", closed.code);
    Ok(())
}

async fn closed_by_the_server(mut socket: WebSocket) -> Checked {
    socket.send("close").await?;
    if let Some(message) = socket.recv().await? {
        return Err(format!("received {message} where a close was due").into());
    }
    let closed = socket.closed().ok_or("it is not closed")?;
    if closed.code != CloseCode::new(4001) || &*closed.reason != "as asked" || !closed.clean {
        return Err(format!("{closed:?}").into());
    }
    println!("ok closed by the server with 4001");
    Ok(())
}

#[cfg(feature = "tls")]
fn trusting(connect: Connect, authority: &str) -> Result<Connect, Box<dyn Error>> {
    let pem = std::fs::read(authority)?;
    Ok(connect.tls(offhook::Tls::builder().root_pem(&pem)?.build()?))
}

#[cfg(not(feature = "tls"))]
fn trusting(_: Connect, _: &str) -> Result<Connect, Box<dyn Error>> {
    Err("built without TLS".into())
}
