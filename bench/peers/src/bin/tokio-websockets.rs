//! tokio-websockets. It cannot batch within one task, because reading flushes what is queued.

use std::sync::Arc;

use anyhow::Result;
use peers::{Echo, Io, Options};
use tokio_websockets::{Limits, Message, ServerBuilder};

struct TokioWebsockets;

impl Echo for TokioWebsockets {
    async fn serve(stream: impl Io, options: Arc<Options>) -> Result<()> {
        let limits = Limits::default().max_payload_len(Some(options.max_message));
        let (_request, socket) = ServerBuilder::new().limits(limits).accept(stream).await?;
        peers::echo(socket, false, |message: &Message| {
            message.is_text() || message.is_binary()
        })
        .await
    }
}

fn main() -> Result<()> {
    peers::run::<TokioWebsockets>()
}
