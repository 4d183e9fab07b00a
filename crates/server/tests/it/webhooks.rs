//! A backend that is asked who may do what, answers calls, and is told what happens.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use offhook_engine::Access;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    asked::{Does, Request, TestBackend, asking, impatient},
    caller::Caller,
    hall::{Hall, NEVER},
    issuer::{of, with_tokens},
};

const KEY: &str = "ohk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

fn allow() -> Does {
    Does::Says(json!({ "allow": true }))
}

fn call(method: &str) -> Value {
    json!({ "type": "call", "method": method, "data": { "n": 1 } })
}

async fn connected(hall: &Hall, token: &str) -> (Caller, Value) {
    let mut caller = hall.dial().await;
    let request = json!({ "type": "connect", "token": token, "lineage": true });
    let answer = caller.ask(request).await;
    if let Some(resume) = answer["resume"].as_str() {
        caller.resume = resume.to_owned();
    }
    (caller, answer)
}

#[tokio::test]
async fn the_backend_decides_identity_and_grants_on_connect_but_not_on_resume() {
    let mut backend = TestBackend::new(|request| {
        Does::Says(match request.body["token"].as_str() {
            Some("opaque-ann") => json!({
                "allow": true, "user": "ann", "info": { "name": "Ann" }, "expires_in": 600,
                "grants": { "private/7": "subscribe" },
            }),
            _ => json!({ "allow": false }),
        })
    })
    .await;
    let mut config = asking(&backend);
    config.backend.connect = true;
    let granted = offhook_engine::ChannelRules {
        subscribe: Access::Granted,
        ..offhook_engine::ChannelRules::default()
    };
    let pattern = "private/*".to_owned();
    let rule = offhook_server::config::ChannelRule {
        pattern,
        rules: granted,
        ..offhook_server::config::ChannelRule::default()
    };
    config.channels.insert(0, rule);
    let hall = Hall::open(config).await;
    let (mut ann, welcome) = connected(&hall, "opaque-ann").await;
    assert_eq!(
        (&welcome["type"], &welcome["user"]),
        (&"welcome".into(), &"ann".into())
    );
    assert!(welcome["expires_in_ms"].as_u64().unwrap() <= 600_000);
    let asked = backend.next().await.body;
    assert_eq!(
        asked,
        json!({ "type": "connect", "token": "opaque-ann", "address": "127.0.0.1" })
    );
    ann.subscribe("private/7", json!("now")).await;
    let other = json!({ "type": "subscribe", "channel": "private/8" });
    assert_eq!(ann.refused(other).await["code"], "forbidden");
    ann.fresh_token().await;
    let resume = ann.resume.clone();
    ann.cut();
    let mut again = hall.dial().await;
    let welcome = again.resume(&resume, json!({})).await;
    assert_eq!(welcome["user"], "ann");
    again.hear_a("subscribed").await;
    assert!(backend.heard().is_empty(), "resume asks nobody");
    let (_stranger, refused) = connected(&hall, "opaque-eve").await;
    assert_eq!(refused["code"], "rejected", "{refused}");
}

#[tokio::test]
async fn a_user_who_is_revoked_while_the_backend_is_asked_begins_no_session() {
    let go_on = Arc::new(Notify::new());
    let told = Arc::clone(&go_on);
    let mut backend = TestBackend::new(move |request| {
        let says = json!({ "allow": true, "user": "ann" });
        match request.body["type"] == "connect" {
            true => Does::SaysWhen(Arc::clone(&told), says),
            false => allow(),
        }
    })
    .await;
    let mut config = asking(&backend);
    config.backend.connect = true;
    config.backend.timeout = NEVER;
    config.api.keys = vec![offhook_auth::ApiKey::of_everything(KEY)];
    let hall = Hall::open(config).await;
    let mut ann = hall.dial().await;
    let revoked = async {
        backend.next().await;
        let body = json!({ "user": "ann" }).to_string();
        let (status, _, told) = hall.api(KEY, "POST /api/v1/revoke", &body).await;
        assert_eq!((status, told), (200, json!({ "sessions": 0 })));
        go_on.notify_one();
    };
    let connect = json!({ "type": "connect", "token": "opaque" });
    let (refused, ()) = tokio::join!(ann.refused(connect), revoked);
    assert_eq!(refused["code"], "unauthenticated", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("revoked"));
}

#[tokio::test]
async fn a_token_in_the_handshake_is_passed_to_the_backend_if_the_server_has_no_keys() {
    let mut backend =
        TestBackend::new(|_| Does::Says(json!({ "allow": true, "user": "bob" }))).await;
    let mut config = asking(&backend);
    config.backend.connect = true;
    let hall = Hall::open(config).await;
    let header = hall.number().header("Authorization", "Bearer opaque");
    let mut caller = Caller::new(header.open().await.unwrap());
    let welcome = caller.ask(json!({ "type": "connect" })).await;
    assert_eq!(welcome["user"], "bob");
    assert_eq!(backend.next().await.body["token"], "opaque");
}

#[tokio::test]
async fn a_verified_token_gives_the_user_and_is_not_sent_to_the_backend() {
    let mut backend =
        TestBackend::new(|_| Does::Says(json!({ "allow": true, "expires_in": 60 }))).await;
    let mut config = with_tokens(|_| {});
    let asks = asking(&backend);
    config.backend = asks.backend;
    config.backend.connect = true;
    let hall = Hall::open(config).await;
    let (_ann, welcome) = connected(&hall, &of("ann")).await;
    assert_eq!(welcome["user"], "ann");
    assert!(
        welcome["expires_in_ms"].as_u64().unwrap() <= 60_000,
        "{welcome}"
    );
    let asked = backend.next().await.body;
    assert_eq!((&asked["user"], asked.get("token")), (&json!("ann"), None));
    let (_stranger, refused) = connected(&hall, "forged").await;
    assert_eq!(refused["code"], "unauthenticated");
    assert!(
        backend.heard().is_empty(),
        "a wrong token is refused without a question"
    );
}

#[tokio::test]
async fn a_subscription_causes_one_question_and_the_backends_error_is_passed_on_unchanged() {
    let mut backend = TestBackend::new(|request| {
        if request.body["channel"] == "asked/open" {
            return allow();
        }
        let error =
            json!({ "code": "room_full", "message": "The room is full.", "data": { "max": 8 } });
        Does::Says(json!({ "error": error }))
    })
    .await;
    let hall = Hall::open(asking(&backend)).await;
    let mut caller = hall.caller().await;
    caller.subscribe("asked/open", json!("now")).await;
    let asked = backend.next().await.body;
    assert_eq!(
        (&asked["type"], &asked["channel"]),
        (&"subscribe".into(), &"asked/open".into())
    );
    assert_eq!(asked["session"].as_str().unwrap().len(), 32);
    let request = json!({ "type": "subscribe", "channel": "asked/full" });
    let refused = caller.refused(request).await;
    assert_eq!(refused["code"], "rejected");
    assert_eq!(refused["message"], "The room is full.");
    assert_eq!(
        refused["backend"],
        json!({ "code": "room_full", "message": "The room is full.", "data": { "max": 8 } })
    );
}

#[tokio::test]
async fn the_backend_may_change_tag_or_refuse_a_publication() {
    let backend = TestBackend::new(|request| match request.body["data"].as_str() {
        Some("rude") => {
            Does::Says(json!({ "allow": true, "data": "polite", "tags": { "by": "us" } }))
        }
        Some("tagged") => Does::Says(json!({ "allow": true, "tags": { "by": "us" } })),
        Some("spam") => Does::Says(json!({ "error": { "code": "spam" } })),
        _ => allow(),
    })
    .await;
    let hall = Hall::open(asking(&backend)).await;
    let mut caller = hall.caller().await;
    caller.subscribe("asked/a", json!("now")).await;
    for (said, heard, by) in [
        ("fine", "fine", Value::Null),
        ("rude", "polite", "us".into()),
        ("tagged", "tagged", "us".into()),
    ] {
        caller.publish("asked/a", json!(said)).await;
        let message = caller.hear_a("message").await;
        assert_eq!(
            (&message["data"], &message["tags"]["by"]),
            (&json!(heard), &by)
        );
    }
    let spam = json!({ "type": "publish", "channel": "asked/a", "data": "spam" });
    let refused = caller.refused(spam).await;
    assert_eq!(
        (&refused["code"], &refused["backend"]["code"]),
        (&"rejected".into(), &"spam".into())
    );
}

#[tokio::test]
async fn a_call_is_answered_if_the_rules_permit_it() {
    let mut backend = TestBackend::new(|request| match request.body["method"].as_str() {
        Some("sum") => Does::Says(json!({ "data": { "sum": 3 } })),
        _ => Does::Says(json!({ "error": { "code": "no_method", "message": "no such method" } })),
    })
    .await;
    let mut config = with_tokens(|auth| auth.grants = vec!["call s*".parse().unwrap()]);
    config.backend = asking(&backend).backend;
    config.backend.calls = Access::Granted;
    let hall = Hall::open(config).await;
    let (mut ann, _) = connected(&hall, &of("ann")).await;
    let called = ann.ask(call("sum")).await;
    assert_eq!(
        (&called["type"], &called["data"]),
        (&"called".into(), &json!({ "sum": 3 }))
    );
    let asked = backend.next().await.body;
    assert_eq!(
        (&asked["user"], &asked["data"]),
        (&json!("ann"), &json!({ "n": 1 }))
    );
    assert_eq!(
        ann.refused(call("subtract")).await["backend"]["code"],
        "no_method"
    );
    assert_eq!(ann.refused(call("users.delete")).await["code"], "forbidden");
    backend.next().await;
    assert!(
        backend.heard().is_empty(),
        "what is not granted is not asked"
    );
}

/// Breaks off after each first request of an id.
fn fails_first(answer: Value) -> impl FnMut(&Request) -> Does + Send {
    let mut seen = std::collections::HashSet::new();
    move |request| {
        if seen.insert(request.id.clone()) {
            return Does::Writes(Vec::new());
        }
        Does::Says(answer.clone())
    }
}

#[tokio::test]
async fn questions_are_repeated_with_their_id_and_calls_only_with_a_key() {
    let answer = json!({ "allow": true, "data": 1 });
    let mut backend = TestBackend::new(fails_first(answer)).await;
    let hall = Hall::open(asking(&backend)).await;
    let mut caller = hall.caller().await;
    caller.subscribe("asked/a", json!("now")).await;
    let (first, second) = (backend.next().await, backend.next().await);
    assert_eq!((&first.id, &first.body), (&second.id, &second.body));
    let refused = caller.refused(call("pay")).await;
    assert_eq!(
        (&refused["code"], &refused["retry"]),
        (&"backend_away".into(), &"later".into())
    );
    let asked = call_requests(&mut backend);
    assert_eq!(asked.len(), 1, "at most once: {asked:?}");
    let mut keyed = call("pay");
    keyed["key"] = "payment 7".into();
    assert_eq!(caller.ask(keyed).await["data"], 1);
    let asked = call_requests(&mut backend);
    assert_eq!(asked.len(), 2, "at least once: {asked:?}");
    assert_eq!(
        (&asked[0].id, &asked[0].body["key"]),
        (&asked[1].id, &json!("payment 7"))
    );
}

fn call_requests(backend: &mut TestBackend) -> Vec<Request> {
    let heard = backend.heard().into_iter();
    heard
        .filter(|request| request.body["type"] == "call")
        .collect()
}

#[tokio::test]
async fn connections_to_the_backend_are_reused() {
    let backend = TestBackend::new(|_| Does::Says(json!({ "data": 1 }))).await;
    let mut config = asking(&backend);
    config.channels.retain(|rule| !rule.rules.notify);
    let hall = Hall::open(config).await;
    let mut caller = hall.caller().await;
    for _ in 0..50 {
        assert_eq!(caller.ask(call("sum")).await["data"], 1);
    }
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn events_of_channels_and_members_are_in_order_over_all_workers() {
    let mut backend = TestBackend::new(|_| allow()).await;
    let mut config = asking(&backend);
    config.workers = NonZeroUsize::new(2).unwrap();
    config.backend.connections = true;
    let hall = Hall::open(config).await;
    assert_eq!(backend.events().await["events"][0]["type"], "started");
    let mut caller = hall.caller().await;
    caller.subscribe("asked/a", json!("now")).await;
    let leave = json!({ "type": "unsubscribe", "channel": "asked/a" });
    caller.ask(leave).await;
    // Nobody asked to be told of this one.
    caller.subscribe("chat", json!("now")).await;
    let mut kinds = Vec::new();
    while !kinds.contains(&json!("vacated")) {
        let body = backend.events().await;
        for event in body["events"].as_array().into_iter().flatten() {
            assert_eq!(event["channel"], "asked/a");
            kinds.push(event["type"].clone());
        }
    }
    // Leaving and being the last to leave are told by two parts of the broker.
    kinds[2..].sort_by_key(ToString::to_string);
    assert_eq!(
        json!(kinds),
        json!(["occupied", "joined", "left", "vacated"])
    );
    caller.cut();
    let gone = backend.event("disconnected").await;
    assert_eq!(gone["session"].as_str().unwrap().len(), 32);
    assert!(gone["time"].as_u64().unwrap() > 1_600_000_000_000);
    hall.close().await;
}

#[tokio::test]
async fn events_not_accepted_by_the_backend_are_dropped_and_counted() {
    let (open, opened) = std::sync::mpsc::sync_channel::<()>(1);
    let mut is_open = false;
    let mut backend = TestBackend::new(move |request| {
        if request.body["type"] != "events" {
            return allow();
        }
        is_open = is_open || opened.try_recv().is_ok();
        if is_open {
            allow()
        } else {
            Does::Writes(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_vec())
        }
    })
    .await;
    let mut config = asking(&backend);
    config.backend.events = 10;
    let hall = Hall::open(config).await;
    let mut caller = hall.caller().await;
    for n in 0..30 {
        caller.subscribe(&format!("asked/{n}"), json!("now")).await;
    }
    open.send(()).unwrap();
    let dropped = loop {
        let dropped = backend.events().await["dropped"].as_u64().unwrap_or(0);
        if dropped > 0 {
            break dropped;
        }
    };
    // Each subscription occupies a channel and joins it.
    assert!((30..=60).contains(&dropped), "{dropped}");
    caller
        .publish("asked/0", json!("nobody waits for events"))
        .await;
}

#[tokio::test]
async fn many_resuming_sessions_cause_no_question_to_the_backend() {
    let mut backend = TestBackend::new(|_| allow()).await;
    let mut config = impatient(&backend);
    config.backend.timeout = Duration::from_secs(30);
    config.backend.connect = true;
    let hall = Hall::open(config).await;
    let mut tokens = Vec::new();
    for _ in 0..50 {
        let mut caller = hall.caller().await;
        caller.subscribe("asked/a", json!("now")).await;
        caller.fresh_token().await;
        tokens.push(caller.resume.clone());
        caller.cut();
    }
    assert_eq!(backend.heard().len(), 100);
    for token in tokens {
        let mut again = hall.dial().await;
        assert_eq!(again.resume(&token, json!({})).await["type"], "welcome");
        again.hear_a("subscribed").await;
    }
    assert!(backend.heard().is_empty());
}

#[tokio::test]
async fn the_backend_decides_about_clients_of_sse_and_polling() {
    let mut backend = TestBackend::new(|request| {
        Does::Says(json!({ "allow": request.body["token"] == "opaque", "user": "ann" }))
    })
    .await;
    let mut config = impatient(&backend);
    config.backend.connect = true;
    let hall = Hall::open(config).await;
    for path in ["/poll?channel=chat", "/sse?channel=chat"] {
        let (status, _, body) = hall.get(path).await;
        assert_eq!(status, 403, "{path}: {body}");
        let asked = backend.next().await.body;
        assert_eq!(
            (&asked["type"], asked.get("token")),
            (&json!("connect"), None)
        );
    }
    let (status, _, body) = hall.get("/poll?channel=chat&token=opaque").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(backend.next().await.body["token"], "opaque");
}
