//! HTTP/3: requests as over other versions, and WebSockets (RFC 9220).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use offhook_engine::{SessionId, Whom};
use offhook_server::config::{Listen, ListenAt, ResumeKey};
use quinn::{ConnectionError, TransportConfig, VarInt};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UdpSocket, UnixStream},
    sync::watch,
    time::timeout,
};

use crate::{
    hall::{Hall, NEVER},
    http3_peer::{Peer, Reading, with_http3},
};

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_as_over_other_versions() {
    let directory = tempfile::tempdir().unwrap();
    let (config, trusted) = with_http3(directory.path());
    let hall = Hall::open(config).await;
    let peer = Peer::connect(hall.address(), &trusted).await;
    let health = peer.request("GET", "/healthz", &[], &[]).await;
    assert_eq!(health.status, 200);
    assert_eq!(
        health.field("content-type"),
        Some("application/json"),
        "{health:?}"
    );
    let head = peer.request("HEAD", "/talk/", &[], &[]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_ne!(head.field("content-length"), Some("0"));
    let page = peer.request("GET", "/talk/", &[], &[]).await;
    assert_eq!(
        page.field("content-length"),
        Some(&*page.body.len().to_string())
    );
    assert_eq!(peer.request("GET", "/nowhere", &[], &[]).await.status, 404);
    // With a body: without a token, JSON-RPC publishes as an anonymous client.
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "publish",
                      "params": {"channel": "chat", "data": "over h3"}});
    let fields = [("content-type", "application/json")];
    let answer = peer
        .request("POST", "/rpc", &fields, call.to_string().as_bytes())
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let poll = peer
        .request("GET", "/poll?channel=chat&since=0:0&wait=0", &[], &[])
        .await;
    assert_eq!(poll.status, 200, "{poll:?}");
    assert!(String::from_utf8_lossy(&poll.body).contains("over h3"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_over_other_versions_announce_http_3() {
    let directory = tempfile::tempdir().unwrap();
    let (config, trusted) = with_http3(directory.path());
    let hall = Hall::open(config).await;
    let peer = Peer::connect(hall.address(), &trusted).await;
    let answer = peer.request("GET", "/healthz", &[], &[]).await;
    let port = hall.address().port();
    let expected = format!("h3=\":{port}\"; ma=86400");
    assert_eq!(answer.field("alt-svc"), Some(&*expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_a_trusted_proxy_do_not_announce_http_3_to_its_clients() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, _) = with_http3(directory.path());
    let path = directory.path().join("offhook.sock");
    config.listen = [false, true]
        .map(|trusted| Listen {
            tls: Some(false),
            trusted,
            ..Listen::new(ListenAt::Unix(path.with_extension(trusted.to_string())))
        })
        .into_iter()
        .chain([([127, 0, 0, 1], 0).into()])
        .collect();
    let _hall = Hall::open(config).await;
    for (trusted, is_announced) in [(false, true), (true, false)] {
        let path = path.with_extension(trusted.to_string());
        let mut stream = UnixStream::connect(path).await.unwrap();
        let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = timeout(NEVER, stream.read_to_string(&mut answer)).await;
        read.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(answer.contains("alt-svc"), is_announced, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_opened_by_an_extended_connect() {
    let directory = tempfile::tempdir().unwrap();
    let (config, trusted) = with_http3(directory.path());
    let hall = Hall::open(config).await;
    let peer = Peer::connect(hall.address(), &trusted).await;
    let fields = [
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "offhook.v1.json"),
    ];
    let (answer, mut send, mut reading) = peer.extended("websocket", "/ws", &fields).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.field("sec-websocket-protocol"),
        Some("offhook.v1.json")
    );
    // A masked text frame with the mask 0, in one DATA frame for each byte.
    let text = json!({"type": "connect", "id": 1}).to_string();
    let length = u8::try_from(text.len()).unwrap();
    let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat();
    for byte in frame {
        let mut bytes = Vec::new();
        offhook_http3::frame::write(offhook_http3::frame::DATA, &[byte], &mut bytes);
        send.write_all(&bytes).await.unwrap();
    }
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).contains("\"welcome\"") {
        received.extend(reading.data().await.expect("a welcome"));
    }
    let (unknown, ..) = peer.extended("connect-udp", "/ws", &[]).await;
    assert_eq!(unknown.status, 501);
    let (missing, ..) = peer.extended("websocket", "/nowhere", &fields).await;
    assert_eq!(missing.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_ends_when_the_client_stops_it() {
    let directory = tempfile::tempdir().unwrap();
    let (config, trusted) = with_http3(directory.path());
    let hall = Hall::open(config).await;
    let peer = Peer::connect(hall.address(), &trusted).await;
    let port = hall.address().port();
    let authority = format!("localhost:{port}");
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", &*authority),
        (":path", "/sse?channel=chat"),
    ];
    let (mut send, mut receive) = peer.begin(&fields).await;
    send.finish().unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("event: subscribed") {
        let chunk = receive
            .read_chunk(4096, true)
            .await
            .unwrap()
            .expect("events");
        seen.extend_from_slice(&chunk.bytes);
    }
    receive.stop(VarInt::from_u32(0x10c)).unwrap();
    loop {
        let health = peer.request("GET", "/healthz", &[], &[]).await;
        let health: serde_json::Value = serde_json::from_slice(&health.body).unwrap();
        if health["connections"] == 0 {
            break;
        }
    }
}

/// QUIC discards what is unsent, or was lost, when a connection is closed.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_complete_but_not_sent_arrives_although_the_server_stops() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, trusted) = with_http3(directory.path());
    config.http3.send_window = 4 << 20;
    config.drain = Duration::from_secs(3600);
    let hall = Hall::open(config).await;
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(16 * 1024));
    let peer = Peer::connect_with(hall.address(), &trusted, transport).await;
    let head = peer.head("GET", "/docs/search.json");
    let (mut send, receive) = peer.begin(&head).await;
    send.finish().unwrap();
    let mut reading = Reading::new(receive);
    let answer = reading.head().await;
    let length: usize = answer.field("content-length").unwrap().parse().unwrap();
    assert!(length > 100_000, "it does not fit into the window");
    let rest = async {
        // Requests are rejected from when the server stops.
        while peer.quic.close_reason().is_none() && peer.is_served().await {}
        let mut body = 0;
        while let Some(data) = reading.data().await {
            body += data.len();
        }
        body
    };
    let ((), body) = tokio::join!(hall.close(), rest);
    assert_eq!(body, length);
    assert_eq!(peer.ended().await, 0x100, "H3_NO_ERROR");
}

/// A frame that the end of its stream cuts off is a connection error (RFC 9114 §7.1).
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_is_dropped_while_it_writes_is_reset_not_finished() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, trusted) = with_http3(directory.path());
    config.connections.close_timeout = Duration::from_millis(200);
    let hall = Hall::open(config).await;
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(2 * 1024));
    let peer = Peer::connect_with(hall.address(), &trusted, transport).await;
    let fields = [
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "offhook.v1.json"),
    ];
    let (answer, mut send, mut reading) = peer.extended("websocket", "/ws", &fields).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let large = "x".repeat(30_000);
    let mut session = None;
    for (id, message) in [
        json!({"type": "connect", "id": 1}),
        json!({"type": "subscribe", "id": 2, "channel": "chat"}),
        json!({"type": "publish", "id": 3, "channel": "chat", "data": large}),
    ]
    .iter()
    .enumerate()
    {
        let text = message.to_string();
        // A masked text frame with the mask 0.
        let mut frame = vec![0x81];
        match u8::try_from(text.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend_from_slice(text.as_bytes());
        let mut bytes = Vec::new();
        offhook_http3::frame::write(offhook_http3::frame::DATA, &frame, &mut bytes);
        send.write_all(&bytes).await.unwrap();
        if id == 0 {
            let welcome = reading.data().await.expect("a welcome");
            let welcome = String::from_utf8_lossy(&welcome);
            let (_, name) = welcome.split_once("\"session\":\"").unwrap();
            let number = u128::from_str_radix(&name[..32], 16).unwrap();
            session = Some(SessionId::from_bytes(number.to_be_bytes()));
        }
    }
    let mut begun = Vec::new();
    while !String::from_utf8_lossy(&begun).contains("xxx") {
        let chunk = timeout(NEVER, reading.receive.read_chunk(16, true)).await;
        begun.extend_from_slice(&chunk.unwrap().unwrap().expect("the message").bytes);
    }
    // From here on, the client gives no credit.
    let whom = Whom::Session(session.unwrap());
    assert_eq!(hall.sessions().disconnect(whom).await, 1);
    let reset = timeout(NEVER, reading.receive.received_reset()).await;
    let code = reset.unwrap().unwrap().map(VarInt::into_inner);
    assert_eq!(code, Some(0x10c), "H3_REQUEST_CANCELLED");
}

/// Passes packets between the clients of a socket and one server, which may be exchanged.
async fn relay(front: Arc<UdpSocket>, mut to: watch::Receiver<SocketAddr>) {
    let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (mut sent, mut received) = ([0; 2048], [0; 2048]);
    let mut client = None;
    loop {
        tokio::select! {
            packet = front.recv_from(&mut sent) => {
                let (length, from) = packet.unwrap();
                client = Some(from);
                let server = *to.borrow_and_update();
                back.send_to(&sent[..length], server).await.unwrap();
            }
            packet = back.recv_from(&mut received) => {
                let (length, _) = packet.unwrap();
                front.send_to(&received[..length], client.unwrap()).await.unwrap();
            }
        }
    }
}

/// As after a crash: the next process knows nothing of the connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_learns_at_once_that_another_process_serves_the_port() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, trusted) = with_http3(directory.path());
    config.resume.key = Some(ResumeKey([7; 32]));
    let before = Hall::open(config.clone()).await;
    let after = Hall::open(config).await;
    let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = front.local_addr().unwrap();
    let (to, server) = watch::channel(before.address());
    let relaying = tokio::spawn(relay(front, server));
    let mut transport = TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_millis(50)));
    // It would not notice it by itself.
    transport.max_idle_timeout(None);
    let peer = Peer::connect_with(address, &trusted, transport).await;
    to.send_replace(after.address());
    let lost = timeout(NEVER, peer.quic.closed()).await.unwrap();
    assert!(matches!(lost, ConnectionError::Reset), "{lost}");
    relaying.abort();
}
