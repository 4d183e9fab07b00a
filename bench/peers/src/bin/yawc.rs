//! yawc, over hyper as in its own echo server. `--batched` is what its authors call tuned: large
//! buffers, and one flush for up to 32 available messages.

use std::sync::Arc;

use anyhow::Result;
use futures_util::{FutureExt as _, SinkExt as _};
use peers::{Echo, Io};
use yawc::{CompressionLevel, Frame, HttpWebSocket, OpCode, Options, UpgradeFut, WebSocket};

/// How many messages the tuned loop answers with one flush.
const BATCH: usize = 32;

struct Yawc;

impl Echo for Yawc {
    async fn serve(stream: impl Io, options: Arc<peers::Options>) -> Result<()> {
        peers::serve_hyper(stream, |request| {
            let (response, socket) =
                WebSocket::upgrade_with_options(request, yawc_options(&options))?;
            tokio::spawn(serve(socket, options.batched));
            Ok(response)
        })
        .await
    }
}

fn yawc_options(options: &peers::Options) -> Options {
    // The library's limits are exclusive.
    let limit = options.max_message + 1;
    let mut yawc = Options::default().with_limits(limit, 2 * limit);
    if !options.no_deflate {
        yawc = yawc.with_compression_level(CompressionLevel::default());
    }
    if options.batched {
        yawc = yawc
            .with_read_buffer_capacity(128 * 1024)
            .with_backpressure_boundary(64 * 1024);
    }
    yawc
}

async fn serve(socket: UpgradeFut, batched: bool) -> Result<()> {
    let socket = socket.await?;
    if batched {
        echo_batched(socket).await
    } else {
        echo_singly(socket).await
    }
}

async fn echo_singly(mut socket: HttpWebSocket) -> Result<()> {
    loop {
        let frame = socket.next_frame().await?;
        if is_data(&frame) {
            socket.send(frame).await?;
        }
    }
}

async fn echo_batched(mut socket: HttpWebSocket) -> Result<()> {
    loop {
        let mut at_hand = Some(socket.next_frame().await?);
        let mut taken = 0;
        while let Some(frame) = at_hand {
            if is_data(&frame) {
                socket.feed(frame).await?;
            }
            taken += 1;
            if taken == BATCH {
                break;
            }
            at_hand = socket.next_frame().now_or_never().transpose()?;
        }
        socket.flush().await?;
    }
}

fn is_data(frame: &Frame) -> bool {
    matches!(frame.opcode(), OpCode::Text | OpCode::Binary)
}

fn main() -> Result<()> {
    peers::run::<Yawc>()
}
