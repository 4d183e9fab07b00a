//! Hostile clients of HTTP/3 and QUIC.

use std::{net::SocketAddr, time::Duration};

use offhook_http3::{frame, qpack, settings::Settings, stream, varint};
use offhook_server::Config;
use quinn::{Connection, ConnectionError, Endpoint, TransportConfig, VarInt};
use tokio::{net::UdpSocket, time::timeout};
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::{
    hall::{Hall, NEVER},
    http3_peer::{Peer, client_config, with_http3},
};

const CLOSED_CRITICAL_STREAM: u64 = 0x104;
const FRAME_UNEXPECTED: u64 = 0x105;
const EXCESSIVE_LOAD: u64 = 0x107;
const STREAM_CREATION_ERROR: u64 = 0x103;
const MISSING_SETTINGS: u64 = 0x10a;
const REQUEST_REJECTED: u64 = 0x10b;
const REQUEST_CANCELLED: u64 = 0x10c;
const MESSAGE_ERROR: u64 = 0x10e;

/// Opens a unidirectional stream with these bytes, and keeps it open until the connection ends.
async fn ended_by(peer: &Peer, bytes: &[u8]) -> u64 {
    let mut send = peer.quic.open_uni().await.unwrap();
    send.write_all(bytes).await.unwrap();
    peer.ended().await
}

#[tokio::test(flavor = "multi_thread")]
async fn violations_of_http_3_end_the_connection_with_their_code() {
    let directory = tempfile::tempdir().unwrap();
    let (config, trusted) = with_http3(directory.path());
    let hall = Hall::open(config).await;
    let connect = || Peer::connect(hall.address(), &trusted);
    // A second control stream, a push, and an entry for the dynamic table.
    assert_eq!(
        ended_by(&connect().await, &[0x00]).await,
        STREAM_CREATION_ERROR
    );
    assert_eq!(
        ended_by(&connect().await, &[0x01]).await,
        STREAM_CREATION_ERROR
    );
    assert_eq!(ended_by(&connect().await, &[0x02, 0xc0]).await, 0x201);

    let mut peer = connect().await;
    peer.control.finish().unwrap();
    assert_eq!(peer.ended().await, CLOSED_CRITICAL_STREAM);

    let mut peer = connect().await;
    let mut bytes = Vec::new();
    frame::write(frame::DATA, b"no place for it", &mut bytes);
    peer.control.write_all(&bytes).await.unwrap();
    assert_eq!(peer.ended().await, FRAME_UNEXPECTED);

    let mut peer = connect().await;
    let mut bytes = Vec::new();
    for _ in 0..2_000 {
        frame::write(frame::GOAWAY, &[0], &mut bytes);
    }
    // The connection may end before everything is written.
    let _ended = peer.control.write_all(&bytes).await;
    assert_eq!(peer.ended().await, EXCESSIVE_LOAD);

    let peer = connect().await;
    let (mut send, _receive) = peer.quic.open_bi().await.unwrap();
    send.write_all(&bytes[..3]).await.unwrap();
    assert_eq!(
        peer.ended().await,
        FRAME_UNEXPECTED,
        "a request begins with its head"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_stream_without_settings_ends_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let (config, trusted) = with_http3(directory.path());
    let hall = Hall::open(config).await;
    let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let client = client_config(&trusted, TransportConfig::default());
    let connecting = endpoint.connect_with(client, hall.address(), "localhost");
    let quic = timeout(NEVER, connecting.unwrap()).await.unwrap().unwrap();
    let mut control = quic.open_uni().await.unwrap();
    let mut bytes = vec![];
    varint::write(stream::CONTROL, &mut bytes);
    frame::write(frame::GOAWAY, &[0], &mut bytes);
    control.write_all(&bytes).await.unwrap();
    let ConnectionError::ApplicationClosed(closed) = timeout(NEVER, quic.closed()).await.unwrap()
    else {
        panic!("another end");
    };
    assert_eq!(closed.error_code.into_inner(), MISSING_SETTINGS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_ends_only_its_stream() {
    let directory = tempfile::tempdir().unwrap();
    let (config, trusted) = with_http3(directory.path());
    let hall = Hall::open(config).await;
    let peer = Peer::connect(hall.address(), &trusted).await;
    let (_send, mut receive) = peer
        .begin(&[(":method", "GET"), ("connection", "close")])
        .await;
    let read = timeout(NEVER, receive.read(&mut [0])).await.unwrap();
    let Err(quinn::ReadError::Reset(code)) = read else {
        panic!("{read:?}");
    };
    assert_eq!(code.into_inner(), MESSAGE_ERROR);
    assert_eq!(peer.request("GET", "/healthz", &[], &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn header_fields_above_the_limit_are_answered_with_431() {
    let directory = tempfile::tempdir().unwrap();
    let (config, trusted) = with_http3(directory.path());
    let hall = Hall::open(config).await;
    let peer = Peer::connect(hall.address(), &trusted).await;
    let long = "x".repeat(30_000);
    let answer = peer
        .request("GET", "/healthz", &[("x-long", &long)], &[])
        .await;
    assert_eq!(answer.status, 431);
    // Small on the wire, because each field takes one byte.
    let many = vec![("accept", "*/*"); 2_000];
    assert!(qpack::encode(many.iter().copied()).len() < 3_000);
    assert_eq!(
        peer.request("GET", "/healthz", &many, &[]).await.status,
        431
    );
    assert_eq!(peer.request("GET", "/healthz", &[], &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_cancelled_requests_ends_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, trusted) = with_http3(directory.path());
    config.http3.resets = 50;
    let hall = Hall::open(config).await;
    let peer = Peer::connect(hall.address(), &trusted).await;
    let flood = async {
        loop {
            let Ok((mut send, _receive)) = peer.quic.open_bi().await else {
                return;
            };
            // Part of a request's head, so that the stream is known to the server before it is reset.
            if send.write_all(&[0x01, 0x40]).await.is_err() {
                return;
            }
            let _ended = send.reset(VarInt::from_u32(0x10c));
        }
    };
    timeout(NEVER, flood).await.expect("the connection ends");
    assert_eq!(peer.ended().await, EXCESSIVE_LOAD);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_sessions_than_allowed_are_refused_and_the_others_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, trusted) = with_http3(directory.path());
    config.http3.sessions = 1;
    let hall = Hall::open(config).await;
    let peer = Peer::connect(hall.address(), &trusted).await;
    let mut session = peer.session().await;
    session.connect(serde_json::json!({})).await;
    let authority = format!("localhost:{}", hall.address().port());
    let fields = [
        (":method", "CONNECT"),
        (":scheme", "https"),
        (":authority", &*authority),
        (":path", "/ws"),
        (":protocol", "webtransport"),
    ];
    let (_send, mut receive) = peer.begin(&fields).await;
    let read = timeout(NEVER, receive.read(&mut [0])).await.unwrap();
    assert!(matches!(read, Err(quinn::ReadError::Reset(_))), "{read:?}");
    session.send(serde_json::json!({"type": "ping"})).await;
    session.control.hear_a("pong").await;
}

/// RFC 9000 §8.1: with `validate_from = 0`, every client has to prove its address first.
#[tokio::test(flavor = "multi_thread")]
async fn clients_prove_their_address_while_many_handshakes_are_under_way() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, trusted) = with_http3(directory.path());
    config.http3.validate_from = 0;
    let hall = Hall::open(config).await;
    // A client that does not answer the Retry costs nothing: no connection is counted for it.
    let forger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    forger.connect(hall.address()).await.unwrap();
    let initial = offhook_initial();
    for _ in 0..20 {
        forger.send(&initial).await.unwrap();
    }
    let peer = Peer::connect(hall.address(), &trusted).await;
    let health = peer.request("GET", "/healthz", &[], &[]).await;
    let health: serde_json::Value = serde_json::from_slice(&health.body).unwrap();
    assert_eq!(
        health["sockets"], 2,
        "the connection and its request: {health}"
    );
}

/// A datagram that looks like the first one of a client, with a key that nobody has.
fn offhook_initial() -> Vec<u8> {
    let mut packet = vec![
        0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x9e,
    ];
    packet.resize(1200, 0);
    packet
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_end_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, trusted) = with_http3(directory.path());
    config.connections.handshake_timeout = Duration::from_millis(200);
    config.http3.handshakes = 1;
    config.http3.validate_from = 1;
    let hall = Hall::open(config).await;
    // A relay that passes only the client's first datagram on: the handshake stays half open.
    let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = relay.local_addr().unwrap();
    let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let client = client_config(&trusted, TransportConfig::default());
    let _connecting = endpoint.connect_with(client, address, "localhost").unwrap();
    let mut packet = vec![0; 2048];
    let (length, _) = timeout(NEVER, relay.recv_from(&mut packet))
        .await
        .unwrap()
        .unwrap();
    relay
        .send_to(&packet[..length], hall.address())
        .await
        .unwrap();
    // The server answers, and waits in vain.
    timeout(NEVER, relay.recv_from(&mut packet))
        .await
        .unwrap()
        .unwrap();
    // Its place is free again, so that another client gets in, after its own repetitions.
    let peer = Peer::connect(hall.address(), &trusted).await;
    assert_eq!(peer.request("GET", "/healthz", &[], &[]).await.status, 200);
}

/// Early data can be replayed (RFC 9001 §9.2): the server accepts none.
#[tokio::test(flavor = "multi_thread")]
async fn early_data_is_not_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let (config, trusted) = with_http3(directory.path());
    let hall = Hall::open(config).await;
    let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let client = client_config(&trusted, TransportConfig::default());
    let connect = || {
        endpoint
            .connect_with(client.clone(), hall.address(), "localhost")
            .unwrap()
    };
    let first = timeout(NEVER, connect()).await.unwrap().unwrap();
    // Tickets arrive with the first answers: the server's control stream is behind them.
    let mut control = timeout(NEVER, first.accept_uni()).await.unwrap().unwrap();
    timeout(NEVER, control.read(&mut [0; 64]))
        .await
        .unwrap()
        .unwrap();
    first.close(VarInt::from_u32(0x100), b"");
    assert!(
        connect().into_0rtt().is_err(),
        "no ticket allows early data"
    );
}

/// Opens a connection without waiting for anything of HTTP/3.
async fn bare(
    hall: &Hall,
    trusted: &CertificateDer<'static>,
    transport: TransportConfig,
) -> (Endpoint, Connection) {
    let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let client = client_config(trusted, transport);
    let connecting = endpoint.connect_with(client, hall.address(), "localhost");
    let quic = timeout(NEVER, connecting.unwrap()).await.unwrap().unwrap();
    (endpoint, quic)
}

/// Settings of QUIC by which each stream takes the server's SETTINGS, and nothing after them.
fn credit_for_settings_only(config: &Config) -> TransportConfig {
    let settings = Settings {
        connect_protocol: true,
        datagrams: true,
        webtransport_sessions: u64::from(config.http3.sessions),
        field_section: Some(u64::from(config.http3.header_bytes)),
    };
    let mut bytes = Vec::new();
    varint::write(stream::CONTROL, &mut bytes);
    frame::write(frame::SETTINGS, &settings.encode(), &mut bytes);
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::try_from(bytes.len()).unwrap());
    transport
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_allows_no_control_stream_is_disconnected() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, trusted) = with_http3(directory.path());
    config.connections.handshake_timeout = Duration::from_millis(500);
    let hall = Hall::open(config).await;
    let mut no_stream = TransportConfig::default();
    no_stream.max_concurrent_uni_streams(VarInt::from_u32(0));
    let mut no_credit = TransportConfig::default();
    no_credit.stream_receive_window(VarInt::from_u32(0));
    for transport in [no_stream, no_credit] {
        let (_endpoint, quic) = bare(&hall, &trusted, transport).await;
        let ConnectionError::ApplicationClosed(closed) =
            timeout(NEVER, quic.closed()).await.unwrap()
        else {
            panic!("another end");
        };
        assert_eq!(closed.error_code.into_inner(), EXCESSIVE_LOAD);
    }
}

/// Sends a malformed request, and returns the code with which the server resets its stream.
async fn reset_of_malformed(peer: &Peer) -> u64 {
    let (_send, mut receive) = peer
        .begin(&[(":method", "GET"), ("connection", "close")])
        .await;
    let reset = timeout(NEVER, receive.received_reset()).await.unwrap();
    reset.unwrap().expect("a reset").into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_no_credit_for_goaway_does_not_delay_the_stop() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, trusted) = with_http3(directory.path());
    // Longer than the test waits for the stop.
    config.drain = Duration::from_secs(3600);
    config.connections.handshake_timeout = Duration::from_secs(3600);
    let transport = credit_for_settings_only(&config);
    let hall = Hall::open(config).await;
    let peer = Peer::connect_with(hall.address(), &trusted, transport).await;
    // A request whose head is not complete keeps the connection in use when the stop begins.
    let (mut unfinished, _receive) = peer.quic.open_bi().await.unwrap();
    unfinished.write_all(&[0x01, 0x10]).await.unwrap();
    // The answer to a malformed one is a reset, which takes no credit. The server has accepted the first.
    assert_eq!(reset_of_malformed(&peer).await, MESSAGE_ERROR);
    let cancelling = async {
        // Requests are rejected from when the server stops.
        while reset_of_malformed(&peer).await != REQUEST_REJECTED {}
        unfinished.reset(VarInt::from_u32(0x10c)).unwrap();
        peer.ended().await
    };
    let ((), code) = tokio::join!(hall.close(), cancelling);
    assert_eq!(code, 0x100, "H3_NO_ERROR");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_whose_answer_the_client_does_not_accept_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, trusted) = with_http3(directory.path());
    // Without Pings, this is how long a client may take nothing.
    config.keepalive.interval = None;
    config.keepalive.pong_timeout = Duration::from_millis(500);
    let mut transport = credit_for_settings_only(&config);
    // Otherwise the connection might be idle for too long before that.
    transport.keep_alive_interval(Some(Duration::from_millis(100)));
    let hall = Hall::open(config).await;
    let peer = Peer::connect_with(hall.address(), &trusted, transport).await;
    let authority = format!("localhost:{}", hall.address().port());
    let fields = [
        (":method", "CONNECT"),
        (":scheme", "https"),
        (":authority", &*authority),
        (":path", "/ws"),
        (":protocol", "webtransport"),
    ];
    let (_send, mut receive) = peer.begin(&fields).await;
    // Without reading, which would give credit.
    let reset = timeout(NEVER, receive.received_reset()).await.unwrap();
    assert_eq!(
        reset.unwrap().map(VarInt::into_inner),
        Some(REQUEST_CANCELLED)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_with_forged_addresses_do_not_count_for_the_victim() {
    let directory = tempfile::tempdir().unwrap();
    let (mut config, trusted) = with_http3(directory.path());
    config.connections.max_per_address = Some(1);
    let hall = Hall::open(config).await;
    let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let client = client_config(&trusted, TransportConfig::default());
    let mut forged = Vec::new();
    for _ in 0..4 {
        // A relay that passes only the first datagram on: the address is never validated.
        let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = relay.local_addr().unwrap();
        let connecting = endpoint.connect_with(client.clone(), address, "localhost");
        let mut packet = vec![0; 2048];
        let received = timeout(NEVER, relay.recv_from(&mut packet)).await.unwrap();
        let (length, _) = received.unwrap();
        relay
            .send_to(&packet[..length], hall.address())
            .await
            .unwrap();
        // The server waits for the rest of the handshake once it has answered; what the client repeats comes
        // from its own address.
        loop {
            let received = timeout(NEVER, relay.recv_from(&mut packet)).await.unwrap();
            if received.unwrap().1 == hall.address() {
                break;
            }
        }
        forged.push((relay, connecting.unwrap()));
    }
    let peer = Peer::connect(hall.address(), &trusted).await;
    assert_eq!(peer.request("GET", "/healthz", &[], &[]).await.status, 200);
    // Those whose address is validated do count.
    let (_endpoint, another) = bare(&hall, &trusted, TransportConfig::default()).await;
    let reason = timeout(NEVER, another.closed()).await.unwrap();
    let ConnectionError::ApplicationClosed(closed) = reason else {
        panic!("{reason}");
    };
    assert_eq!(closed.error_code.into_inner(), EXCESSIVE_LOAD);
    drop(forged);
}
