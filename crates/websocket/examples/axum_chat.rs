//! A chat room in axum, with its page. Try it, in two windows of a browser:
//!
//! ```console
//! $ cargo run -p offhook --features axum --example axum_chat -- 127.0.0.1:9002
//! listening on http://127.0.0.1:9002
//! ```
//!
//! Every message is framed once, whoever many listen. Who reads too slowly to keep up misses
//! messages, and holds nobody up.
#![expect(clippy::print_stdout, reason = "a program with an output")]

use std::io;

use axum::Router;
use axum::extract::State;
use axum::response::{Html, Response};
use axum::routing::{any, get};
use offhook::axum::Upgrade;
use offhook::protocol::Prepared;
use offhook::{HandlerResult, WebSocket};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// How many messages a slow reader may fall behind before it misses some.
const BACKLOG: usize = 256;

type Room = broadcast::Sender<Prepared>;

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:9002");
    let room: Room = broadcast::Sender::new(BACKLOG);
    let app = Router::new()
        .route("/", get(Html(include_str!("axum_chat.html"))))
        // `any`, not `get`: over HTTP/2 the method is CONNECT.
        .route("/chat", any(join))
        .with_state(room);
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}

async fn join(State(room): State<Room>, upgrade: Upgrade) -> Response {
    upgrade.on_upgrade(|socket| chat(socket, room))
}

async fn chat(mut socket: WebSocket, room: Room) -> HandlerResult {
    let mut messages = room.subscribe();
    let sender = socket.sender();
    loop {
        tokio::select! {
            received = socket.recv() => match received? {
                Some(message) => {
                    // It fails only if nobody listens, and we do.
                    let _listeners = room.send(Prepared::new(message));
                }
                None => return Ok(()),
            },
            said = messages.recv() => match said {
                Ok(message) => sender.send(&message).await?,
                Err(RecvError::Lagged(missed)) => {
                    sender.send(&*format!("({missed} messages missed)")).await?;
                }
                Err(RecvError::Closed) => return Ok(()),
            },
        }
    }
}
