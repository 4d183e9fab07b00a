//! Proxies in front of the server: who is trusted to report a client's address and scheme.

use offhook_server::{Config, config::Proxies};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::hall::{Hall, NEVER, config, with_connections};

/// Allows one connection for each address, and trusts proxies in this network.
fn behind(network: &str, protocol: bool) -> Config {
    Config {
        proxies: Proxies {
            trusted: vec![network.parse().unwrap()],
            protocol,
        },
        ..with_connections(|connections| connections.max_per_address = Some(1))
    }
}

/// Performs a handshake with additional header fields; returns the status and the connection.
async fn handshake(hall: &Hall, before: &[u8], fields: &str) -> (u16, TcpStream) {
    let mut stream = TcpStream::connect(hall.address()).await.unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: localhost:1\r\n{fields}Upgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: offhook.v1.json\r\n\r\n"
    );
    stream.write_all(before).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    let read = timeout(NEVER, stream.read_exact(&mut start)).await.unwrap();
    // 0: the connection was closed without an answer.
    let status = read.map_or(0, |_| {
        std::str::from_utf8(&start[9..]).unwrap().parse().unwrap()
    });
    (status, stream)
}

fn from(address: &str) -> String {
    format!("X-Forwarded-For: 198.51.100.1, {address}\r\n")
}

#[tokio::test]
async fn clients_of_a_trusted_proxy_are_counted_by_their_own_addresses() {
    let hall = Hall::open(behind("127.0.0.0/8", false)).await;
    let (status, one) = handshake(&hall, b"", &from("203.0.113.7")).await;
    assert_eq!(status, 101);
    let (status, _two) = handshake(&hall, b"", &from("203.0.113.8")).await;
    assert_eq!(status, 101);
    let (status, _again) = handshake(&hall, b"", &from("203.0.113.7")).await;
    assert_eq!(status, 503, "one connection for each address");
    // The proxy's own connection, which reports no client.
    assert_eq!(handshake(&hall, b"", "").await.0, 101);
    drop(one);
    while handshake(&hall, b"", &from("203.0.113.7")).await.0 != 101 {}
}

#[tokio::test]
async fn forwarded_fields_from_anybody_else_are_ignored() {
    let hall = Hall::open(behind("10.0.0.0/8", false)).await;
    let (status, _one) = handshake(&hall, b"", &from("203.0.113.7")).await;
    assert_eq!(status, 101);
    assert_eq!(handshake(&hall, b"", &from("203.0.113.8")).await.0, 503);
    let tls = "Origin: https://localhost:1\r\nX-Forwarded-Proto: https\r\n";
    assert_eq!(handshake(&hall, b"", tls).await.0, 403);
}

#[tokio::test]
async fn a_page_that_the_proxy_served_over_tls_has_the_same_origin() {
    let mut config = behind("127.0.0.1", false);
    config.connections.max_per_address = None;
    let hall = Hall::open(config).await;
    let page = |scheme: &str, proto: &str| {
        format!("Origin: {scheme}://localhost:1\r\nX-Forwarded-Proto: {proto}\r\n")
    };
    assert_eq!(handshake(&hall, b"", &page("https", "https")).await.0, 101);
    assert_eq!(handshake(&hall, b"", &page("http", "http")).await.0, 101);
    assert_eq!(handshake(&hall, b"", &page("http", "https")).await.0, 403);
    // The same for requests other than handshakes.
    let head = format!(
        "GET /poll?channel=chat HTTP/1.1\r\n{}X-Nothing: 1",
        page("https", "https")
    );
    let answer = hall
        .request(&head.replace("localhost:1", &hall.address().to_string()))
        .await;
    assert_eq!(answer.0, 200, "{}", answer.2);
}

#[tokio::test]
async fn the_clients_address_is_taken_from_the_proxy_protocol() {
    let hall = Hall::open(behind("127.0.0.1", true)).await;
    let line = |address: &str| format!("PROXY TCP4 {address} 127.0.0.1 4711 8000\r\n");
    let (status, _one) = handshake(&hall, line("203.0.113.7").as_bytes(), "").await;
    assert_eq!(status, 101);
    let (status, _two) = handshake(&hall, line("203.0.113.8").as_bytes(), "").await;
    assert_eq!(status, 101);
    assert_eq!(
        handshake(&hall, line("203.0.113.7").as_bytes(), "").await.0,
        503
    );
    // Without the protocol's header, a trusted proxy's connection is closed.
    assert_eq!(handshake(&hall, b"", "").await.0, 0);
}

#[tokio::test]
async fn the_proxy_protocol_is_not_accepted_from_untrusted_addresses() {
    let hall = Hall::open(Config {
        proxies: Proxies {
            trusted: vec!["10.0.0.7".parse().unwrap()],
            protocol: true,
        },
        ..config()
    })
    .await;
    assert_eq!(handshake(&hall, b"", "").await.0, 101);
    let line = b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 8000\r\n";
    assert_eq!(handshake(&hall, line, "").await.0, 400);
}
