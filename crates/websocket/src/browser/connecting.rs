//! Opening a connection.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use js_sys::Array;
use wasm_bindgen::JsValue;

use super::{Shared, registry};
use crate::connect::Connect;
use crate::error::{Error, Phase, UrlError};
use crate::sender::Sender;
use crate::socket::WebSocket;
use crate::time::sleep;

/// Requests a connection from the browser. Dropping the future closes what it opened.
pub(crate) async fn open(connect: &Connect) -> Result<WebSocket, Error> {
    let shared = Arc::new(Shared::new(connect.limits));
    let socket = begin(connect, &shared)?;
    let to: Box<str> = without_query(&connect.url).into();
    let mut late = pin!(sleep(connect.timeout));
    let opened = poll_fn(|cx| {
        if let Poll::Ready(opened) = shared.lock().poll_opened(cx) {
            return Poll::Ready(Some(opened));
        }
        late.as_mut().poll(cx).map(|()| None)
    })
    .await;
    match opened {
        Some(true) => socket.agreed(connect),
        Some(false) => Err(Error::Connect {
            to,
            source: io::Error::other("the browser does not say why; its console may"),
        }),
        None => Err(Error::Timeout {
            phase: Phase::Handshake,
            to,
        }),
    }
}

fn begin(connect: &Connect, shared: &Arc<Shared>) -> Result<WebSocket, Error> {
    let protocols: Array = connect
        .subprotocols
        .iter()
        .map(|name| JsValue::from_str(name))
        .collect();
    let socket = web_sys::WebSocket::new_with_str_sequence(&connect.url, &protocols);
    // The browser throws for an invalid URL, for a subprotocol that is not a token or is repeated,
    // and for ws:// in a page loaded by https://.
    let socket = socket.map_err(|_| {
        Error::Url(UrlError {
            url: without_query(&connect.url).into(),
            reason: "the browser rejects this URL or these subprotocols in this page",
        })
    })?;
    let key = registry::keep(socket, shared);
    let sender = Sender::new(key, Arc::clone(shared), connect.send_buffer);
    Ok(WebSocket::new(sender))
}

/// For errors: a query may hold secrets.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}
