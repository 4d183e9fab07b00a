//! Clients that abuse HTTP/2: each is answered as RFC 9113 requires, without affecting other
//! clients.

use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use hyper::Method;
use offhook_auth::ApiKey;
use offhook_server::Config;

use crate::{
    hall::{Hall, config},
    http2_peer::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, Peer,
        REFUSED_STREAM, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, data, frame, get, number, post,
        request,
    },
};

/// A server with low limits, so that they are reached quickly.
fn strict() -> Config {
    let mut config = config();
    config.http2.streams = 10;
    config.http2.resets = 20;
    config.http2.control_frames = 50;
    config
}

/// Sends these bytes after the settings, and returns the reason with which the server ends the
/// connection. Another connection must be served meanwhile.
async fn ended_by(config: Config, frames: Vec<u8>) -> Option<u32> {
    let hall = Hall::open(config).await;
    let other = Peer::new(&hall).await;
    let mut raw = Raw::new(&hall).await;
    raw.send(&frames).await;
    let reason = raw.end().await;
    assert_eq!(other.get("/healthz").await.status, 200);
    let mut caller = hall.caller().await;
    caller
        .publish("chat", serde_json::json!("still served"))
        .await;
    reason
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let mut frames = Vec::new();
    for n in 0..1_000 {
        let stream = 2 * n + 1;
        frames.extend(request(stream, "/sse?channel=chat"));
        frames.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    assert_eq!(ended_by(strict(), frames).await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn resets_after_each_answer_end_the_connection_too() {
    let hall = Hall::open(strict()).await;
    let mut raw = Raw::new(&hall).await;
    for n in 0..21 {
        let stream = 2 * n + 1;
        raw.send(&request(stream, "/sse?channel=chat")).await;
        let answer = raw.a(HEADERS).await;
        assert_eq!(answer.stream, stream);
        raw.send(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()))
            .await;
    }
    assert_eq!(raw.end().await, Some(ENHANCE_YOUR_CALM));
    // Its streams have ended.
    while hall.health().await.1["connections"] != 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_flood_of_settings_ends_the_connection() {
    // SETTINGS_HEADER_TABLE_SIZE, repeated.
    let settings = frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 16, 0]);
    let reason = ended_by(strict(), settings.repeat(1_000)).await;
    assert_eq!(reason, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_flood_of_pings_ends_the_connection() {
    let ping = frame(PING, 0, 0, b"12345678");
    let reason = ended_by(strict(), ping.repeat(10_000)).await;
    assert_eq!(reason, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_flood_of_empty_data_ends_the_connection() {
    let post = [&[0x83, 0x86, 0x84, 0x01, 9][..], b"localhost"].concat();
    let mut frames = frame(HEADERS, END_HEADERS, 1, &post);
    frames.extend(frame(DATA, 0, 1, &[]).repeat(10_000));
    assert_eq!(ended_by(strict(), frames).await, Some(ENHANCE_YOUR_CALM));
}

/// h2 counts these frames over the whole lifetime of a connection.
#[tokio::test]
async fn a_connection_may_carry_a_hundred_frames_of_empty_data_whatever_the_setting() {
    let mut lax = config();
    lax.http2.control_frames = 1_000_000;
    let hall = Hall::open(lax).await;
    let peer = Peer::new(&hall).await;
    let begun = peer.post("/connection", String::new()).await.json();
    let id = begun["connection"].as_str().unwrap().to_owned();
    let mut raw = Raw::new(&hall).await;
    let block = post(&format!("/connection/{id}?n=1"));
    raw.send(&frame(HEADERS, END_HEADERS, 1, &block)).await;
    raw.send(&frame(DATA, 0, 1, &[]).repeat(100)).await;
    raw.send(&frame(DATA, END_STREAM, 1, &[])).await;
    assert_eq!(raw.a(HEADERS).await.stream, 1);
    let block = post(&format!("/connection/{id}?n=2"));
    raw.send(&frame(HEADERS, END_HEADERS, 3, &block)).await;
    raw.send(&frame(DATA, 0, 3, &[])).await;
    assert_eq!(raw.end().await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_flood_of_small_window_updates_ends_the_connection() {
    // The highest bit is reserved and ignored.
    for increment in [1_u32, 0x8000_0001] {
        let mut frames = request(1, "/sse?channel=chat");
        let update = frame(WINDOW_UPDATE, 0, 1, &increment.to_be_bytes());
        frames.extend(update.repeat(10_000));
        assert_eq!(ended_by(strict(), frames).await, Some(ENHANCE_YOUR_CALM));
    }
}

/// Previously, the body filled the windows until the poll was answered.
#[tokio::test]
async fn a_body_that_no_handler_reads_is_discarded_while_a_poll_waits() {
    let mut two = config();
    two.http2.streams = 2;
    let hall = Hall::open(two).await;
    let mut raw = Raw::new(&hall).await;
    for stream in [1, 3] {
        let block = get("/poll?channel=chat&since=now&wait=60");
        raw.send(&frame(HEADERS, END_HEADERS, stream, &block)).await;
    }
    // The window of the connection grows from 65,535 bytes to the size for two streams.
    let grown = raw.a(WINDOW_UPDATE).await;
    assert_eq!((grown.stream, number(&grown.payload)), (0, 65_535));
    for stream in [1, 3] {
        for _ in 0..4 {
            raw.send(&frame(DATA, 0, stream, &[b'x'; 10_000])).await;
        }
    }
    // The client may send as much again, although neither poll was answered.
    assert_eq!(raw.a(WINDOW_UPDATE).await.stream, 0);
}

#[tokio::test]
async fn what_a_client_may_send_unread_is_limited_for_each_connection() {
    let hall = Hall::open(config()).await;
    let mut raw = Raw::new(&hall).await;
    let grown = raw.a(WINDOW_UPDATE).await;
    assert_eq!((grown.stream, number(&grown.payload)), (0, 15 * 65_535));

    let mut behind = config();
    behind.proxies.trusted = vec!["127.0.0.0/8".parse().unwrap()];
    let hall = Hall::open(behind).await;
    let mut raw = Raw::new(&hall).await;
    let grown = raw.a(WINDOW_UPDATE).await;
    assert_eq!((grown.stream, number(&grown.payload)), (0, 99 * 65_535));
}

/// A command of the native dialect as a WebSocket frame with a mask of zeros.
const COMMAND: &[u8] = b"\x81\x96\0\0\0\0{\"type\":\"ping\",\"id\":1}";

/// A client whose WebSockets send commands and do not read the answers.
async fn reads_nothing(
    hall: &Hall,
    sockets: usize,
) -> (Peer, Vec<(SendStream<Bytes>, RecvStream)>) {
    let peer = Peer::with(hall, |client| {
        client.initial_window_size(1_000);
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..sockets {
        open.push(peer.websocket().await);
    }
    for (send, _) in &mut open {
        let connect = b"\x81\x99\0\0\0\0{\"type\":\"connect\",\"id\":0}";
        send.send_data(connect.as_slice().into(), false).unwrap();
        // As much as the server's window has room for is sent, and the rest waits in the client.
        let commands = COMMAND.repeat(20_000);
        send.send_data(commands.into(), false).unwrap();
    }
    (peer, open)
}

/// Asks for the health until it is so.
async fn until(hall: &Hall, is_so: impl Fn(&serde_json::Value) -> bool) {
    loop {
        let (_, health) = hall.health().await;
        if is_so(&health) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn unread_data_counts_towards_the_memory_and_the_connections_with_most_of_it_are_closed() {
    let mut tight = config();
    tight.messages.outbox_bytes = 16 << 10;
    tight.limits.commands_per_second = 1_000_000;
    tight.limits.command_burst = 1_000_000;
    let unread = |health: &serde_json::Value| health["unfinished_bytes"].as_u64().unwrap();
    // With enough memory, it is only counted: almost the windows of both streams.
    let hall = Hall::open(tight.clone()).await;
    let client = reads_nothing(&hall, 2).await;
    until(&hall, |health| unread(health) > 100_000).await;
    assert!(!client.0.ended.is_finished());
    drop(client);
    until(&hall, |health| unread(health) == 0).await;

    tight.memory.bytes = 512 << 10;
    let hall = Hall::open(tight).await;
    let (mut peer, _open) = reads_nothing(&hall, 12).await;
    let ended = (&mut peer.ended).await.unwrap().unwrap_err();
    assert_eq!(ended.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
    until(&hall, |health| {
        unread(health) == 0 && health["memory"] == "low"
    })
    .await;
    // Others are served.
    assert_eq!(Peer::new(&hall).await.get("/healthz").await.status, 200);
}

/// A WebSocket frame of a client with a mask of zeros: a ping without content.
const WEBSOCKET_PING: &[u8] = &[0x89, 0x80, 0, 0, 0, 0];

/// They are no flood.
#[tokio::test]
async fn a_hundred_websockets_may_send_many_small_messages_at_once() {
    let hall = Hall::open(config()).await;
    // The answers are small as well, and lie unread here.
    let peer = Peer::with(&hall, |client| {
        client.data_frame_budget(16 << 20);
    })
    .await;
    let mut sockets = Vec::new();
    for _ in 0..100 {
        sockets.push(peer.websocket().await);
    }
    for (send, _) in &mut sockets {
        for _ in 0..100 {
            send.send_data(WEBSOCKET_PING.into(), false).unwrap();
        }
        send.send_data(WEBSOCKET_LAST.into(), false).unwrap();
    }
    for (_, receive) in &mut sockets {
        let mut heard = Vec::new();
        while !heard.ends_with(b"last") {
            heard.extend_from_slice(&data(receive).await.expect("the stream is open"));
        }
    }
}

const WEBSOCKET_LAST: &[u8] = &[0x89, 0x84, 0, 0, 0, 0, b'l', b'a', b's', b't'];

#[tokio::test]
async fn a_flood_of_unknown_frames_ends_the_connection() {
    let unknown = frame(0xFA, 0, 0, b"grease");
    let reason = ended_by(strict(), unknown.repeat(1_000)).await;
    assert_eq!(reason, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let mut frames = frame(HEADERS, END_STREAM, 1, &get("/healthz"));
    // A header field that is never completed, and frames without content.
    frames.extend(frame(CONTINUATION, 0, 1, &[]).repeat(10_000));
    assert_eq!(ended_by(strict(), frames).await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn header_fields_above_the_limit_are_answered_with_431_and_far_above_end_the_connection() {
    let hall = Hall::open(config()).await;
    let peer = Peer::new(&hall).await;
    let with = |bytes: usize| {
        peer.request(Method::GET, "/healthz")
            .header("x-large", "x".repeat(bytes))
            .body(())
            .unwrap()
    };
    assert_eq!(peer.ask(with(16 * 1024), None).await.status, 200);
    assert_eq!(peer.ask(with(20 * 1024), None).await.status, 431);
    assert_eq!(peer.ask(with(16), None).await.status, 200);

    // A literal field whose announced value has 2 GB, in frames of the largest size.
    let mut frames = frame(HEADERS, END_STREAM, 1, &get("/healthz"));
    let mut block = vec![0x00, 1, b'x', 0x7F, 0x80, 0x80, 0x80, 0x80, 0x07];
    block.resize(16_384, b'x');
    for _ in 0..100 {
        frames.extend(frame(CONTINUATION, 0, 1, &block));
        block.fill(b'x');
    }
    let reason = ended_by(config(), frames).await;
    assert!(reason.is_some_and(|reason| reason != 0), "{reason:?}");
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_and_the_others_go_on() {
    let hall = Hall::open(strict()).await;
    let mut raw = Raw::new(&hall).await;
    let settings = raw.a(SETTINGS).await;
    // SETTINGS_MAX_CONCURRENT_STREAMS.
    let announced = settings.payload.chunks(6).find(|one| one[..2] == [0, 3]);
    assert_eq!(announced.map(|one| number(&one[2..])), Some(10));
    for n in 0..10 {
        raw.send(&request(2 * n + 1, "/sse?channel=chat")).await;
        assert_eq!(raw.a(HEADERS).await.stream, 2 * n + 1);
    }
    for n in 10..15 {
        raw.send(&request(2 * n + 1, "/sse?channel=chat")).await;
        let refused = raw.a(RST_STREAM).await;
        assert_eq!(refused.stream, 2 * n + 1);
        assert_eq!(number(&refused.payload), REFUSED_STREAM);
    }
    let mut publisher = hall.caller().await;
    publisher.publish("chat", serde_json::json!("to ten")).await;
    let mut streams: Vec<u32> = Vec::new();
    while streams.len() < 10 {
        let data = raw.a(DATA).await;
        if data.payload.windows(6).any(|part| part == b"to ten") {
            streams.push(data.stream);
        }
    }
    streams.sort_unstable();
    assert_eq!(streams, (0..10).map(|n| 2 * n + 1).collect::<Vec<_>>());
}

/// Far above the limit, connections are not read, and streams are not processed.
#[tokio::test]
async fn streams_far_above_the_limit_of_connections_are_refused_unprocessed() {
    let mut full = config();
    full.connections.max = 1;
    full.http2.streams = 300;
    full.api.keys = vec![ApiKey::of_everything("key")];
    let hall = Hall::open(full).await;
    let mut raw = Raw::new(&hall).await;
    // POST /api/v1/publish whose body never arrives, so that all streams stay open.
    let mut block = post("/api/v1/publish");
    // `authorization` is entry 23 of the static table.
    block.extend_from_slice(&[0x0F, 8, 10]);
    block.extend_from_slice(b"Bearer key");
    for n in 0..300 {
        raw.send(&frame(HEADERS, END_HEADERS, 2 * n + 1, &block))
            .await;
    }
    let refused = raw.a(RST_STREAM).await;
    assert_eq!(number(&refused.payload), REFUSED_STREAM);
    // The connection itself and 256 streams were admitted.
    assert_eq!(refused.stream, 2 * 256 + 1);
}

#[tokio::test]
async fn invalid_http_2_ends_the_connection() {
    // A frame of a stream that was never opened.
    let reason = ended_by(config(), frame(DATA, 0, 5, b"data")).await;
    assert!(reason.is_some_and(|reason| reason != 0), "{reason:?}");
    // A frame that is longer than allowed.
    let mut long = frame(DATA, 0, 1, &[]);
    long[..3].copy_from_slice(&[0xFF; 3]);
    long.resize(100_000, 0);
    let reason = ended_by(config(), long).await;
    assert!(reason.is_some_and(|reason| reason != 0), "{reason:?}");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_times_out_without_affecting_other_streams() {
    let mut short = config();
    short.api.body_timeout = Duration::from_millis(50);
    let hall = Hall::open(short).await;
    let peer = Peer::new(&hall).await;
    let begun = peer.post("/connection", String::new()).await.json();
    let id = begun["connection"].as_str().unwrap().to_owned();
    let mut raw = Raw::new(&hall).await;
    let block = post(&format!("/connection/{id}?n=1"));
    raw.send(&frame(HEADERS, END_HEADERS, 1, &block)).await;
    let problem = raw.a(DATA).await;
    assert_eq!(problem.stream, 1);
    let problem = String::from_utf8(problem.payload).unwrap();
    assert!(problem.contains("timed_out"), "{problem}");
    // The rest of the request is not needed any more.
    let reset = raw.a(RST_STREAM).await;
    assert_eq!((reset.stream, number(&reset.payload)), (1, 0));
    raw.send(&request(3, "/healthz")).await;
    assert_eq!(raw.a(HEADERS).await.stream, 3);
}
