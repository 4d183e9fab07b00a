//! An echo server on one thread. Try it:
//!
//! ```console
//! $ cargo run --release -p offhook --example echo_server -- 127.0.0.1:9001
//! $ cargo run --release -p offhook --example echo_client -- ws://127.0.0.1:9001
//! ```
//!
//! `echo_server ADDR [--each] [--max-message BYTES] [--no-deflate] [--same-origin] [--cert FILE --key FILE]`
//!
//! With `--each` messages are answered where they lie in the read buffer, the fastest way to serve.
//! With `--same-origin` web pages of other hosts are refused, as they are by default; without it any
//! page may connect.
#![expect(clippy::print_stdout, reason = "a program with an output")]

use std::error::Error;

use offhook::protocol::deflate::DeflateConfig;
use offhook::protocol::{Config, Limits};
use offhook::{Acceptor, OriginPolicy, Server, Settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut address = "127.0.0.1:9001".to_owned();
    let mut limits = Limits {
        message_size: 64 << 20,
        ..Limits::default()
    };
    let (mut deflate, mut each) = (true, false);
    let mut origin = OriginPolicy::Any;
    let (mut cert, mut key) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--max-message" => limits.message_size = value()?.parse()?,
            "--no-deflate" => deflate = false,
            "--each" => each = true,
            "--same-origin" => origin = OriginPolicy::SameOrigin,
            "--cert" => cert = Some(value()?),
            "--key" => key = Some(value()?),
            _ => address = argument,
        }
    }
    let mut settings = Settings::default().config(Config {
        limits,
        ..Config::default()
    });
    if deflate {
        settings = settings.deflate(DeflateConfig::default());
    }
    let mut acceptor = Acceptor::default().settings(settings).origin(origin);
    if let (Some(cert), Some(key)) = (cert, key) {
        acceptor = with_tls(acceptor, &cert, &key)?;
    }
    let server = Server::bind(&address).await?.acceptor(acceptor);
    println!("listening on {}", server.local_addr()?);
    if each {
        let serve = server.serve(|mut socket| async move {
            socket
                .each(|message, replies| replies.send(message))
                .await?;
            Ok(())
        });
        return Ok(serve.await?);
    }
    server
        .serve(|mut socket| async move {
            while let Some(message) = socket.recv().await? {
                socket.send(message).await?;
            }
            Ok(())
        })
        .await?;
    Ok(())
}

#[cfg(feature = "tls")]
fn with_tls(acceptor: Acceptor, cert: &str, key: &str) -> Result<Acceptor, Box<dyn Error>> {
    Ok(acceptor.tls_pem(std::fs::read(cert)?, std::fs::read(key)?)?)
}

#[cfg(not(feature = "tls"))]
fn with_tls(_: Acceptor, _: &str, _: &str) -> Result<Acceptor, Box<dyn Error>> {
    Err("built without TLS".into())
}
