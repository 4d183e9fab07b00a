//! Tests of the client for wasm32. Each function is a test, called by `wasm.test.js` in a page and
//! in a worker; `url` is the URL of the example server `commanded`.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;
use offhook::{
    CloseCode, ClosedBy, Connect, Error, Limits, Message, ReadyState, Reconnecting, Update,
    WebSocket,
};
use wasm_bindgen::prelude::*;

/// The error of a failed test.
type Outcome = Result<(), String>;

fn same<T: PartialEq + Debug>(seen: T, expected: T) -> Outcome {
    if seen == expected {
        Ok(())
    } else {
        Err(format!("{seen:?}, not {expected:?}"))
    }
}

fn holds(is_so: bool, what: &str) -> Outcome {
    if is_so { Ok(()) } else { Err(what.to_owned()) }
}

async fn connect(url: &str) -> Result<WebSocket, String> {
    offhook::connect(url).await.map_err(told)
}

fn told(error: Error) -> String {
    format!("{error:?}")
}

async fn next(socket: &mut WebSocket) -> Result<Message, String> {
    socket
        .recv()
        .await
        .map_err(told)?
        .ok_or("it was closed".into())
}

async fn echoed(socket: &mut WebSocket, message: impl Into<Message>) -> Outcome {
    let message = message.into();
    socket.send(&message).await.map_err(told)?;
    holds(next(socket).await? == message, "it came back changed")
}

/// The client of the library's front page, in a browser.
#[wasm_bindgen]
pub async fn echoes_text_and_bytes_in_order_and_closes_in_order(url: String) -> Outcome {
    let mut socket = connect(&url).await?;
    same(socket.state(), ReadyState::Open)?;
    echoed(&mut socket, "").await?;
    echoed(&mut socket, "hello, wörld \u{1f980}").await?;
    echoed(&mut socket, &b"\0\xff"[..]).await?;
    echoed(&mut socket, vec![7; 1024 * 1024]).await?;
    for n in 0..100 {
        socket.send(n.to_string()).await.map_err(told)?;
    }
    for n in 0..100 {
        same(next(&mut socket).await?, n.to_string().into())?;
    }
    let closed = socket
        .close(CloseCode::new(4001), "done")
        .await
        .map_err(told)?;
    same(
        (closed.code, closed.by, closed.clean),
        (CloseCode::new(4001), ClosedBy::Local, true),
    )?;
    same(socket.recv().await.map_err(told)?, None)?;
    let late = socket.send("late").await;
    holds(matches!(late, Err(Error::Closed(_))), "sent after the end")
}

#[wasm_bindgen]
pub async fn tells_how_the_server_closed(url: String) -> Outcome {
    let mut socket = connect(&url).await?;
    socket.send("close 4002 over").await.map_err(told)?;
    same(socket.recv().await.map_err(told)?, None)?;
    let closed = socket.closed().ok_or("it is not closed")?;
    same(
        (closed.code, closed.by, closed.clean),
        (CloseCode::new(4002), ClosedBy::Remote, true),
    )?;
    same(&*closed.reason, "over")
}

#[wasm_bindgen]
pub async fn a_server_that_refuses_and_a_url_that_is_none_are_told_apart(url: String) -> Outcome {
    let error = offhook::connect(format!("{url}refused")).await.err();
    holds(matches!(error, Some(Error::Connect { .. })), "not refused")?;
    let error = offhook::connect("ftp://nowhere.example/").await.err();
    holds(
        matches!(error, Some(Error::Url(_))),
        "no URL, and yet taken",
    )
}

#[wasm_bindgen]
pub async fn a_server_that_does_not_answer_is_given_up(url: String) -> Outcome {
    let connect = Connect::to(format!("{url}silent")).handshake_timeout(Duration::from_millis(50));
    let error = connect.open().await.err();
    holds(matches!(error, Some(Error::Timeout { .. })), "not given up")
}

#[wasm_bindgen]
pub async fn subprotocols_are_agreed_on(url: String) -> Outcome {
    let connect = Connect::to(&url)
        .subprotocol("other")
        .subprotocol("commands");
    let socket = connect.require_subprotocol().open().await.map_err(told)?;
    same(socket.protocol().as_deref(), Some("commands"))
}

#[wasm_bindgen]
pub async fn a_message_over_the_limit_ends_the_connection(url: String) -> Outcome {
    let limits = Limits {
        message_size: 1_000,
        ..Limits::default()
    };
    let mut socket = Connect::to(&url)
        .limits(limits)
        .open()
        .await
        .map_err(told)?;
    socket.send("messages 1 2000").await.map_err(told)?;
    let error = socket.recv().await.err();
    holds(matches!(error, Some(Error::Peer(_))), "it was received")?;
    same(socket.recv().await.map_err(told)?, None)?;
    same(socket.ended().await.code, CloseCode::new(4009))
}

#[wasm_bindgen]
pub async fn what_is_never_received_is_held_up_to_a_bound(url: String) -> Outcome {
    let connect = Connect::to(&url).receive_buffer(100_000);
    let mut socket = connect.open().await.map_err(told)?;
    socket.send("messages 100 10000").await.map_err(told)?;
    same(socket.ended().await.code, CloseCode::new(4009))?;
    let mut received = 0;
    let error = loop {
        match socket.recv().await {
            Ok(Some(message)) => received += message.len(),
            Ok(None) => return Err("it ended without an error".into()),
            Err(error) => break error,
        }
    };
    holds(matches!(error, Error::Unread), "another error")?;
    holds(
        (80_000..=100_000).contains(&received),
        "not as much as was to be held",
    )
}

#[wasm_bindgen]
pub async fn a_sender_waits_for_a_server_that_does_not_read(url: String) -> Outcome {
    let connect = Connect::to(&url).send_buffer(64 * 1024);
    let socket = connect.open().await.map_err(told)?;
    socket.send("deaf").await.map_err(told)?;
    let message = vec![7; 32 * 1024];
    // Fills the buffers of two sockets, and then the browser's own.
    for _ in 0..4_096 {
        match socket.try_send(&message) {
            Ok(()) => {}
            Err(Error::Full) => break,
            Err(error) => return Err(told(error)),
        }
        // Not within one turn of the event loop, in which the browser sends nothing.
        turn().await;
    }
    let full = socket.buffered_amount();
    holds((64 * 1024..128 * 1024).contains(&full), "another bound")?;
    let mut sending = pin!(socket.send(&message));
    let waits = poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_pending())).await;
    holds(waits, "it did not wait")
}

#[wasm_bindgen]
pub async fn dropping_a_connection_closes_it(url: String) -> Outcome {
    let mut other = connect(&url).await?;
    let dropped = connect(&url).await?;
    let sender = dropped.sender();
    drop(dropped);
    holds(sender.send("late").await.is_err(), "sent after the end")?;
    same(sender.state(), ReadyState::Closed)?;
    // The server sees it slightly later.
    loop {
        other.send("count").await.map_err(told)?;
        if next(&mut other).await? == "1".into() {
            return Ok(());
        }
    }
}

#[wasm_bindgen]
pub async fn it_is_a_stream_and_its_senders_are_clones(url: String) -> Outcome {
    let (sender, mut socket) = connect(&url).await?.split();
    let clone = sender.clone();
    holds(sender == clone, "two senders of one connection")?;
    clone.try_send("one").map_err(told)?;
    sender.put("two").map_err(told)?;
    for expected in ["one", "two"] {
        let received = poll_fn(|cx| Pin::new(&mut socket).poll_next(cx)).await;
        same(received.transpose().map_err(told)?, Some(expected.into()))?;
    }
    sender.flush().await.map_err(told)?;
    same(sender.buffered_amount(), 0)?;
    let forbidden = sender.close(CloseCode::GOING_AWAY, "");
    holds(forbidden.is_err(), "browsers send no 1001")
}

#[wasm_bindgen]
pub async fn a_connection_comes_back_after_a_close_that_does_not_say_never(url: String) -> Outcome {
    let mut feed = reconnecting(&url);
    feed.send("kept").await.map_err(told)?;
    same(feed.recv().await.map_err(told)?, Some("kept".into()))?;
    feed.send("close 1012 restart").await.map_err(told)?;
    let mut lost = None;
    loop {
        match feed.next().await.ok_or("given up")? {
            Update::Lost { cause, .. } => lost = cause.close_code(),
            Update::Open(_) => break,
            _ => {}
        }
    }
    same(lost, Some(CloseCode::SERVICE_RESTART))?;
    feed.send("again").await.map_err(told)?;
    same(feed.recv().await.map_err(told)?, Some("again".into()))?;
    feed.close(CloseCode::NORMAL, "").await.map_err(told)?;
    holds(feed.next().await.is_none(), "it came back after its end")
}

/// `lost` is called when the connection is lost; it kills and restarts the server.
#[wasm_bindgen]
pub async fn a_connection_comes_back_after_its_server(
    url: String,
    opened: &js_sys::Function,
) -> Outcome {
    let mut feed = reconnecting(&url);
    let (mut times, mut lost) = (0, false);
    loop {
        match feed.next().await.ok_or("given up")? {
            Update::Open(_) => {
                times += 1;
                feed.send(format!("connection {times}"))
                    .await
                    .map_err(told)?;
            }
            Update::Message(message) if message.as_text() == Some("connection 1") => {
                opened
                    .call0(&JsValue::UNDEFINED)
                    .map_err(|error| format!("{error:?}"))?;
            }
            Update::Message(message) => {
                holds(lost, "it was never lost")?;
                return same(message, format!("connection {times}").into());
            }
            Update::Lost { cause, .. } => lost = matches!(cause, Error::Lost(_)),
            _ => {}
        }
    }
}

fn reconnecting(url: &str) -> Reconnecting {
    let mut backoff = offhook::Backoff::default();
    backoff.first = Duration::from_millis(10);
    backoff.cap = Duration::from_millis(100);
    Connect::to(url).reconnecting().backoff(backoff)
}

/// Yields to the browser until the next turn of its event loop.
async fn turn() {
    let channel = js_sys::Promise::new(&mut |resolve, _| {
        let set = js_sys::Reflect::get(&js_sys::global(), &"setTimeout".into());
        if let Ok(set) = set.and_then(JsCast::dyn_into::<js_sys::Function>) {
            set.call2(&JsValue::UNDEFINED, &resolve, &0.into()).ok();
        }
    });
    wasm_bindgen_futures::JsFuture::from(channel).await.ok();
}
