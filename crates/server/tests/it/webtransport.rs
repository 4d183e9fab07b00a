//! WebTransport: sessions of the native dialect over a control stream, streams of subscriptions, and datagrams.

use std::{fs, time::Duration};

use offhook::{Connect, Tls};
use offhook_engine::{ChannelRules, Limits};
use offhook_server::{Config, config::ChannelRule};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::{
    caller::Caller,
    hall::{Hall, NEVER},
    http3_peer::{Peer, Session, with_http3},
    metrics,
};

/// `WEBTRANSPORT_SESSION_GONE`.
const SESSION_GONE: u64 = 0x170d_7b68;

/// A server with HTTP/3, whose directory lives as long as this.
struct Place {
    hall: Hall,
    trusted: CertificateDer<'static>,
    pem: String,
    _directory: tempfile::TempDir,
}

impl Place {
    async fn open(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (mut config, trusted) = with_http3(directory.path());
        config.channels.insert(
            0,
            ChannelRule {
                pattern: "cursors*".to_owned(),
                rules: ChannelRules {
                    unreliable: true,
                    ..ChannelRules::default()
                },
                ..ChannelRule::default()
            },
        );
        change(&mut config);
        let pem = fs::read_to_string(directory.path().join("cert.pem")).unwrap();
        Self {
            hall: Hall::open(config).await,
            trusted,
            pem,
            _directory: directory,
        }
    }

    async fn peer(&self) -> Peer {
        Peer::connect(self.hall.address(), &self.trusted).await
    }

    /// A WebSocket that has not sent anything.
    async fn dial(&self) -> Caller {
        let tls = Tls::builder()
            .pinned_pem(&self.pem)
            .unwrap()
            .build()
            .unwrap();
        let port = self.hall.address().port();
        let connect = Connect::to(format!("wss://localhost:{port}/ws"))
            .subprotocol("offhook.v1.json")
            .no_proxy()
            .tls(tls);
        Caller::new(connect.open().await.unwrap())
    }

    async fn caller(&self) -> Caller {
        let mut caller = self.dial().await;
        caller.connect().await;
        caller
    }
}

async fn connected(peer: &Peer) -> Session<'_> {
    let mut session = peer.session().await;
    session.connect(json!({})).await;
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_subscribes_and_publishes_like_any_other() {
    let place = Place::open(|_| {}).await;
    let peer = place.peer().await;
    let mut session = connected(&peer).await;
    session.subscribe("chat", json!("now")).await;
    let mut caller = place.caller().await;
    caller.publish("chat", json!("from a WebSocket")).await;
    let message = session.control.hear_a("message").await;
    assert_eq!(message["data"], "from a WebSocket");
    caller.subscribe("chat", json!("now")).await;
    session
        .send(json!({"type": "publish", "channel": "chat", "data": "back"}))
        .await;
    session.control.hear_a("published").await;
    assert_eq!(caller.hear_a("message").await["data"], "back");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_counted_with_their_transport() {
    let place = Place::open(|config| *config = metrics::operated(config.clone())).await;
    let peer = place.peer().await;
    let _session = connected(&peer).await;
    let text = metrics::text(&place.hall).await;
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with("offhook_clients{"));
    let line = lines.find(|line| line.contains("transport=\"webtransport\""));
    assert!(line.is_some_and(|line| line.ends_with(" 1")), "{text}");
    assert!(lines.next().is_none(), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sessions_and_requests_share_one_connection() {
    let place = Place::open(|_| {}).await;
    let peer = place.peer().await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let mut session = connected(&peer).await;
        session.subscribe("chat", json!("now")).await;
        sessions.push(session);
    }
    let health = peer.request("GET", "/healthz", &[], &[]).await;
    let health: Value = serde_json::from_slice(&health.body).unwrap();
    assert_eq!(health["connections"], 3);
    let mut caller = place.caller().await;
    caller.publish("chat", json!("to all")).await;
    for session in &mut sessions {
        assert_eq!(session.control.hear_a("message").await["data"], "to all");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_messages_of_a_subscription_with_a_stream_come_on_that_stream() {
    let place = Place::open(|_| {}).await;
    let peer = place.peer().await;
    let mut session = connected(&peer).await;
    let mut caller = place.caller().await;
    caller.publish("chat", json!("before")).await;
    session
        .send(json!({"type": "subscribe", "channel": "chat", "since": {"last": 1}, "stream": true}))
        .await;
    let subscribed = session.control.hear_a("subscribed").await;
    let number = subscribed["stream"].as_u64().expect("it names its stream");
    let (opened, mut own) = session.stream().await;
    assert_eq!(u64::from(opened), number);
    assert_eq!(own.next().await.unwrap()["data"], "before");
    assert_eq!(own.next().await.unwrap()["type"], "live");
    // Another subscription uses the control stream.
    session.subscribe("chat/other", json!("now")).await;
    caller.publish("chat/other", json!("elsewhere")).await;
    assert_eq!(session.control.hear_a("message").await["data"], "elsewhere");
    caller.publish("chat", json!("after")).await;
    assert_eq!(own.next().await.unwrap()["data"], "after");
    session
        .send(json!({"type": "unsubscribe", "channel": "chat"}))
        .await;
    assert_eq!(own.next().await.unwrap()["type"], "unsubscribed");
    assert!(
        own.next().await.is_none(),
        "the stream ends with its subscription"
    );
}

/// Head-of-line blocking: one stream is not read, and its window is full.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_read_delays_no_other() {
    let place = Place::open(|config| {
        config.limits = Limits {
            data_bytes: 1 << 20,
            ..config.limits.clone()
        };
        config.messages.max_bytes = 2 << 20;
        config.messages.outbox_bytes = 4 << 20;
        config.http3.send_window = 8 << 20;
    })
    .await;
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(quinn::VarInt::from_u32(16 * 1024));
    let peer = Peer::connect_with(place.hall.address(), &place.trusted, transport).await;
    let mut session = peer.session().await;
    session.connect(json!({"streams": true})).await;
    session.subscribe("chat/large", json!("now")).await;
    session.subscribe("chat/small", json!("now")).await;
    let mut caller = place.caller().await;
    caller
        .publish("chat/large", json!("x".repeat(500_000)))
        .await;
    let (_, large) = session.stream().await;
    for n in 0..10 {
        caller.publish("chat/small", json!(n)).await;
    }
    let (_, mut small) = session.stream().await;
    for n in 0..10 {
        assert_eq!(small.next().await.unwrap()["data"], n);
    }
    let mut large = large;
    let message = large.next().await.unwrap();
    assert_eq!(message["data"].as_str().unwrap().len(), 500_000);
}

/// A FIN in the middle of a message would look like the end of the subscription.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_written_completely_is_reset_when_its_session_ends() {
    let place = Place::open(|config| {
        config.limits.data_bytes = 1 << 20;
        config.messages.max_bytes = 2 << 20;
        config.messages.outbox_bytes = 4 << 20;
    })
    .await;
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(quinn::VarInt::from_u32(16 * 1024));
    let peer = Peer::connect_with(place.hall.address(), &place.trusted, transport).await;
    let mut session = peer.session().await;
    session.connect(json!({"streams": true})).await;
    session.subscribe("chat", json!("now")).await;
    let mut caller = place.caller().await;
    // More than the window and http3.send_window.
    caller.publish("chat", json!("x".repeat(900_000))).await;
    let (_, mut own) = session.stream().await;
    session.leave().await;
    assert_eq!(own.reset().await, Some(SESSION_GONE));
}

/// Firefox allows 16 streams on a connection. This client allows two: that of HTTP/3 and one of a subscription.
#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_for_which_the_client_allows_no_stream_use_the_control_stream() {
    let place = Place::open(|_| {}).await;
    let mut transport = quinn::TransportConfig::default();
    transport.max_concurrent_uni_streams(quinn::VarInt::from_u32(2));
    let peer = Peer::connect_with(place.hall.address(), &place.trusted, transport).await;
    let mut session = peer.session().await;
    session.connect(json!({"streams": true})).await;
    session.subscribe("chat/one", json!("now")).await;
    session.subscribe("chat/two", json!("now")).await;
    let mut caller = place.caller().await;
    caller.publish("chat/one", json!(1)).await;
    let (_, mut own) = session.stream().await;
    assert_eq!(own.hear_a("message").await["data"], 1);
    caller.publish("chat/two", json!(2)).await;
    assert_eq!(session.control.hear_a("message").await["data"], 2);
    session
        .send(json!({"type": "unsubscribe", "channel": "chat/two"}))
        .await;
    session.control.hear_a("unsubscribed").await;
    caller.publish("chat/one", json!(3)).await;
    assert_eq!(own.hear_a("message").await["data"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_resume_acknowledged_messages_do_not_come_in_datagrams() {
    let place = Place::open(|_| {}).await;
    let peer = place.peer().await;
    let mut first = connected(&peer).await;
    first
        .send(json!({"type": "subscribe", "channel": "cursors", "subscription": 7, "window": 4}))
        .await;
    first.control.hear_a("subscribed").await;
    let token = first.control.hear_a("token").await["resume"].clone();
    // The session is lost, not left.
    drop(first);
    peer.quic.close(quinn::VarInt::from_u32(0x100), b"");
    let peer = place.peer().await;
    let mut again = peer.session().await;
    again
        .connect(json!({"resume": token, "datagrams": true}))
        .await;
    again.control.hear_a("restored").await;
    let mut caller = place.caller().await;
    caller.publish("cursors", json!([1, 2])).await;
    assert_eq!(again.control.hear_a("message").await["data"], json!([1, 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn publications_of_an_unreliable_channel_come_in_datagrams_to_a_client_that_reads_them() {
    let place = Place::open(|_| {}).await;
    let peer = place.peer().await;
    let mut reads = peer.session().await;
    reads.connect(json!({"datagrams": true})).await;
    reads.subscribe("cursors", json!("now")).await;
    let mut caller = place.caller().await;
    caller.publish("cursors", json!([1, 2])).await;
    let message = reads.datagram().await;
    assert_eq!(
        (&message["type"], &message["data"]),
        (&json!("message"), &json!([1, 2]))
    );
    // One that is too long for a datagram comes on the control stream.
    caller.publish("cursors", json!("x".repeat(5_000))).await;
    let message = reads.control.hear_a("message").await;
    assert_eq!(message["data"].as_str().unwrap().len(), 5_000);
    // A client that has not asked for datagrams gets everything on its control stream.
    let mut other = connected(&peer).await;
    other.subscribe("cursors", json!("now")).await;
    caller.publish("cursors", json!("for all")).await;
    assert_eq!(other.control.hear_a("message").await["data"], "for all");
    assert_eq!(reads.datagram().await["data"], "for all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_moves_from_a_websocket_to_webtransport_and_back_without_a_loss() {
    let place = Place::open(|_| {}).await;
    let mut publisher = place.caller().await;
    let mut caller = place.caller().await;
    caller.subscribe("chat", json!("now")).await;
    caller.fresh_token().await;
    publisher.publish("chat", json!(1)).await;
    let first = caller.hear_a("message").await;
    let session_id = caller.session.clone();
    publisher.publish("chat", json!(2)).await;

    // The WebSocket is still open; its second message was not read.
    let peer = place.peer().await;
    let mut session = peer.session().await;
    let welcome = session
        .connect(json!({
            "resume": caller.resume, "positions": {"chat": first["position"]}, "streams": true
        }))
        .await;
    assert_eq!(welcome["session"], session_id.as_str());
    let subscribed = session.control.hear_a("subscribed").await;
    assert!(subscribed["stream"].is_u64(), "{subscribed}");
    session.control.hear_a("restored").await;
    let (_, mut own) = session.stream().await;
    let second = own.hear_a("message").await;
    assert_eq!(second["data"], 2);
    publisher.publish("chat", json!(3)).await;
    let third = own.hear_a("message").await;
    assert_eq!(third["data"], 3);
    let token = welcome["resume"].as_str().unwrap();

    let mut back = place.dial().await;
    publisher.publish("chat", json!(4)).await;
    let resumed = back.resume(token, json!({"chat": third["position"]})).await;
    assert_eq!(resumed["session"], session_id.as_str(), "{resumed}");
    assert_eq!(session.closed().await.code, 4001, "the session has moved");
    loop {
        let message = back.hear().await;
        assert_ne!(message["type"], "gap", "{message}");
        if message["type"] == "message" {
            assert_eq!(message["data"], 4);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_leaves_is_not_present_any_more() {
    let place = Place::open(|_| {}).await;
    let peer = place.peer().await;
    let mut caller = place.caller().await;
    let subscribe = json!({"type": "subscribe", "channel": "chat", "presence": true});
    caller.ask(subscribe).await;
    let mut session = connected(&peer).await;
    session.subscribe("chat", json!("now")).await;
    loop {
        if caller.hear_a("join").await["session"] != caller.session.as_str() {
            break;
        }
    }
    session.leave().await;
    caller.hear_a("leave").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_may_not_open_a_session() {
    let place = Place::open(|_| {}).await;
    let peer = place.peer().await;
    let port = place.hall.address().port();
    let foreign = [("origin", "https://evil.example")];
    let (refused, ..) = peer.extended("webtransport", "/ws", &foreign).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let own = format!("https://localhost:{port}");
    let (accepted, ..) = peer
        .extended("webtransport", "/ws", &[("origin", &own)])
        .await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    let (elsewhere, ..) = peer.extended("webtransport", "/elsewhere", &[]).await;
    assert_eq!(elsewhere.status, 404, "{elsewhere:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_above_the_limit_ends_the_session_with_1009() {
    let place = Place::open(|_| {}).await;
    let peer = place.peer().await;
    let mut session = connected(&peer).await;
    // Only its length arrives.
    session
        .send
        .write_all(&u32::MAX.to_be_bytes())
        .await
        .unwrap();
    assert_eq!(session.closed().await.code, 1009);
    let mut session = connected(&peer).await;
    session.send.write_all(&[0, 0, 0, 1, 0xff]).await.unwrap();
    assert_eq!(session.closed().await.code, 1007);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_a_control_stream_or_a_connect_is_ended() {
    let place = Place::open(|config| {
        config.connections.connect_timeout = Duration::from_millis(50);
    })
    .await;
    let peer = place.peer().await;
    let (answer, _connect, mut capsules) = peer.extended("webtransport", "/ws", &[]).await;
    assert_eq!(answer.status, 200);
    // The capsule with the reason, and the end.
    assert!(capsules.data().await.is_some());
    assert!(capsules.data().await.is_none());
    let mut silent = peer.session().await;
    assert_eq!(silent.closed().await.code, 1008);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_datagrams_of_unknown_and_foreign_sessions_are_refused() {
    let place = Place::open(|_| {}).await;
    let (peer, other) = (place.peer().await, place.peer().await);
    let mut session = connected(&peer).await;
    // The session belongs to another connection.
    for id in [session.id, 4_000] {
        let (mut send, mut receive) = other.quic.open_bi().await.unwrap();
        let begin = offhook_http3::webtransport::bidirectional(id);
        send.write_all(&begin).await.unwrap();
        let read = timeout(NEVER, receive.read(&mut [0])).await.unwrap();
        assert!(read.is_err(), "{read:?}");
        let mut uni = other.quic.open_uni().await.unwrap();
        let begin = offhook_http3::webtransport::unidirectional(id);
        uni.write_all(&begin).await.unwrap();
        assert!(
            timeout(NEVER, uni.stopped())
                .await
                .unwrap()
                .unwrap()
                .is_some()
        );
        let prefix = offhook_http3::webtransport::datagram_prefix(id);
        other.quic.send_datagram(prefix.into()).unwrap();
    }
    // A second stream of the session itself.
    let (mut send, mut receive) = peer.quic.open_bi().await.unwrap();
    let begin = offhook_http3::webtransport::bidirectional(session.id);
    send.write_all(&begin).await.unwrap();
    assert!(
        timeout(NEVER, receive.read(&mut [0]))
            .await
            .unwrap()
            .is_err()
    );
    // Both connections are still served.
    session.send(json!({"type": "ping"})).await;
    session.control.hear_a("pong").await;
    assert_eq!(other.request("GET", "/healthz", &[], &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_the_stream_of_a_subscription_loses_its_session_not_its_messages() {
    let place = Place::open(|_| {}).await;
    let peer = place.peer().await;
    let mut session = peer.session().await;
    session.connect(json!({"streams": true})).await;
    session.subscribe("chat", json!("now")).await;
    let mut caller = place.caller().await;
    caller.publish("chat", json!(1)).await;
    // Dropping a stream stops it.
    drop(session.stream().await);
    let publishing = async {
        for n in 2.. {
            caller.publish("chat", json!(n)).await;
        }
    };
    let closed = tokio::select! {
        closed = session.closed() => closed,
        () = publishing => unreachable!("it does not end"),
    };
    assert_eq!(closed.code, 1002, "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_reads_nothing_falls_behind_in_bounded_memory_and_catches_up() {
    let place = Place::open(|config| {
        config.messages.outbox_bytes = 64 * 1024;
    })
    .await;
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(quinn::VarInt::from_u32(16 * 1024));
    let peer = Peer::connect_with(place.hall.address(), &place.trusted, transport).await;
    let mut session = connected(&peer).await;
    session.subscribe("chat", json!("now")).await;
    let mut caller = place.caller().await;
    let text = "x".repeat(10_000);
    for n in 0..300 {
        caller.publish("chat", json!([n, text])).await;
    }
    for n in 0..300 {
        let message = session.control.hear_a("message").await;
        assert_eq!(message["data"][0], n, "nothing is lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_above_the_limit_of_streams_use_the_control_stream() {
    let place = Place::open(|config| config.http3.session_streams = 1).await;
    let peer = place.peer().await;
    let mut session = peer.session().await;
    session.connect(json!({"streams": true})).await;
    let first = session.subscribe("chat/1", json!("now")).await;
    assert!(first["stream"].is_u64(), "{first}");
    let second = session.subscribe("chat/2", json!("now")).await;
    assert!(second["stream"].is_null(), "{second}");
    let mut caller = place.caller().await;
    caller.publish("chat/2", json!("here")).await;
    assert_eq!(session.control.hear_a("message").await["data"], "here");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_told_when_the_server_stops() {
    let place = Place::open(|_| {}).await;
    let peer = place.peer().await;
    let mut session = connected(&peer).await;
    let Place { hall, .. } = place;
    let stopping = hall.close();
    let told = async {
        session.control.hear_a("reconnect").await;
        assert_eq!(session.closed().await.code, 1012);
        // RFC 9114 §3.4: an orderly end.
        assert_eq!(peer.ended().await, 0x100);
    };
    tokio::join!(stopping, told);
}
