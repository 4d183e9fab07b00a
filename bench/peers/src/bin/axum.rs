//! axum's `ws` extractor, over hyper.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use peers::{Echo, Io, Options};

struct Axum;

impl Echo for Axum {
    async fn serve(stream: impl Io, options: Arc<Options>) -> Result<()> {
        let router = Router::new().route("/", any(upgrade)).with_state(options);
        Builder::new(TokioExecutor::new())
            .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router))
            .await
            .map_err(|error| anyhow!(error))
    }
}

async fn upgrade(request: WebSocketUpgrade, State(options): State<Arc<Options>>) -> Response {
    request
        .max_message_size(options.max_message)
        .on_upgrade(echo)
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_))
            && socket.send(message).await.is_err()
        {
            return;
        }
    }
}

fn main() -> Result<()> {
    peers::run::<Axum>()
}
