//! The signed HTTP API of the Pusher protocol.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_with_the_socket_id_does_not_get_the_event() {
    let hall = Hall::open(two_workers()).await;
    let (mut one, mut two) = (Client::open(&hall).await, Client::open(&hall).await);
    one.subscribe("chat").await;
    two.subscribe("chat").await;
    let body = json!({"name": "e", "channel": "chat", "data": "1", "socket_id": one.socket_id});
    assert_eq!(post(&hall, "events", &body).await.0, 200);
    trigger(&hall, "chat", "next", "2").await;
    assert_eq!(two.hear().await["event"], "e");
    assert_eq!(two.hear().await["event"], "next");
    assert_eq!(one.hear().await["event"], "next");
    let body = json!({"name": "e", "channel": "chat", "data": "1", "socket_id": "not one"});
    assert_eq!(post(&hall, "events", &body).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn occupied_channels_are_listed() {
    let hall = Hall::open(with_apps(config())).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("chat").await;
    client.subscribe("chatter").await;
    client.join("presence-room", "ann").await;
    let all = get(&hall, "channels", &[]).await.1;
    assert_eq!(
        all,
        json!({"channels": {"chat": {}, "chatter": {}, "presence-room": {}}})
    );
    let some = [("filter_by_prefix", "presence-"), ("info", "user_count")];
    let some = get(&hall, "channels", &some).await.1;
    assert_eq!(
        some,
        json!({"channels": {"presence-room": {"user_count": 1}}})
    );
    assert_eq!(
        get(&hall, "channels", &[("info", "user_count")]).await.0,
        400
    );
    let counts = [("info", "subscription_count")];
    assert_eq!(
        get(&hall, "channels", &counts).await.1["channels"]["chatter"],
        json!({"subscription_count": 1})
    );
    let mut other = Client::open(&hall).await;
    other.subscribe("chat").await;
    assert_eq!(
        get(&hall, "channels/chat", &counts).await.1,
        json!({"occupied": true, "subscription_count": 2})
    );
    assert_eq!(
        get(&hall, "channels/nobody", &counts).await.1,
        json!({"occupied": false, "subscription_count": 0})
    );
    assert_eq!(get(&hall, "channels", &[("info", "cache")]).await.0, 400);
    assert_eq!(
        get(&hall, "channels/chat", &[]).await.1,
        json!({"occupied": true})
    );
    assert_eq!(
        get(&hall, "channels/cha", &[]).await.1,
        json!({"occupied": false})
    );
    assert_eq!(get(&hall, "channels/chat/users", &[]).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_published_in_order_or_not_at_all() {
    let hall = Hall::open(with_apps(config())).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("a").await;
    let event = |channel: &str, name: &str| json!({"channel": channel, "name": name, "data": "1"});
    let batch = json!({"batch": [event("a", "one"), event("b", "two"), event("a", "three")]});
    assert_eq!(post(&hall, "batch_events", &batch).await, (200, json!({})));
    client.hear_a("one").await;
    client.hear_a("three").await;
    for wrong in [
        json!({"batch": []}),
        json!({"batch": vec![event("a", "x"); 101]}),
        json!({"batch": [event("a", "x"), event("a\nb", "x")]}),
        json!({"batch": [event("a", "x"), event("a", "pusher:x")]}),
        json!({"batch": [{"name": "x", "data": "1"}]}),
    ] {
        assert_eq!(post(&hall, "batch_events", &wrong).await.0, 400, "{wrong}");
    }
    // What the engine refuses is found before anything is published.
    let large = json!({"channel": "b", "name": "x", "data": "x".repeat(65 * 1024)});
    let batch = json!({"batch": [event("a", "x"), large, event("a", "x")]});
    assert_eq!(post(&hall, "batch_events", &batch).await.0, 413);
    let info = json!({"batch": [{"channel": "presence-a", "name": "x", "data": "1", "info": "user_count"}]});
    let answer = post(&hall, "batch_events", &info).await;
    assert_eq!(answer, (200, json!({"batch": [{"user_count": 0}]})));
    client.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_forged_old_or_too_large_are_refused() {
    let mut config = with_apps(config());
    config.api.max_body = 4096;
    let hall = Hall::open(config).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("chat").await;
    let path = "/apps/1/events";
    let body = json!({"name": "e", "channel": "chat", "data": "1"}).to_string();
    let sign = |app: &str, path: &str, at: u64| {
        let app: AppKey = app.parse().unwrap();
        app.sign_request("POST", path, &[], body.as_bytes(), at)
    };
    let good = sign(ENTRY, path, now_s());
    let forged = sign("1 app-key not-the-secret-at-all", path, now_s());
    for (what, path, query, body) in [
        ("another secret", path, forged, body.clone()),
        (
            "another app",
            path,
            sign(OTHER, path, now_s()),
            body.clone(),
        ),
        (
            "recorded long ago",
            path,
            sign(ENTRY, path, now_s() - 700),
            body.clone(),
        ),
        (
            "from the future",
            path,
            sign(ENTRY, path, now_s() + 700),
            body.clone(),
        ),
        (
            "another path",
            "/apps/1/batch_events",
            good.clone(),
            body.clone(),
        ),
        ("another body", path, good.clone(), body.replace('1', "2")),
        ("no body", path, good.clone(), String::new()),
        ("nothing", path, String::new(), body.clone()),
        (
            "a parameter more",
            path,
            format!("{good}&info=x"),
            body.clone(),
        ),
    ] {
        let (status, answer) = raw(&hall, "POST", path, &query, &body).await;
        assert_eq!(
            (status, &answer["code"]),
            (401, &json!("unauthenticated")),
            "{what}: {answer}"
        );
    }
    let (status, _) = raw(
        &hall,
        "POST",
        "/apps/3/events",
        &sign(ENTRY, "/apps/3/events", now_s()),
        &body,
    )
    .await;
    assert_eq!(status, 404);
    let (status, _) = raw(&hall, "POST", path, "auth_key=%zz", &body).await;
    assert_eq!(status, 400);
    let large = json!({"name": "e", "channel": "chat", "data": "x".repeat(5000)});
    assert_eq!(post(&hall, "events", &large).await.0, 413);
    client.hears_nothing().await;
    assert_eq!(raw(&hall, "POST", path, &good, &body).await.0, 200);
    client.hear_a("e").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_events_are_refused() {
    let hall = Hall::open(with_apps(config())).await;
    for wrong in [
        json!([]),
        json!({}),
        json!({"name": "e", "data": "1"}),
        json!({"name": "e", "channels": [], "data": "1"}),
        json!({"name": "e", "channels": vec!["a"; 101], "data": "1"}),
        json!({"name": "e", "channel": "a", "data": {"not": "a string"}}),
        json!({"name": "", "channel": "a", "data": "1"}),
        json!({"name": "pusher_internal:x", "channel": "a", "data": "1"}),
        json!({"name": "x".repeat(201), "channel": "a", "data": "1"}),
    ] {
        let (status, answer) = post(&hall, "events", &wrong).await;
        assert_eq!(status, 400, "{wrong}: {answer}");
    }
    let large = json!({"name": "e", "channel": "a", "data": "x".repeat(70_000)});
    assert_eq!(post(&hall, "events", &large).await.0, 413);
    assert_eq!(get(&hall, "events", &[]).await.0, 405);
    assert_eq!(get(&hall, "nothing", &[]).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_users_that_is_not_complete_is_refused() {
    let mut config = with_apps(config());
    config.limits.members = 1;
    let hall = Hall::open(config).await;
    let mut ann = Client::open(&hall).await;
    ann.join("presence-room", "ann").await;
    assert_eq!(get(&hall, "channels/presence-room/users", &[]).await.0, 200);
    let mut bob = Client::open(&hall).await;
    bob.join("presence-room", "bob").await;
    let (status, answer) = get(&hall, "channels/presence-room/users", &[]).await;
    assert_eq!(status, 400);
    assert!(
        answer["detail"]
            .as_str()
            .unwrap()
            .contains("limits.members"),
        "{answer}"
    );
}
