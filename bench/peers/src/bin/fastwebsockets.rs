//! fastwebsockets, over hyper as in its own echo server. It has no API for batching.

use std::sync::Arc;

use anyhow::Result;
use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use fastwebsockets::{FragmentCollector, OpCode, WebSocketError};
use peers::{Echo, Io, Options};

struct FastWebsockets;

impl Echo for FastWebsockets {
    async fn serve(stream: impl Io, options: Arc<Options>) -> Result<()> {
        peers::serve_hyper(stream, |mut request| {
            let (response, socket) = upgrade(&mut request)?;
            tokio::spawn(tokio::task::unconstrained(echo(
                socket,
                options.max_message,
            )));
            Ok(response)
        })
        .await
    }
}

async fn echo(socket: UpgradeFut, max_message: usize) -> Result<(), WebSocketError> {
    let mut socket = socket.await?;
    socket.set_max_message_size(max_message);
    let mut socket = FragmentCollector::new(socket);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
        }
    }
}

fn main() -> Result<()> {
    peers::run::<FastWebsockets>()
}
