//! The HTTP version over TLS, as determined by ALPN and SETTINGS.

use std::sync::Arc;

use offhook::protocol::handshake::Carrier;
use offhook::{Acceptor, Connect, Error, HttpVersion};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::authority::{Authority, Identity, server_config};
use crate::http2_peer::{assert_echoes, echo};
use crate::scripted::{Reply, converse, to};

fn config(identity: &Identity) -> ServerConfig {
    server_config()
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.key())
        .unwrap()
}

/// A server built with this library, which reports the carrier of each request.
async fn ours(acceptor: Acceptor) -> (u16, mpsc::Receiver<Carrier>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, carriers) = mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, told) = (acceptor.clone(), told.clone());
            tokio::spawn(async move {
                let mut requests = acceptor.requests(stream).await.unwrap();
                while let Some(Ok(incoming)) = requests.next().await {
                    told.send(incoming.request().carrier()).await.unwrap();
                    tokio::spawn(async move { echo(incoming.accept().await.unwrap()).await });
                }
            });
        }
    });
    (port, carriers)
}

fn localhost(port: u16, authority: &Authority) -> Connect {
    to(format!("wss://localhost:{port}/")).tls(authority.tls())
}

#[tokio::test]
async fn alpn_and_settings_select_http_2_and_http_1_1_can_be_requested() {
    let authority = Authority::new();
    let tls = Arc::new(config(&authority.server("localhost")));
    let (port, mut carriers) = ours(Acceptor::default().tls(tls)).await;
    for (version, carrier) in [
        (HttpVersion::Any, Carrier::ExtendedConnect),
        (HttpVersion::Http2, Carrier::ExtendedConnect),
        (HttpVersion::Http1, Carrier::Upgrade),
    ] {
        let connect = localhost(port, &authority).version(version);
        let mut socket = connect.open().await.unwrap();
        assert_eq!(carriers.recv().await, Some(carrier), "{version:?}");
        assert_echoes(&mut socket, "hello").await;
    }
}

#[tokio::test]
async fn many_sockets_share_one_connection_over_tls() {
    let authority = Authority::new();
    let tls = Arc::new(config(&authority.server("localhost")));
    let (port, mut carriers) = ours(Acceptor::default().tls(tls)).await;
    let connection = localhost(port, &authority).http2().await.unwrap();
    for _ in 0..3 {
        let mut socket = connection.open("/").await.unwrap();
        assert_eq!(carriers.recv().await, Some(Carrier::ExtendedConnect));
        assert_echoes(&mut socket, "hello").await;
    }
}

#[tokio::test]
async fn with_a_server_of_http_1_1_only_the_same_connection_is_used() {
    let authority = Authority::new();
    let tls = Arc::new(config(&authority.server("localhost")));
    let acceptor = Acceptor::default().tls(tls).http1_only();
    let (port, mut carriers) = ours(acceptor).await;
    let mut socket = localhost(port, &authority).open().await.unwrap();
    assert_eq!(carriers.recv().await, Some(Carrier::Upgrade));
    assert_echoes(&mut socket, "hello").await;
    let error = localhost(port, &authority).http2().await.unwrap_err();
    // RFC 7301 §3.2: no common protocol ends the TLS handshake.
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
}

/// A server that supports HTTP/2 without WebSockets, and WebSockets over HTTP/1.1; it reports which
/// protocol each connection negotiated.
async fn without_extended_connect(identity: &Identity) -> (u16, mpsc::Receiver<Vec<u8>>) {
    let mut config = config(identity);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, agreed) = mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            let protocol = stream.get_ref().1.alpn_protocol().unwrap().to_vec();
            told.send(protocol.clone()).await.unwrap();
            tokio::spawn(async move {
                if protocol == b"h2" {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok(_asked)) = connection.accept().await {}
                } else {
                    let (heads, _all) = mpsc::channel(1);
                    converse(stream, Reply::open_with("", b"\x81\x05Hello"), &heads).await;
                }
            });
        }
    });
    (port, agreed)
}

#[tokio::test]
async fn without_extended_connect_it_falls_back_to_http_1_1_permanently() {
    let authority = Authority::new();
    let (port, mut agreed) = without_extended_connect(&authority.server("localhost")).await;
    let connect = localhost(port, &authority);
    for expected in [&["h2", "http/1.1"][..], &["http/1.1"]] {
        let mut socket = connect.open().await.unwrap();
        let message = socket.recv().await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some("Hello"));
        for protocol in expected {
            assert_eq!(agreed.recv().await.unwrap(), protocol.as_bytes());
        }
    }
    // A client that requires HTTP/2 gets an error.
    let error = connect.http2().await.unwrap_err();
    assert!(matches!(error, Error::Http2 { .. }), "{error:?}");
}
