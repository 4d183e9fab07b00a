//! Passes every WebSocket on to another server, in both directions: messages of any length in
//! constant memory, with backpressure, and the end of one connection with its code to the other.
//!
//! ```text
//! cargo run -p offhook --example bridge -- 127.0.0.1:9001 ws://127.0.0.1:9002/
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example talks to who runs it"
)]

use offhook::{Connect, Error, HandlerResult, Sender, Server, WebSocket};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let target = arguments
        .next()
        .unwrap_or_else(|| "ws://127.0.0.1:9002/".to_owned());
    let server = Server::bind(address)
        .await?
        .on_error(|peer, error| eprintln!("{peer:?}: {error}"));
    println!("listening on {}", server.local_addr()?);
    server
        .serve(move |client| bridge(client, Connect::to(&target)))
        .await?;
    Ok(())
}

pub(crate) async fn bridge(client: WebSocket, target: Connect) -> HandlerResult {
    let server = target.open().await?;
    let (to_client, to_server) = (client.sender(), server.sender());
    let (there, back) = tokio::join!(pass_on(client, &to_server), pass_on(server, &to_client));
    there?;
    back?;
    Ok(())
}

/// Passes on what one connection brings, piece by piece, and how it ends.
async fn pass_on(mut from: WebSocket, to: &Sender) -> Result<(), Error> {
    if pass_on_messages(&mut from, to).await.is_err() {
        // Either it is lost, or the other one ends, which then closes this one. What still comes
        // has nowhere to go.
        while let Ok(Some(_)) = from.recv_stream().await {}
    }
    to.close_as(&from.ended().await)
}

async fn pass_on_messages(from: &mut WebSocket, to: &Sender) -> Result<(), Error> {
    while let Some(mut message) = from.recv_stream().await? {
        let mut writer = to.send_stream(message.kind()).await?;
        loop {
            match message.next().await? {
                Some(piece) if message.is_done() => break writer.finish(piece).await?,
                // Waits while the other side is slow: then nothing more is read here.
                Some(piece) => writer.write(piece).await?,
                None => break writer.end().await?,
            }
        }
    }
    Ok(())
}
