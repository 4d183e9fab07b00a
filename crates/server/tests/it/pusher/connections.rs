//! Signatures, users and limits of connections of the Pusher protocol.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_valid_only_for_its_connection_its_channel_and_its_app() {
    let hall = Hall::open(with_apps(config())).await;
    let mut client = Client::open(&hall).await;
    let other = Client::open(&hall).await;
    let foreign: AppKey = OTHER.parse().unwrap();
    let own = format!("{}:private-a", client.socket_id);
    let digits = entry().sign(&own);
    for auth in [
        entry().sign(&format!("{}:private-a", other.socket_id)),
        entry().sign(&format!("{}:private-b", client.socket_id)),
        foreign.sign(&own),
        digits.replace("app-key", "other-key"),
        digits[..digits.len() - 2].to_owned(),
        "app-key:".to_owned(),
        String::new(),
    ] {
        let fields = json!({"channel": "private-a", "auth": auth});
        client
            .send(json!({"event": "pusher:subscribe", "data": fields}))
            .await;
        let error = client.hear_a("pusher:subscription_error").await;
        assert_eq!(error["data"]["status"], 401, "{error}");
    }
    client.subscribe("private-a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_in_user_receives_events_until_the_backend_ends_the_connections() {
    let hall = Hall::open(two_workers()).await;
    let (mut ann, mut bob) = (Client::open(&hall).await, Client::open(&hall).await);
    assert_eq!(ann.sign_in("ann").await["event"], "pusher:signin_success");
    assert_eq!(bob.sign_in("bob").await["event"], "pusher:signin_success");
    ann.ask("#server-to-user-bob", None).await;
    ann.hear_a("pusher:subscription_error").await;
    ann.subscribe("#server-to-user-ann").await;
    trigger(&hall, "#server-to-user-ann", "note", "\"hi\"").await;
    assert_eq!(ann.hear_a("note").await["channel"], "#server-to-user-ann");
    let ended = post(&hall, "users/ann/terminate_connections", &json!({})).await;
    assert_eq!(ended, (200, json!({})));
    assert_eq!(ann.is_closed().await, 4009);
    bob.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_sign_in_is_closed_with_4009() {
    let hall = Hall::open(with_apps(config())).await;
    let mut client = Client::open(&hall).await;
    client.socket_id = "1.1".to_owned();
    let error = client.sign_in("ann").await;
    assert_eq!(error["data"]["code"], 4009);
    assert_eq!(client.message().await, None);
    assert_eq!(client.socket.closed().unwrap().code.get(), 4009);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_an_unknown_app_is_closed_with_4001() {
    let hall = Hall::open(with_apps(config())).await;
    for (path, code) in [
        ("/app/nobody?protocol=7", 4001),
        ("/app/app-key", 4008),
        ("/app/app-key?protocol=x", 4006),
        ("/app/app-key?protocol=99", 4007),
    ] {
        let socket = hall.number_at(path).open().await.unwrap();
        let mut client = Client {
            socket,
            socket_id: String::new(),
            app: entry(),
        };
        assert_eq!(client.is_closed().await, code, "{path}");
    }
    assert!(hall.number_at("/app/a/b?protocol=7").open().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_held_to_the_limits_of_every_client() {
    let hall = Hall::open(with_apps(config())).await;
    let mut client = Client::open(&hall).await;
    let limit = Limits::default().subscriptions;
    for n in 0..limit {
        client.subscribe(&format!("private-{n}")).await;
    }
    client.ask("private-more", None).await;
    let error = client.hear_a("pusher:subscription_error").await;
    assert_eq!(
        (&error["data"]["type"], &error["channel"]),
        (&json!("LimitReached"), &json!("private-more"))
    );
    // One that ends makes room.
    client
        .send(json!({"event": "pusher:unsubscribe", "data": {"channel": "private-0"}}))
        .await;
    client.subscribe("private-more").await;
    // A message longer than any may be.
    let large = json!({"event": "pusher:subscribe", "data": {"channel": "x".repeat(300_000)}});
    client.send(large).await;
    assert_eq!(client.message().await, None);
    assert_eq!(client.socket.closed().unwrap().code.get(), 1009);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_without_apps() {
    let hall = Hall::open(config()).await;
    assert!(hall.number_at(PATH).open().await.is_err());
    let (status, _, _) = hall.get("/apps/1/channels").await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_was_revoked_cannot_sign_in_with_an_older_signature() {
    let hall = Hall::open(with_apps(config())).await;
    hall.set_api_keys(vec![ApiKey::of_everything("key")]);
    let mut client = Client::open(&hall).await;
    let body = json!({"user": "bob"}).to_string();
    assert_eq!(hall.api("key", "POST /api/v1/revoke", &body).await.0, 200);
    let answer = client.sign_in("bob").await;
    assert_eq!(answer["event"], "pusher:error", "{answer}");
    client.ask("#server-to-user-bob", None).await;
    client.hear_a("pusher:subscription_error").await;
    assert_eq!(
        client.sign_in("ann").await["event"],
        "pusher:signin_success"
    );
}
