//! tokio-tungstenite; `--batched` feeds all available messages and flushes once.

use std::sync::Arc;

use anyhow::Result;
use peers::{Echo, Io, Options};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{accept_async_with_config, tungstenite::Message};

struct TokioTungstenite;

impl Echo for TokioTungstenite {
    async fn serve(stream: impl Io, options: Arc<Options>) -> Result<()> {
        let config = WebSocketConfig::default().max_message_size(Some(options.max_message));
        let socket = accept_async_with_config(stream, Some(config)).await?;
        peers::echo(socket, options.batched, |message: &Message| {
            message.is_text() || message.is_binary()
        })
        .await
    }
}

fn main() -> Result<()> {
    peers::run::<TokioTungstenite>()
}
