//! The extractor, in servers built with axum.

use std::net::SocketAddr;

use axum::extract::Path;
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use offhook::axum::Upgrade;
use offhook::protocol::deflate::DeflateConfig;
use offhook::{
    Acceptor, CloseCode, Connect, Error, HttpVersion, Limits, OriginPolicy, Refusal, Settings,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http2_peer::{assert_echoes, echo, raw_client};
use crate::scripted::to;

/// First reports whether it has the peer's socket itself, then echoes.
async fn room(Path(room): Path<String>, upgrade: Upgrade) -> Response {
    assert_eq!(upgrade.request().path(), format!("/room/{room}"));
    if room == "closed" {
        return upgrade.reject(Refusal::new(404).unwrap().body("no such room"));
    }
    upgrade
        .protocols(["chat.v2", "chat.v1"])
        .on_upgrade(|socket| async move {
            let plain = socket.peer_addr().is_some();
            socket.send(if plain { "plain" } else { "boxed" }).await?;
            echo(socket).await
        })
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn app() -> Router {
    Router::new().route("/room/{room}", any(room))
}

fn connect(address: SocketAddr, version: HttpVersion) -> Connect {
    to(format!("ws://{address}/room/7")).version(version)
}

#[tokio::test]
async fn over_http_1_1_the_websocket_has_the_tcp_stream_itself() {
    let address = serve(app()).await;
    let connect = connect(address, HttpVersion::Http1);
    let mut socket = connect.open().await.unwrap();
    let first = socket.recv().await.unwrap().unwrap();
    assert_eq!(first.as_text(), Some("plain"));
    assert_echoes(&mut socket, "hello").await;
}

#[tokio::test]
async fn over_http_2_it_is_a_stream_on_the_same_port() {
    let address = serve(app()).await;
    let connection = connect(address, HttpVersion::Http2).http2().await.unwrap();
    for room in 0..10 {
        let target = format!("/room/{room}");
        let mut socket = connection.open(&target).await.unwrap();
        let first = socket.recv().await.unwrap().unwrap();
        assert_eq!(first.as_text(), Some("boxed"));
        assert_echoes(&mut socket, "hello").await;
        let closed = socket.close(1000.into(), "").await.unwrap();
        assert!(closed.clean, "{closed:?}");
    }
}

#[tokio::test]
async fn the_clients_order_decides_among_supported_subprotocols() {
    let address = serve(app()).await;
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let offer = |names: &[&str]| {
            let connect = connect(address, version);
            names
                .iter()
                .fold(connect, |connect, name| connect.subprotocol(name))
        };
        let socket = offer(&["other", "chat.v1", "chat.v2"])
            .open()
            .await
            .unwrap();
        assert_eq!(socket.protocol(), Some("chat.v1"));
        let socket = offer(&["other"]).open().await.unwrap();
        assert_eq!(socket.protocol(), None);
    }
}

#[tokio::test]
async fn bytes_right_after_the_request_are_not_lost() {
    let address = serve(app()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /room/7 HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n"
    );
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let close = b"\x88\x80\x00\x00\x00\x00";
    let all = [head.as_bytes(), hello, close].concat();
    stream.write_all(&all).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    assert!(
        answer.ends_with(b"\x81\x05plain\x81\x05Hello\x88\x00"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn each_rejection_has_its_status() {
    let address = serve(app()).await;
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let foreign = connect(address, version).origin("https://elsewhere.example");
        let error = foreign.open().await.unwrap_err();
        assert!(
            matches!(&error, Error::Refused(no) if no.status() == 403),
            "{error:?}"
        );
        let own = connect(address, version).origin(format!("http://{address}"));
        own.open().await.unwrap();
        let closed = to(format!("ws://{address}/room/closed")).version(version);
        let error = closed.open().await.unwrap_err();
        let Error::Refused(refused) = error else {
            panic!("{error:?}");
        };
        assert_eq!(
            (refused.status(), refused.body()),
            (404, &b"no such room"[..])
        );
    }
}

#[tokio::test]
async fn an_ordinary_get_is_answered_with_an_explanation() {
    let address = serve(app()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let get = format!("GET /room/7 HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(get.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    assert!(
        answer.to_lowercase().contains("\r\nupgrade: websocket\r\n"),
        "{answer}"
    );

    let mut requests = raw_client(TcpStream::connect(address).await.unwrap()).await;
    let get = http::Request::get(format!("http://{address}/room/7"))
        .body(())
        .unwrap();
    let (response, _send) = requests.send_request(get, true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "CONNECT");
}

#[tokio::test]
async fn an_acceptor_in_the_extensions_is_used() {
    let acceptor = Acceptor::default()
        .origin(OriginPolicy::Any)
        .settings(Settings::default().deflate(DeflateConfig::default()));
    let address = serve(app().layer(Extension(acceptor))).await;
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let connect = connect(address, version)
            .origin("https://elsewhere.example")
            .deflate(DeflateConfig::default());
        let mut socket = connect.open().await.unwrap();
        assert!(socket.deflate().is_some());
        socket.recv().await.unwrap();
        assert_echoes(&mut socket, &"hello".repeat(1000)).await;
    }
}

/// Sends a long message and returns without waiting for it to be written.
async fn last_words(Path(room): Path<String>, upgrade: Upgrade) -> Response {
    upgrade.on_upgrade(move |socket| async move {
        socket.send(vec![7; 8 << 20]).await?;
        match &*room {
            "failing" => Err("as was asked for".into()),
            _ => Ok(()),
        }
    })
}

#[tokio::test]
async fn when_a_handler_returns_everything_sent_is_delivered_and_the_connection_closed() {
    let address = serve(Router::new().route("/room/{room}", any(last_words))).await;
    let limits = Limits {
        message_size: 16 << 20,
        ..Limits::default()
    };
    let cases = [
        ("7", CloseCode::NORMAL),
        ("failing", CloseCode::INTERNAL_ERROR),
    ];
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        for (room, code) in cases {
            let connect = to(format!("ws://{address}/room/{room}")).version(version);
            let mut client = connect.limits(limits).open().await.unwrap();
            let message = client.recv().await.unwrap().unwrap();
            assert!(message.as_bytes() == vec![7; 8 << 20]);
            assert_eq!(client.recv().await.unwrap(), None);
            let closed = client.closed().unwrap();
            assert_eq!((closed.code, closed.clean), (code, true));
        }
    }
}
