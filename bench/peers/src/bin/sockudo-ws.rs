//! sockudo-ws; `--batched` uses its batching API: it feeds all available messages and flushes once.

use std::sync::Arc;

use anyhow::{Result, bail};
use bytes::{Buf as _, BytesMut};
use peers::{Echo, Io, Options};
use sockudo_ws::deflate::negotiate_server_deflate;
use sockudo_ws::handshake::{build_response, generate_accept_key, parse_request};
use sockudo_ws::{
    CompressedWebSocketStream, Config, DeflateConfig, Message, Role, WebSocketStream,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

struct SockudoWs;

impl Echo for SockudoWs {
    async fn serve(mut stream: impl Io, options: Arc<Options>) -> Result<()> {
        let config = Config::builder()
            .max_payload_length(options.max_message)
            .build();
        let (deflate, rest) = accept(&mut stream, &options).await?;
        let rest = Some(rest.freeze());
        match deflate {
            Some(deflate) => {
                let socket =
                    CompressedWebSocketStream::server_with_leftover(stream, config, deflate, rest);
                peers::echo(socket, options.batched, is_data).await
            }
            None => {
                let socket =
                    WebSocketStream::from_raw_with_leftover(stream, Role::Server, config, rest);
                peers::echo(socket, options.batched, is_data).await
            }
        }
    }
}

/// The opening handshake, done here because the library's own negotiates no compression. Returns
/// the agreed parameters, and the bytes after the request.
async fn accept(
    stream: &mut impl Io,
    options: &Options,
) -> Result<(Option<DeflateConfig>, BytesMut)> {
    let mut buffer = BytesMut::with_capacity(4096);
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            bail!("the client closed the connection");
        }
        let Some((request, length)) = parse_request(&buffer)? else {
            continue;
        };
        let agreed = request
            .extensions
            .filter(|_| !options.no_deflate)
            .and_then(|offers| negotiate_server_deflate(offers, &DeflateConfig::default()));
        let extensions = agreed.as_ref().map(|agreed| agreed.to_response_header());
        let accept = generate_accept_key(request.key);
        stream
            .write_all(&build_response(&accept, None, extensions.as_deref()))
            .await?;
        buffer.advance(length);
        return Ok((agreed.map(|agreed| agreed.config), buffer));
    }
}

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}

fn main() -> Result<()> {
    peers::run::<SockudoWs>()
}
