//! With the real server: filters, several channels with one request, and messages of the backend to
//! a session.

use offhook_client::{ConnectionEvent, Error, Event, MemoryPositions, Since};
use offhook_engine::{ChannelName, Format, SessionId, Subscribe, Whom};
use serde_json::json;
use tempfile::TempDir;

use crate::test_server::{TestServer, builder, next, numbers, opened, text, texts, within};

#[tokio::test]
async fn a_filter_gets_publications_of_every_matching_channel() {
    let server = TestServer::open().await;
    let (ann, ben) = (server.client().await, server.client().await);
    let mut sensors = ann.subscribe_filter("sensors/+").await.unwrap();
    assert!(matches!(next(&mut sensors).await, Event::Live { .. }));
    for (channel, data) in [("sensors/a", "1"), ("other", "2"), ("sensors/b", "3")] {
        ben.publish(channel, data).await.unwrap();
    }
    let mut came = Vec::new();
    for _ in 0..2 {
        let Event::Publication(publication) = next(&mut sensors).await else {
            panic!()
        };
        came.push((publication.channel.to_string(), text(&publication)));
    }
    let expected = [("sensors/a", "1"), ("sensors/b", "3")];
    assert_eq!(
        came,
        expected.map(|(channel, data)| (channel.to_owned(), data.to_owned()))
    );
    let refused = ann.subscribe_filter("sensors/a+").await.unwrap_err();
    assert!(matches!(refused, Error::Invalid(_)), "{refused:?}");
}

#[tokio::test]
async fn a_filter_continues_over_a_restart_without_a_gap_in_old_and_new_channels() {
    let directory = TempDir::new().unwrap();
    let server = TestServer::on_disk(directory.path()).await;
    let positions = MemoryPositions::default();
    let client = builder(server.address())
        .positions(positions.clone())
        .start();
    let mut sensors = client
        .subscribe_filter("sensors/#")
        .since(Since::Start)
        .start()
        .unwrap();
    client.publish("sensors/a", "0").await.unwrap();
    client.publish("sensors/b/c", "1").await.unwrap();
    assert_eq!(texts(&mut sensors, 2).await, ["0", "1"]);
    drop(sensors);
    within(client.close()).await;
    server.close().await;

    let server = TestServer::on_disk(directory.path()).await;
    let publisher = server.client().await;
    publisher.publish("sensors/new", "2").await.unwrap();
    let client = builder(server.address()).positions(positions).start();
    let mut sensors = client.subscribe_filter("sensors/#").await.unwrap();
    // It did not request a third event, so the second one does not count as handled, and is
    // delivered again.
    assert_eq!(texts(&mut sensors, 2).await, ["1", "2"]);
}

#[tokio::test]
async fn several_channels_are_subscribed_to_with_one_request() {
    let server = TestServer::open().await;
    let client = server.client().await;
    for n in 0..3 {
        client.publish(n.to_string(), n.to_string()).await.unwrap();
    }
    let channels = numbers(0..3);
    let rooms = client
        .subscribe_all(&channels)
        .since(Since::Start)
        .await
        .unwrap();
    for (mut room, channel) in rooms.into_iter().zip(channels) {
        assert_eq!(room.name(), channel);
        assert_eq!(texts(&mut room, 1).await, [channel]);
    }
    let refused = client.subscribe_all(["ok", "closed/a"]).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    // The other one is free again.
    client.subscribe("ok").await.unwrap();
}

#[tokio::test]
async fn the_new_info_of_a_member_reaches_subscribers_with_presence() {
    let server = TestServer::open().await;
    let (watcher, member) = (server.client().await, server.client().await);
    let mut room = watcher.subscribe("room").presence().await.unwrap();
    let _there = member.subscribe("room").await.unwrap();
    member.update_info(json!({"name": "Ann"})).await.unwrap();
    loop {
        if let Event::Joined(joined) = next(&mut room).await
            && let Some(info) = joined.info
        {
            assert_eq!(info.as_bytes(), br#"{"name":"Ann"}"#);
            break;
        }
    }
}

#[tokio::test]
async fn data_sent_to_a_session_by_the_backend_reaches_only_its_client() {
    let server = TestServer::open().await;
    let client = builder(server.address()).start();
    let mut events = client.events();
    opened(&mut events).await;
    let room = client.subscribe("room").await.unwrap();
    let members = client.presence("room").await.unwrap();
    let session = u128::from_str_radix(&members.members[0].session, 16).unwrap();
    let whom = Whom::Session(SessionId::from_bytes(session.to_be_bytes()));
    let told = server
        .sessions()
        .tell(whom, r#"{"n":1}"#.into(), Format::Json)
        .await;
    assert_eq!(told, 1);
    let data = loop {
        if let Some(ConnectionEvent::Told { data }) = within(events.next()).await {
            break data;
        }
    };
    assert_eq!(data.as_bytes(), br#"{"n":1}"#);
    drop(room);
}

#[tokio::test]
async fn a_subscription_that_the_backend_makes_is_read_like_any_other() {
    let server = TestServer::open().await;
    let client = builder(server.address()).start();
    let mut events = client.events();
    opened(&mut events).await;
    let mut made = client.made_by_server();
    let room = client.subscribe("room").await.unwrap();
    let members = client.presence("room").await.unwrap();
    let session = u128::from_str_radix(&members.members[0].session, 16).unwrap();
    let whom = Whom::Session(SessionId::from_bytes(session.to_be_bytes()));
    let wish = Subscribe::new(
        ChannelName::new("news").unwrap(),
        offhook_engine::Since::Now,
    );
    assert_eq!(server.sessions().subscribe(whom, wish).await, 1);
    let mut news = within(made.next()).await.expect("a subscription");
    assert_eq!(news.name(), "news");
    client.publish("news", "hello").await.unwrap();
    let data = loop {
        if let Some(Event::Publication(publication)) = within(news.next()).await.unwrap() {
            break publication.data;
        }
    };
    assert_eq!(data.text().unwrap(), "hello");
    drop(room);
    client.close().await;
    assert!(within(made.next()).await.is_none());
}
