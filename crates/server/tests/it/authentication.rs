//! Authentication: tokens in every place where a client can put one, what they allow, and when they
//! expire.

use offhook_auth::{Algorithm, Signer};
use offhook_engine::{Access, ChannelRules};
use offhook_server::{Config, config::ChannelRule};
use serde_json::{Value, json};

use crate::{
    caller::Caller,
    hall::Hall,
    issuer::{SECRET, now, of, token, with_tokens},
};

/// Channels below `private/` require a grant.
pub(crate) fn granted(mut config: Config) -> Config {
    let rules = ChannelRules {
        publish: Access::Granted,
        subscribe: Access::Granted,
        ..ChannelRules::default()
    };
    let pattern = "private/*".to_owned();
    config.channels.insert(
        0,
        ChannelRule {
            pattern,
            rules,
            ..ChannelRule::default()
        },
    );
    config
}

async fn connected(hall: &Hall, token: &str) -> (Caller, Value) {
    let mut caller = hall.dial().await;
    let welcome = caller
        .ask(json!({ "type": "connect", "token": token, "lineage": true }))
        .await;
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    caller.resume = welcome["resume"].as_str().unwrap().to_owned();
    (caller, welcome)
}

async fn handshaken(connect: offhook::Connect) -> Value {
    let mut caller = Caller::new(connect.open().await.unwrap());
    caller
        .ask(json!({ "type": "connect", "lineage": true }))
        .await
}

#[tokio::test]
async fn a_token_in_connect_names_the_user() {
    let hall = Hall::open(with_tokens(|_| {})).await;
    let (_caller, welcome) = connected(&hall, &of("ann")).await;
    assert_eq!(welcome["user"], "ann");
    let left = welcome["expires_in_ms"].as_u64().unwrap();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_token_may_be_in_the_handshake() {
    let hall = Hall::open(with_tokens(|auth| auth.query = true)).await;
    let header = hall
        .number()
        .header("Authorization", format!("Bearer {}", of("ann")));
    assert_eq!(handshaken(header).await["user"], "ann");
    let entry = format!("offhook.token.{}", of("bob"));
    assert_eq!(
        handshaken(hall.number().subprotocol(entry)).await["user"],
        "bob"
    );
    let query = hall.number_at(&format!("/ws?token={}", of("eve")));
    assert_eq!(
        handshaken(query.subprotocol("offhook.v1.json")).await["user"],
        "eve"
    );
}

#[tokio::test]
async fn a_cookie_is_accepted_only_from_pages_of_the_own_origin() {
    let cookie = |auth: &mut offhook_server::config::Auth| {
        auth.cookie = Some("session".to_owned());
        auth.anonymous = Some(true);
    };
    let mut config = with_tokens(cookie);
    config.origins = offhook::OriginPolicy::Any;
    let hall = Hall::open(config).await;
    let own = format!("http://{}", hall.address());
    let from = |origin: &str| {
        let cookie = format!("session={}", of("ann"));
        hall.number().header("Cookie", cookie).origin(origin)
    };
    assert_eq!(handshaken(from(&own)).await["user"], "ann");
    let foreign = handshaken(from("https://evil.example")).await;
    assert_eq!(
        (&foreign["type"], foreign.get("user")),
        (&json!("welcome"), None)
    );
}

#[tokio::test]
async fn with_keys_a_token_is_required_unless_anonymous_clients_are_allowed() {
    let hall = Hall::open(with_tokens(|_| {})).await;
    let mut caller = hall.dial().await;
    let refused = caller.refused(json!({ "type": "connect" })).await;
    assert_eq!(
        (&refused["code"], &refused["retry"]),
        (&"unauthenticated".into(), &"never".into())
    );
    let open = Hall::open(with_tokens(|auth| auth.anonymous = Some(true))).await;
    let mut caller = open.dial().await;
    caller.connect().await;
    // A client with a token still is who its token says.
    let (_caller, welcome) = connected(&open, &of("ann")).await;
    assert_eq!(welcome["user"], "ann");
}

#[tokio::test]
async fn a_connection_ends_with_its_token_after_a_notice_and_so_does_its_session() {
    let hall = Hall::open(with_tokens(|_| {})).await;
    let short = token(json!({ "sub": "ann", "exp": now() + 2 }));
    let (mut caller, _) = connected(&hall, &short).await;
    let resume = caller.resume.clone();
    let (heard, closed) = caller.end().await;
    let kinds: Vec<_> = heard.iter().map(|m| m["type"].as_str().unwrap()).collect();
    let kinds: Vec<_> = kinds.into_iter().filter(|kind| *kind != "token").collect();
    assert_eq!(kinds, ["expiring", "closing"], "{heard:?}");
    assert_eq!(heard.last().unwrap()["reason"], "expired");
    assert_eq!(closed.code.get(), 4003);
    let mut again = hall.dial().await;
    let refused = again.resume(&resume, json!({})).await;
    assert_eq!(refused["code"], "bad_token", "{refused}");
}

#[tokio::test]
async fn a_refresh_keeps_the_connection_beyond_the_first_token() {
    let hall = Hall::open(with_tokens(|_| {})).await;
    let short = token(json!({ "sub": "ann", "exp": now() + 2 }));
    let (mut caller, _) = connected(&hall, &short).await;
    caller.hear_a("expiring").await;
    let other = caller
        .refused(json!({ "type": "refresh", "token": of("bob") }))
        .await;
    assert_eq!(other["code"], "unauthenticated");
    let longer = token(json!({ "sub": "ann", "exp": now() + 4 }));
    let refreshed = caller
        .ask(json!({ "type": "refresh", "token": longer }))
        .await;
    assert_eq!(refreshed["type"], "refreshed");
    // The notice of the second token comes after the first has expired.
    caller.hear_a("expiring").await;
    let pong = caller.ask(json!({ "type": "ping" })).await;
    assert_eq!(pong["type"], "pong");
}

#[tokio::test]
async fn grants_of_the_token_and_of_all_users_permit_verbs_in_channels() {
    let mine = |auth: &mut offhook_server::config::Auth| {
        auth.grants = vec!["subscribe+publish private/{user}/*".parse().unwrap()];
    };
    let hall = Hall::open(granted(with_tokens(mine))).await;
    let claims = json!({ "sub": "ann", "grants": { "private/news": "subscribe" } });
    let (mut ann, _) = connected(&hall, &token(claims)).await;
    ann.subscribe("private/news", json!("now")).await;
    ann.subscribe("private/ann/inbox", json!("now")).await;
    for (kind, channel) in [
        ("publish", "private/news"),
        ("history", "private/news"),
        ("presence", "private/ann/inbox"),
        ("subscribe", "private/bob/inbox"),
    ] {
        let request = json!({ "type": kind, "channel": channel, "data": 1 });
        assert_eq!(
            ann.refused(request).await["code"],
            "forbidden",
            "{kind} {channel}"
        );
    }
    // A resumed session has the same grants.
    let token = {
        ann.fresh_token().await;
        ann.resume.clone()
    };
    ann.cut();
    let mut again = hall.dial().await;
    let welcome = again.resume(&token, json!({})).await;
    assert_eq!(
        (&welcome["type"], &welcome["user"]),
        (&"welcome".into(), &"ann".into())
    );
    again.hear_a("subscribed").await;
    again.hear_a("subscribed").await;
    let refused = again
        .refused(json!({ "type": "history", "channel": "private/news" }))
        .await;
    assert_eq!(refused["code"], "forbidden");
}

#[tokio::test]
async fn a_subscription_token_permits_one_channel_until_it_expires() {
    let hall = Hall::open(granted(with_tokens(|_| {}))).await;
    let (mut ann, _) = connected(&hall, &of("ann")).await;
    let for_channel = |user: &str, channel: &str, seconds: u64| {
        token(json!({ "sub": user, "channel": channel, "exp": now() + seconds }))
    };
    let subscribe =
        |token: String| json!({ "type": "subscribe", "channel": "private/7", "token": token });
    for wrong in [
        for_channel("bob", "private/7", 60),
        for_channel("ann", "private/8", 60),
        of("ann"),
    ] {
        let refused = ann.refused(subscribe(wrong)).await;
        assert_eq!(refused["code"], "unauthenticated", "{refused}");
    }
    let good = ann.ask(subscribe(for_channel("ann", "private/7", 2))).await;
    assert_eq!(good["type"], "subscribed", "{good}");
    let ended = ann.hear_a("unsubscribed").await;
    assert_eq!(
        (&ended["channel"], &ended["code"]),
        (&"private/7".into(), &"forbidden".into())
    );
    assert!(
        ended["message"].as_str().unwrap().contains("expired"),
        "{ended}"
    );
    let refused = ann
        .refused(json!({ "type": "subscribe", "channel": "private/7" }))
        .await;
    assert_eq!(refused["code"], "forbidden");
}

#[tokio::test]
async fn a_subscription_token_without_expiry_is_replaced_by_a_newer_one_and_survives_a_refresh() {
    let hall = Hall::open(granted(with_tokens(|auth| auth.require_expiry = false))).await;
    let (mut ann, _) = connected(&hall, &of("ann")).await;
    let endless = |channel: &str| {
        Signer::hmac(Algorithm::Hs256, SECRET)
            .unwrap()
            .sign(&json!({ "sub": "ann", "channel": channel }))
            .unwrap()
    };
    let subscribe = |channel: &str| json!({ "type": "subscribe", "channel": channel, "token": endless(channel) });
    // More often than a session may have grants by such tokens.
    for _ in 0..130 {
        let subscribed = ann.ask(subscribe("private/7")).await;
        assert_eq!(subscribed["type"], "subscribed", "{subscribed}");
        ann.ask(json!({ "type": "unsubscribe", "channel": "private/7" }))
            .await;
    }
    ann.ask(json!({ "type": "refresh", "token": of("ann") }))
        .await;
    let subscribed = ann
        .ask(json!({ "type": "subscribe", "channel": "private/7" }))
        .await;
    assert_eq!(subscribed["type"], "subscribed", "{subscribed}");
}

#[tokio::test]
async fn a_client_cannot_change_info_given_by_its_token() {
    let hall = Hall::open(with_tokens(|_| {})).await;
    let claims = json!({ "sub": "ann", "info": { "name": "Ann" } });
    let (mut ann, _) = connected(&hall, &token(claims)).await;
    ann.subscribe("chat", json!("now")).await;
    let refused = ann
        .refused(json!({ "type": "presence_update", "info": 7 }))
        .await;
    assert_eq!(refused["code"], "forbidden");
    let members = ann
        .ask(json!({ "type": "presence", "channel": "chat" }))
        .await;
    assert_eq!(members["members"][0]["info"], json!({ "name": "Ann" }));
}
