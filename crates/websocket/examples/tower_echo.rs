//! An echo server as a tower service, served by hyper over HTTP/1.1 and HTTP/2 on one port. Try it:
//!
//! ```console
//! $ cargo run -p offhook --features tower --example tower_echo -- 127.0.0.1:9004
//! listening on ws://127.0.0.1:9004
//! $ cargo run -p offhook --example echo_client -- ws://127.0.0.1:9004
//! ```
#![expect(clippy::print_stdout, reason = "a program with an output")]

use std::io;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use offhook::tower::Upgrades;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:9004");
    let listener = TcpListener::bind(address).await?;
    println!("listening on ws://{}", listener.local_addr()?);
    let echo = Upgrades::new(|upgrade| async move {
        upgrade.on_upgrade::<Full<Bytes>, _, _>(|mut socket| async move {
            while let Some(message) = socket.recv().await? {
                socket.send(message).await?;
            }
            Ok(())
        })
    });
    loop {
        let (stream, _) = listener.accept().await?;
        // Any layer of tower fits around the service here.
        let service = TowerToHyperService::new(echo.clone());
        tokio::spawn(async move {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            // Without this, browsers and other clients of HTTP/2 can't ask for a WebSocket.
            builder.http2().enable_connect_protocol();
            let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
            // What is wrong with a client's connection is the client's to notice.
            let _ended = served.await;
        });
    }
}
