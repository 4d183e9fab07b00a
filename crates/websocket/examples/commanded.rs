//! A server that does what its clients' messages say, and echoes all others: a peer for tests of
//! clients.
//!
//! ```console
//! $ cargo run -p offhook --example commanded -- 127.0.0.1:9005
//! listening on ws://127.0.0.1:9005
//! ```
//!
//! - `close CODE REASON`: closes.
//! - `messages COUNT BYTES`: sends so many messages of this size.
//! - `deaf`: reads nothing more.
//! - `count`: says how many connections are open.
//!
//! The path `/refused` is refused, `/silent` is never answered.
#![expect(clippy::print_stdout, reason = "a program with an output")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use offhook::{
    Acceptor, CloseCode, HandlerResult, Incoming, OriginPolicy, Refusal, Server, WebSocket,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:9005");
    let acceptor = Acceptor::default()
        .origin(OriginPolicy::Any)
        .subprotocols(["commands"])?;
    let server = Server::bind(address).await?.acceptor(acceptor);
    println!("listening on ws://{}", server.local_addr()?);
    let open = Arc::new(AtomicUsize::new(0));
    server
        .serve_requests(move |incoming| answer(incoming, Arc::clone(&open)))
        .await?;
    Ok(())
}

async fn answer(incoming: Incoming, open: Arc<AtomicUsize>) -> HandlerResult {
    match incoming.request().path() {
        "/refused" => {
            incoming.reject(Refusal::new(403)?).await?;
            Ok(())
        }
        "/silent" => std::future::pending().await,
        _ => {
            let socket = incoming.accept().await?;
            open.fetch_add(1, Ordering::Relaxed);
            let obeyed = obey(socket, &open).await;
            open.fetch_sub(1, Ordering::Relaxed);
            obeyed
        }
    }
}

async fn obey(mut socket: WebSocket, open: &AtomicUsize) -> HandlerResult {
    while let Some(message) = socket.recv().await? {
        let words: Vec<&str> = message.as_text().unwrap_or_default().split(' ').collect();
        match words[..] {
            ["close", code, reason] => {
                socket
                    .sender()
                    .close(CloseCode::new(code.parse()?), reason)?;
            }
            ["messages", count, bytes] => {
                let (count, bytes): (usize, usize) = (count.parse()?, bytes.parse()?);
                for _ in 0..count {
                    socket.send(vec![0; bytes]).await?;
                }
            }
            ["deaf"] => std::future::pending().await,
            ["count"] => {
                let count = open.load(Ordering::Relaxed).to_string();
                socket.send(count).await?;
            }
            _ => socket.send(message).await?,
        }
    }
    Ok(())
}
