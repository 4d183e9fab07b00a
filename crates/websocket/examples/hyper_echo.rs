//! An echo server in hyper, by HTTP/1.1 and HTTP/2 on one port. Try it:
//!
//! ```console
//! $ cargo run -p offhook --features hyper --example hyper_echo -- 127.0.0.1:9003
//! listening on ws://127.0.0.1:9003
//! $ curl http://127.0.0.1:9003
//! this is a WebSocket endpoint: send Upgrade: websocket
//! $ cargo run -p offhook --features http2 --example http2 -- ws://127.0.0.1:9003
//! ```
#![expect(clippy::print_stdout, reason = "a program with an output")]

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use offhook::{Acceptor, Error};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:9003");
    let listener = TcpListener::bind(address).await?;
    println!("listening on ws://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            // Without this, browsers and other clients of HTTP/2 can't ask for a WebSocket.
            builder.http2().enable_connect_protocol();
            let service = service_fn(answer);
            let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
            // What is wrong with a client's connection is the client's to notice.
            let _ended = served.await;
        });
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (response, opening) = match offhook::hyper::upgrade(&mut request, &Acceptor::default()) {
        Ok(upgraded) => upgraded,
        Err(rejected) => return Ok(rejected.response()),
    };
    tokio::spawn(async move {
        let mut socket = opening.await?;
        while let Some(message) = socket.recv().await? {
            socket.send(message).await?;
        }
        Ok::<_, Error>(())
    });
    Ok(response)
}
