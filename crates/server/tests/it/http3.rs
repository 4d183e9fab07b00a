//! HTTP/3: requests as over other versions, and WebSockets (RFC 9220).

use serde_json::json;

use crate::{
    hall::Hall,
    http3_peer::{Peer, with_http3},
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
    receive.stop(quinn::VarInt::from_u32(0x10c)).unwrap();
    loop {
        let health = peer.request("GET", "/healthz", &[], &[]).await;
        let health: serde_json::Value = serde_json::from_slice(&health.body).unwrap();
        if health["connections"] == 0 {
            break;
        }
    }
}
