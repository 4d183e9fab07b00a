//! Upgrades in servers built with hyper.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use offhook::hyper::{Rejected, Upgrade, upgrade};
use offhook::{Acceptor, Connect, Error, HttpVersion, Refusal};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::http2_peer::{assert_echoes, echo};
use crate::scripted::to;

type Answer = Result<Response<Full<Bytes>>, Infallible>;

/// First reports whether it has the peer's socket itself, then echoes.
async fn answer(mut request: Request<Incoming>) -> Answer {
    let (response, opening) = match upgrade(&mut request, &Acceptor::default()) {
        Ok(upgraded) => upgraded,
        Err(rejected) => return Ok(rejected.response()),
    };
    tokio::spawn(async move {
        let socket = opening.await?;
        let plain = socket.peer_addr().is_some();
        socket.send(if plain { "plain" } else { "boxed" }).await?;
        echo(socket).await
    });
    Ok(response)
}

#[derive(Clone, Copy)]
enum Kind {
    Http1,
    Http1WithoutUpgrades,
    Both,
}

async fn serve(kind: Kind) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve_one(kind, stream));
        }
    });
    address
}

async fn serve_one(kind: Kind, stream: TcpStream) {
    let io = TokioIo::new(stream);
    let service = service_fn(answer);
    match kind {
        Kind::Http1 => {
            let connection = http1::Builder::new().serve_connection(io, service);
            connection.with_upgrades().await.unwrap();
        }
        Kind::Http1WithoutUpgrades => {
            let connection = http1::Builder::new().serve_connection(io, service);
            connection.await.ok();
        }
        Kind::Both => {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http2().enable_connect_protocol();
            let connection = builder.serve_connection_with_upgrades(io, service);
            connection.await.ok();
        }
    }
}

fn connect(address: SocketAddr, version: HttpVersion) -> Connect {
    to(format!("ws://{address}/")).version(version)
}

#[tokio::test]
async fn the_websocket_has_the_tcp_stream_itself_from_either_of_hypers_servers() {
    for kind in [Kind::Http1, Kind::Both] {
        let address = serve(kind).await;
        let mut socket = connect(address, HttpVersion::Http1).open().await.unwrap();
        let first = socket.recv().await.unwrap().unwrap();
        assert_eq!(first.as_text(), Some("plain"));
        assert_echoes(&mut socket, "hello").await;
    }
}

#[tokio::test]
async fn many_websockets_share_a_connection_of_http_2() {
    let address = serve(Kind::Both).await;
    let connection = connect(address, HttpVersion::Http2).http2().await.unwrap();
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let mut socket = connection.open("/").await.unwrap();
        let first = socket.recv().await.unwrap().unwrap();
        assert_eq!(first.as_text(), Some("boxed"));
        sockets.push(socket);
    }
    for socket in &mut sockets {
        assert_echoes(socket, "hello").await;
    }
    for mut socket in sockets {
        let closed = socket.close(1000.into(), "").await.unwrap();
        assert!(closed.clean, "{closed:?}");
    }
}

#[tokio::test]
async fn a_large_message_is_sent_in_both_directions_over_http_2() {
    let address = serve(Kind::Both).await;
    let mut socket = connect(address, HttpVersion::Http2).open().await.unwrap();
    socket.recv().await.unwrap();
    let sent = vec![7; 1 << 20];
    let sender = socket.sender();
    let message = sent.clone();
    let sending = tokio::spawn(async move { sender.send(&message[..]).await });
    let received = socket.recv().await.unwrap().unwrap();
    assert!(received.as_bytes() == sent, "it came back changed");
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_page_of_another_origin_is_answered_with_403() {
    let address = serve(Kind::Both).await;
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let foreign = connect(address, version).origin("https://elsewhere.example");
        let error = foreign.open().await.unwrap_err();
        assert!(
            matches!(&error, Error::Refused(no) if no.status() == 403),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_server_without_upgrades_ends_the_connection_it_cannot_hand_over() {
    let address = serve(Kind::Http1WithoutUpgrades).await;
    let opened = connect(address, HttpVersion::Http1).open().await;
    // hyper has sent the response by then; the end of the connection follows.
    let ended = match opened {
        Ok(mut socket) => socket.recv().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(ended, Error::Lost(_)), "{ended:?}");
}

#[tokio::test]
async fn a_request_without_its_upgrade_extension_is_an_error_of_the_server() {
    let mut request = Request::get("/")
        .header("host", "a.example")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(())
        .unwrap();
    let rejected: Rejected = Upgrade::of(&mut request, &Acceptor::default()).unwrap_err();
    assert!(rejected.rejection().is_none());
    let response: Response<Full<Bytes>> = rejected.response();
    assert_eq!(response.status(), 500);
}

#[tokio::test]
async fn the_application_may_refuse_and_add_headers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|mut request: Request<Incoming>| async move {
                let upgrade = Upgrade::of(&mut request, &Acceptor::default()).unwrap();
                assert_eq!(upgrade.request().path(), "/secret");
                let refusal = Refusal::new(401).unwrap();
                let refusal = refusal.header("WWW-Authenticate", "Basic").unwrap();
                Answer::Ok(upgrade.reject(refusal))
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move {
                let connection =
                    builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                connection.await.ok();
            });
        }
    });
    let error = to(format!("ws://{address}/secret"))
        .open()
        .await
        .unwrap_err();
    let Error::Refused(refused) = error else {
        panic!("{error:?}");
    };
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers().get_str("www-authenticate"), Some("Basic"));
}

#[tokio::test]
async fn a_unix_socket_can_be_upgraded() {
    let folder = std::env::temp_dir().join(format!("offhook-hyper-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
        connection.with_upgrades().await.unwrap();
    });
    let connect = to("ws://a.example/").unix(&path);
    let mut socket = connect.open().await.unwrap();
    socket.recv().await.unwrap();
    assert_echoes(&mut socket, "hello").await;
    std::fs::remove_dir_all(&folder).ok();
}
