//! Channels that clients of the Pusher protocol share with others: events, members and permissions.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn pusher_clients_native_clients_and_the_signed_api_share_a_channel() {
    let hall = Hall::open(two_workers()).await;
    let (mut one, mut two) = (Client::open(&hall).await, Client::open(&hall).await);
    let mut native = hall.caller().await;
    native.subscribe("chat", json!("now")).await;
    one.subscribe("chat").await;
    two.subscribe("chat").await;

    trigger(&hall, "chat", "greeting", r#"{"text":"hello"}"#).await;
    let expected = json!({"event": "greeting", "channel": "chat", "data": "{\"text\":\"hello\"}"});
    assert_eq!(one.hear().await, expected);
    assert_eq!(two.hear().await, expected);
    let message = native.hear_a("message").await;
    assert_eq!(message["data"], json!({"text": "hello"}));
    assert_eq!(message["tags"], json!({"event": "greeting"}));

    hall.caller()
        .await
        .publish("chat", json!("from native"))
        .await;
    let heard = one.hear().await;
    assert_eq!(
        (&heard["event"], &heard["data"]),
        (&json!("message"), &json!("\"from native\""))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_presence_channel_are_counted_by_user_over_all_workers() {
    let hall = Hall::open(two_workers()).await;
    let mut ann = Client::open(&hall).await;
    let presence = ann.join("presence-room", "ann").await;
    assert_eq!(
        presence,
        json!({"count": 1, "ids": ["ann"], "hash": {"ann": {"name": "ann"}}})
    );
    let mut bob = Client::open(&hall).await;
    assert_eq!(bob.join("presence-room", "bob").await["count"], 2);
    let added = ann.hear_a("pusher_internal:member_added").await;
    assert_eq!(
        data(&added),
        json!({"user_id": "bob", "user_info": {"name": "bob"}})
    );
    // A second tab of the same user.
    let mut tab = Client::open(&hall).await;
    assert_eq!(tab.join("presence-room", "bob").await["count"], 2);
    ann.hears_nothing().await;

    let users = get(&hall, "channels/presence-room/users", &[]).await;
    assert_eq!(
        users,
        (200, json!({"users": [{"id": "ann"}, {"id": "bob"}]}))
    );
    let info = [("info", "user_count")];
    let room = get(&hall, "channels/presence-room", &info).await;
    assert_eq!(room, (200, json!({"occupied": true, "user_count": 2})));

    tab.socket
        .close(offhook::protocol::CloseCode::NORMAL, "")
        .await
        .unwrap();
    bob.send(json!({"event": "pusher:unsubscribe", "data": {"channel": "presence-room"}}))
        .await;
    let removed = ann.hear_a("pusher_internal:member_removed").await;
    assert_eq!(data(&removed), json!({"user_id": "bob"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn private_channels_are_closed_to_clients_of_other_dialects_unless_a_rule_opens_them() {
    let open = ChannelRule {
        pattern: "presence-open*".to_owned(),
        rules: ChannelRules::default(),
        ..ChannelRule::default()
    };
    let mut config = with_apps(config());
    config.channels.insert(0, open);
    let hall = Hall::open(config).await;
    hall.set_api_keys(vec![ApiKey::of_everything("key")]);
    let mut native = hall.caller().await;
    for channel in [
        "private-a",
        "private-encrypted-a",
        "presence-a",
        "#server-to-user-a",
        "acme/private-a",
    ] {
        let wish = json!({"type": "subscribe", "channel": channel});
        assert_eq!(native.ask(wish).await["code"], "forbidden", "{channel}");
        let wish = json!({"type": "publish", "channel": channel, "data": 1});
        assert_eq!(native.ask(wish).await["code"], "forbidden", "{channel}");
        let wish = json!({"type": "history", "channel": channel});
        assert_eq!(native.ask(wish).await["code"], "forbidden", "{channel}");
    }
    native.subscribe("presence-open", json!("now")).await;
    // A filter does not match them either.
    let filter = json!({"type": "subscribe", "filter": "#", "subscription": 7});
    assert_eq!(native.ask(filter).await["type"], "subscribed");
    let mut client = Client::open(&hall).await;
    client.subscribe("private-a").await;
    let body = json!({"channel": "private-a", "data": 7}).to_string();
    assert_eq!(hall.api("key", "POST /api/v1/publish", &body).await.0, 200);
    assert_eq!(client.hear_a("message").await["data"], "7");
    trigger(&hall, "chat", "e", "1").await;
    assert_eq!(native.hear_a("message").await["channel"], "chat");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_events_reach_the_other_clients_in_the_channel() {
    let hall = Hall::open(two_workers()).await;
    let (mut ann, mut bob) = (Client::open(&hall).await, Client::open(&hall).await);
    ann.join("presence-room", "ann").await;
    bob.join("presence-room", "bob").await;
    ann.hear_a("pusher_internal:member_added").await;
    let event = json!({"event": "client-typing", "channel": "presence-room", "data": {"on": true}});
    bob.send(event).await;
    let expected = json!({
        "event": "client-typing", "channel": "presence-room", "user_id": "bob", "data": "{\"on\":true}"
    });
    assert_eq!(ann.hear().await, expected);
    bob.hears_nothing().await;
    let event =
        json!({"event": "client-x", "channel": "presence-room", "data": "x".repeat(70_000)});
    bob.send(event).await;
    let error = bob.hear_a("pusher:error").await;
    assert!(
        error["data"]["message"]
            .as_str()
            .unwrap()
            .contains("the limit is"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_client_events_are_rejected_with_4301() {
    let config = Config {
        limits: Limits {
            publish_burst: 2,
            publishes_per_second: 1,
            ..Limits::default()
        },
        ..with_apps(config())
    };
    let hall = Hall::open(config).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("private-a").await;
    for _ in 0..8 {
        let event = json!({"event": "client-x", "channel": "private-a", "data": 1});
        client.send(event).await;
    }
    assert_eq!(client.hear_a("pusher:error").await["data"]["code"], 4301);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_permits_nobody_to_publish_also_applies_to_client_events() {
    let mut config = with_apps(config());
    let rules = ChannelRules {
        publish: Access::Nobody,
        ..ChannelRules::default()
    };
    let pattern = "private-news".to_owned();
    config.channels.insert(
        0,
        ChannelRule {
            pattern,
            rules,
            ..ChannelRule::default()
        },
    );
    let hall = Hall::open(config).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("private-news").await;
    client
        .send(json!({"event": "client-x", "channel": "private-news", "data": 1}))
        .await;
    let error = client.hear_a("pusher:error").await;
    assert!(
        error["data"]["message"]
            .as_str()
            .unwrap()
            .contains("may not publish"),
        "{error}"
    );
    trigger(&hall, "private-news", "e", "1").await;
    assert_eq!(client.hear().await["event"], "e");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_event_of_a_cache_channel_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let config = || with_apps(on_disk(directory.path()));
    let hall = Hall::open(config()).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("cache-price").await;
    let miss = client.hear_a("pusher:cache_miss").await;
    assert_eq!(miss["channel"], "cache-price");
    trigger(&hall, "cache-price", "price", "1").await;
    trigger(&hall, "cache-price", "price", "2").await;
    assert_eq!(client.hear().await["data"], "1");
    assert_eq!(client.hear().await["data"], "2");
    drop(client);
    hall.close().await;

    let hall = Hall::open(config()).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("cache-price").await;
    let cached = client.hear_a("price").await;
    assert_eq!(cached["data"], "2");
    client.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_with_prefixes_are_separate() {
    let hall = Hall::open(with_apps(config())).await;
    let mut one = Client::open(&hall).await;
    let path = "/app/other-key?protocol=7";
    let mut two = Client::open_at(&hall, path, OTHER).await;
    one.join("presence-a", "ann").await;
    let presence = two.join("presence-a", "bob").await;
    assert_eq!(presence["ids"], json!(["bob"]));
    trigger(&hall, "presence-a", "e", "1").await;
    one.hear_a("e").await;
    two.hears_nothing().await;
    one.hears_nothing().await;
    // The app without a prefix cannot use channels of the other app.
    let event = json!({"name": "e", "channel": "acme/presence-a", "data": "1"});
    assert_eq!(post(&hall, "events", &event).await.0, 403);
    assert_eq!(get(&hall, "channels/acme%2Fpresence-a", &[]).await.0, 403);
    let listed = get(&hall, "channels", &[]).await.1;
    assert_eq!(listed, json!({"channels": {"presence-a": {}}}));
    let app: AppKey = OTHER.parse().unwrap();
    let query = app.sign_request("GET", "/apps/2/channels", &[], b"", now_s());
    let listed = raw(&hall, "GET", "/apps/2/channels", &query, "").await;
    assert_eq!(listed, (200, json!({"channels": {"presence-a": {}}})));
}

#[tokio::test(flavor = "multi_thread")]
async fn private_channels_of_the_apps_that_are_served_stay_closed_after_a_reload() {
    let hall = Hall::open(with_apps(config())).await;
    let mut native = hall.caller().await;
    for _ in 0..2 {
        let mut without = with_apps(config());
        without.pusher.apps.clear();
        let changes = hall.reload(without).await.unwrap();
        let apps = changes.iter().find(|change| change.key == "pusher.apps");
        assert!(apps.is_some_and(|apps| !apps.is_live), "{changes:?}");
        let wish = json!({"type": "subscribe", "channel": "private-a"});
        assert_eq!(native.ask(wish).await["code"], "forbidden");
    }
    Client::open(&hall).await.subscribe("private-a").await;
}
