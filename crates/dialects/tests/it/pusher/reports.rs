//! What connections report for webhooks, and the counts that they are told.

use super::*;

fn reporting(prefix: &str) -> Client {
    Client::connected_with(Settings {
        reports: true,
        ..settings(prefix)
    })
}

fn sends(client: &mut Client, channel: &str) -> CommandId {
    client.send(&json!({"event": "client-a", "channel": channel, "data": {"on": true}}));
    let (id, _) = client.permitted.remove(0);
    id
}

const PUBLISHED: Reply = Reply::Published {
    position: Position {
        epoch: Epoch(1),
        offset: 1,
    },
    duplicate: false,
};

#[test]
fn a_client_event_is_reported_once_it_is_published_and_not_if_it_is_refused() {
    let mut client = reporting("acme/");
    client.subscribe("presence-a", Some(r#"{"user_id":"ann"}"#));
    client.heard.clear();
    let id = sends(&mut client, "presence-a");
    assert!(client.reported.is_empty());
    client.reply(id, PUBLISHED);
    let event = ClientEvent {
        channel: name("acme/presence-a"),
        event: "client-a".to_owned(),
        data: r#"{"on":true}"#.into(),
        socket_id: SOCKET.to_owned(),
        user: Some("ann".into()),
    };
    assert_eq!(client.reported, [Report::ClientEvent(event)]);
    client.reported.clear();
    let id = sends(&mut client, "presence-a");
    let refusal = Refusal::new(ErrorCode::RateLimited, "slow down");
    client.reply(id, Reply::Refused(refusal));
    assert!(client.reported.is_empty());
}

#[test]
fn a_cache_channel_without_an_event_is_reported() {
    let mut client = reporting("");
    let wish = client.subscribe("cache-price", None);
    client.is_live(&wish);
    let channel = name("cache-price");
    assert_eq!(client.reported, [Report::CacheMiss { channel }]);
}

#[test]
fn nothing_is_reported_without_webhooks() {
    let mut client = Client::connected();
    client.subscribe("private-a", None);
    let wish = client.subscribe("cache-price", None);
    client.is_live(&wish);
    let id = sends(&mut client, "private-a");
    client.reply(id, PUBLISHED);
    assert!(client.reported.is_empty());
}

#[test]
fn a_subscriber_is_told_the_count_under_its_name_of_the_channel_once_it_is_subscribed() {
    let mut client = Client::connected_to("acme/");
    let told = |client: &mut Client, channel: &str| {
        let mut out = Vec::new();
        client.pusher.counted(&name(channel), 7, &mut out);
        client.hear(out);
    };
    let wish = client.asks("private-a", None);
    told(&mut client, "acme/private-a");
    assert!(client.heard.is_empty());
    client.accept(&wish);
    client.heard.clear();
    told(&mut client, "acme/private-a");
    let count = client.takes();
    assert_eq!(count["event"], "pusher_internal:subscription_count");
    assert_eq!(count["channel"], "private-a");
    assert_eq!(data(&count), json!({"subscription_count": 7}));
    client.subscribe("presence-a", Some(r#"{"user_id":"ann"}"#));
    client.heard.clear();
    told(&mut client, "acme/presence-a");
    told(&mut client, "acme/private-elsewhere");
    assert!(client.heard.is_empty());
}
