//! The HTTP API as a backend uses it.

use std::num::NonZeroUsize;

use offhook_auth::ApiKey;
use offhook_server::config::ChannelRule;
use serde_json::{Value, json};

use crate::{
    caller::Caller,
    hall::Hall,
    issuer::{of, with_tokens},
};

pub(crate) const KEY: &str = "ohk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

pub(crate) async fn hall() -> Hall {
    let mut config = with_tokens(|auth| auth.anonymous = Some(true));
    config.workers = NonZeroUsize::new(2).unwrap();
    config.api.keys = vec![ApiKey::of_everything(KEY)];
    Hall::open(config).await
}

pub(crate) async fn post(hall: &Hall, path: &str, body: Value) -> Value {
    let (status, _, answer) = hall
        .api(KEY, &format!("POST /api/v1/{path}"), &body.to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
    answer
}

pub(crate) async fn get(hall: &Hall, path: &str) -> Value {
    let (status, _, answer) = hall.api(KEY, &format!("GET /api/v1/{path}"), "").await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test]
async fn a_backend_publishes_with_one_request() {
    let hall = hall().await;
    let mut caller = hall.caller().await;
    caller.subscribe("chat", json!("now")).await;
    let body =
        json!({ "channel": "chat", "data": { "text": "hi" }, "tags": { "a": "b" }, "key": "k1" });
    let first = post(&hall, "publish", body.clone()).await;
    assert_eq!(first["duplicate"], false);
    let message = caller.hear_a("message").await;
    assert_eq!(
        (&message["position"], &message["data"]),
        (&first["position"], &body["data"])
    );
    assert_eq!((message.get("user"), message.get("session")), (None, None));
    let again = post(&hall, "publish", body).await;
    assert_eq!(
        again,
        json!({ "position": first["position"], "duplicate": true })
    );
}

#[tokio::test]
async fn bytes_are_published_unchanged_and_an_idempotency_key_is_respected() {
    let hall = hall().await;
    let request = |key: &str| {
        format!(
            "POST /api/v1/publish?channel=chat%2Fbytes HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\n\
             Idempotency-Key: {key}\r\nContent-Length: 0"
        )
    };
    let (status, _, first) = hall.request(&request("k")).await;
    assert_eq!(status, 200, "{first}");
    let (_, _, second) = hall.request(&request("k")).await;
    assert!(second.contains("\"duplicate\":true"), "{second}");
    let history = get(&hall, "history?channel=chat/bytes").await;
    assert_eq!(history["messages"][0]["base64"], "");
    let both = json!({ "channel": "chat", "data": 1, "key": "a" }).to_string();
    let (status, ..) = hall.api(KEY, "POST /api/v1/publish", &both).await;
    assert_eq!(status, 200);
}

/// Keys in JSON may be any UTF-8.
#[tokio::test]
async fn an_idempotency_key_that_is_not_ascii_is_respected_or_refused() {
    let hall = hall().await;
    let request = |key: &[u8]| {
        let head = format!(
            "POST /api/v1/publish?channel=chat HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\n\
             Content-Length: 0\r\nIdempotency-Key: "
        );
        [head.as_bytes(), key].concat()
    };
    let key = "bestellung-f\u{fc}r-7".as_bytes();
    let (status, _, first) = hall.request(&request(key)).await;
    assert_eq!(status, 200, "{first}");
    let (_, _, second) = hall.request(&request(key)).await;
    assert!(second.contains("\"duplicate\":true"), "{second}");
    let (status, _, refused) = hall.request(&request(b"f\xfcr")).await;
    assert_eq!(status, 400, "{refused}");
    assert!(refused.contains("bad_key"), "{refused}");
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let hall = hall().await;
    let publish = |more: &str| {
        format!(
            "POST /api/v1/publish?channel=chat HTTP/1.1\r\nAuthorization: Bearer {KEY}\r\n\
             {more}Content-Length: 0"
        )
    };
    for (request, what) in [
        (
            publish("Idempotency-Key: a\r\nIdempotency-Key: b\r\n"),
            "twice",
        ),
        (publish("").replace("channel=chat", "channel=%ff"), "UTF-8"),
        (publish("").replace("channel=chat", "channel=%zz"), "%"),
        (publish("Host: other\r\n"), "Host"),
    ] {
        let (status, _, answer) = hall.request(&request).await;
        assert_eq!(status, 400, "{request}: {answer}");
        assert!(answer.contains(what), "{request}: {answer}");
    }
    for (path, body) in [
        ("publish", json!(["chat", "data", null, {}, null])),
        ("batch", json!([[{ "channel": "chat", "data": 1 }]])),
        (
            "batch",
            json!({ "publications": [["chat", 1, null, {}, null]] }),
        ),
    ] {
        let request = format!("POST /api/v1/{path}");
        let (status, _, answer) = hall.api(KEY, &request, &body.to_string()).await;
        assert_eq!(status, 400, "{answer}");
    }
    assert_eq!(
        get(&hall, "history?channel=chat").await["messages"],
        json!([])
    );
}

#[tokio::test]
async fn a_batch_whose_keys_would_be_too_long_is_refused_as_a_whole() {
    let hall = hall().await;
    let body = json!({ "publications": [{ "channel": "chat", "data": 1 }] }).to_string();
    for (length, expected) in [(124, 200), (125, 400)] {
        // `api` ends the request line: the last field takes what it adds.
        let key = "k".repeat(length);
        let request = format!("POST /api/v1/batch HTTP/1.1\r\nIdempotency-Key: {key}\r\nX-Rest:");
        let (status, _, answer) = hall.api(KEY, &request, &body).await;
        assert_eq!(status, expected, "{answer}");
    }
}

#[tokio::test]
async fn a_batch_has_a_result_for_each_publication() {
    let hall = hall().await;
    let batch = json!({ "publications": [
        { "channel": "chat/1", "data": null },
        { "channel": "chat/*", "data": 1 },
        { "channel": "chat/2", "base64": "AAE=" },
        { "channel": "nowhere", "data": 1 },
        { "channel": "chat/1", "data": "second" },
    ] });
    let answer = post(&hall, "batch", batch).await;
    let results = answer["results"].as_array().unwrap();
    let codes: Vec<_> = results
        .iter()
        .map(|r| r["code"].as_str().unwrap_or("ok"))
        .collect();
    assert_eq!(
        codes,
        ["ok", "bad_channel_name", "ok", "unknown_channel", "ok"]
    );
    let history = get(&hall, "history?channel=chat/1&since=start").await;
    let data: Vec<_> = history["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["data"])
        .collect();
    assert_eq!(data, [&Value::Null, &json!("second")]);
    assert_eq!(history["head"], history["messages"][1]["position"]);
}

#[tokio::test]
async fn presence_and_actions_on_sessions_work() {
    let hall = hall().await;
    let mut ann = hall.dial().await;
    let welcome = ann
        .ask(json!({ "type": "connect", "token": of("ann"), "lineage": true }))
        .await;
    ann.subscribe("chat", json!("now")).await;
    let members = get(&hall, "presence?channel=chat").await;
    assert_eq!(
        members,
        json!({ "members": [{ "session": welcome["session"], "user": "ann" }], "total": 1 })
    );
    let sessions = get(&hall, "sessions?user=ann").await;
    assert_eq!(sessions, json!({ "sessions": [welcome["session"]] }));
    let one = json!({ "sessions": 1 });
    assert_eq!(
        post(&hall, "send", json!({ "user": "ann", "data": { "n": 1 } })).await,
        one
    );
    assert_eq!(ann.hear_a("told").await["data"], json!({ "n": 1 }));
    let subscribe = json!({ "session": welcome["session"], "channel": "chat/private" });
    assert_eq!(post(&hall, "subscribe", subscribe.clone()).await, one);
    assert_eq!(ann.hear_a("subscribed").await["channel"], "chat/private");
    assert_eq!(post(&hall, "unsubscribe", subscribe).await, one);
    assert_eq!(ann.hear_a("unsubscribed").await["channel"], "chat/private");
    let nobody = json!({ "sessions": 0 });
    assert_eq!(
        post(&hall, "disconnect", json!({ "user": "bob" })).await,
        nobody
    );
    assert_eq!(
        post(&hall, "disconnect", json!({ "user": "ann" })).await,
        one
    );
    assert_eq!(ann.end().await.1.code.get(), 4002);
}

#[tokio::test]
async fn a_revoked_user_cannot_return_with_a_token_or_a_session() {
    let hall = hall().await;
    let token = of("ann");
    let mut ann = hall.dial().await;
    let welcome = ann
        .ask(json!({ "type": "connect", "token": token, "lineage": true }))
        .await;
    assert_eq!(
        post(&hall, "revoke", json!({ "user": "ann" })).await,
        json!({ "sessions": 1 })
    );
    assert_eq!(ann.end().await.1.code.get(), 4002);
    let mut again = hall.dial().await;
    let refused = again
        .refused(json!({ "type": "connect", "token": token }))
        .await;
    assert!(
        refused["message"].as_str().unwrap().contains("revoked"),
        "{refused}"
    );
    let resume = welcome["resume"].as_str().unwrap();
    assert_eq!(again.resume(resume, json!({})).await["code"], "bad_token");
}

#[tokio::test]
async fn a_token_revoked_between_handshake_and_connect_is_refused() {
    let hall = hall().await;
    let header = format!("Bearer {}", of("ann"));
    let open = hall.number().header("Authorization", header).open().await;
    let mut ann = Caller::new(open.unwrap());
    assert_eq!(
        post(&hall, "revoke", json!({ "user": "ann" })).await,
        json!({ "sessions": 0 })
    );
    let refused = ann.refused(json!({ "type": "connect" })).await;
    assert_eq!(refused["code"], "unauthenticated", "{refused}");
    assert!(
        refused["message"].as_str().unwrap().contains("revoked"),
        "{refused}"
    );
}

#[tokio::test]
async fn rules_are_explained_and_the_specification_is_public() {
    let hall = hall().await;
    let open = get(&hall, "explain?channel=chat&verb=publish").await;
    assert_eq!(
        open,
        json!({ "allowed": true, "rule": "chat*", "because": "everyone may" })
    );
    let silent = get(&hall, "explain?channel=silent/1&verb=publish&user=ann").await;
    assert_eq!(silent["because"], "only the server's own API may");
    let nowhere = get(&hall, "explain?channel=nowhere&verb=state").await;
    assert_eq!(nowhere["allowed"], false);
    assert!(get(&hall, "stats").await["healthy"].as_bool().unwrap());
    let (status, _, openapi) = hall.get("/api/v1/openapi.json").await;
    assert_eq!(status, 200);
    let openapi: Value = serde_json::from_str(&openapi).unwrap();
    assert_eq!(openapi["openapi"], "3.1.0");
    let (status, head, _) = hall.api(KEY, "GET /api/v1/publish", "").await;
    assert_eq!(status, 405);
    assert!(head.contains("allow: post"), "{head}");
}

#[tokio::test]
async fn the_rules_are_listed_in_their_order_with_those_of_the_servers_own_pages() {
    let mut config = with_tokens(|auth| auth.anonymous = Some(true));
    config.api.keys = vec![ApiKey::of_everything(KEY)];
    config.channels.push(ChannelRule::default());
    let hall = Hall::open(config).await;
    let listed = get(&hall, "rules").await;
    assert_eq!(listed["calls"], "nobody");
    let rules = listed["rules"].as_array().unwrap();
    let at = |pattern: &str| rules.iter().position(|rule| rule["pattern"] == pattern);
    assert!(at("talk-typing:*") < at("chat*"), "{listed}");
    let typing = &rules[at("talk-typing:*").unwrap()];
    assert_eq!(
        typing["history"],
        json!({ "count": 0, "bytes": 0 }),
        "{listed}"
    );
    let silent = &rules[at("silent/*").unwrap()];
    assert_eq!(silent["publish"], "nobody", "{listed}");
    // What is listed is what `explain` says.
    for rule in rules {
        let pattern = rule["pattern"].as_str().unwrap();
        let channel = pattern.replace('*', "x");
        let asked = get(&hall, &format!("explain?channel={channel}&verb=subscribe")).await;
        assert_eq!(asked["rule"], pattern, "{asked}");
    }
}

#[tokio::test]
async fn the_rules_are_not_for_keys_of_some_channels() {
    let mut config = with_tokens(|auth| auth.anonymous = Some(true));
    let everything = ApiKey::of_everything(KEY).to_string();
    let (_, hash) = everything.rsplit_once(' ').unwrap();
    config.api.keys = vec![format!("admin chat/* {hash}").parse().unwrap()];
    let hall = Hall::open(config).await;
    let (status, _, problem) = hall.api(KEY, "GET /api/v1/rules", "").await;
    assert_eq!((status, &problem["code"]), (403, &json!("forbidden")));
}

#[tokio::test]
async fn occupied_channels_are_listed_by_prefix_in_pages() {
    let hall = hall().await;
    let (mut one, mut two) = (hall.caller().await, hall.caller().await);
    for name in ["chat/room/1", "chat/room/2", "chat/room/3", "chats"] {
        one.subscribe(name, json!("now")).await;
    }
    two.subscribe("chat/room/2", json!("now")).await;
    let page = get(&hall, "channels?prefix=chat/room/&limit=2").await;
    let listed = |name: &str, members| json!({ "channel": name, "members": members });
    assert_eq!(
        page,
        json!({ "channels": [listed("chat/room/1", 1), listed("chat/room/2", 2)], "next": "chat/room/2" })
    );
    let rest = get(
        &hall,
        "channels?prefix=chat/room/&limit=2&after=chat/room/2",
    )
    .await;
    assert_eq!(rest, json!({ "channels": [listed("chat/room/3", 1)] }));
    let all = get(&hall, "channels").await;
    assert_eq!(all["channels"].as_array().unwrap().len(), 4);
    hall.set_api_keys(vec![ApiKey::of_everything("another")]);
    let (status, _, problem) = hall.api(KEY, "GET /api/v1/channels", "").await;
    assert_eq!(status, 401, "a key that was taken out: {problem}");
    let (status, ..) = hall.api("another", "GET /api/v1/channels", "").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn pages_of_channels_do_not_name_channels_of_others() {
    let everything = ApiKey::of_everything(KEY).to_string();
    let (_, hash) = everything.rsplit_once(' ').unwrap();
    for (pattern, next) in [
        ("chat/acme/*", "chat/acme/a"),
        ("*e/*", "chat/acme/a"),
        ("chat/acme/b", "chat/acme/b"),
    ] {
        let mut config = with_tokens(|auth| auth.anonymous = Some(true));
        config.api.keys = vec![format!("read {pattern} {hash}").parse().unwrap()];
        let hall = Hall::open(config).await;
        let mut caller = hall.caller().await;
        for name in [
            "chat/aaa/merger",
            "chat/acme/a",
            "chat/acme/b",
            "chat/other/secret",
        ] {
            caller.subscribe(name, json!("now")).await;
        }
        let (mut after, mut listed) = (String::new(), Vec::new());
        let mut first = None;
        loop {
            let page = get(&hall, &format!("channels?limit=1{after}")).await;
            assert!(!page.to_string().contains("secret"), "{page}");
            assert!(!page.to_string().contains("merger"), "{page}");
            let channels = page["channels"].as_array().unwrap();
            listed.extend(channels.iter().map(|one| one["channel"].clone()));
            let Some(next) = page["next"].as_str() else {
                break;
            };
            first.get_or_insert_with(|| next.to_owned());
            after = format!("&after={next}");
        }
        assert_eq!(first.as_deref(), Some(next), "{pattern}");
        let is_one = pattern == "chat/acme/b";
        assert_eq!(listed.len(), if is_one { 1 } else { 2 }, "{pattern}");
    }
}

#[tokio::test]
async fn a_backend_can_close_connections_with_its_own_code_and_reason() {
    let hall = hall().await;
    for (body, code, reason) in [
        (json!({}), 4002, "disconnected"),
        (json!({ "reason": "go away" }), 4002, "go away"),
        (
            json!({ "code": 4100, "reason": "moved: come back" }),
            4100,
            "moved: come back",
        ),
    ] {
        let mut ann = hall.dial().await;
        ann.ask(json!({ "type": "connect", "token": of("ann") }))
            .await;
        let mut body = body;
        body["user"] = "ann".into();
        assert_eq!(post(&hall, "disconnect", body).await["sessions"], 1);
        let (heard, closed) = ann.end().await;
        assert_eq!(heard.last().unwrap()["reason"], "disconnected");
        assert_eq!((closed.code.get(), &*closed.reason), (code, reason));
    }
    for wrong in [
        json!({ "code": 1000 }),
        json!({ "code": 4003 }),
        json!({ "reason": "x".repeat(124) }),
    ] {
        let mut body = wrong;
        body["user"] = "ann".into();
        let (status, _, problem) = hall
            .api(KEY, "POST /api/v1/disconnect", &body.to_string())
            .await;
        assert_eq!((status, &problem["code"]), (400, &"bad_request".into()));
    }
}

#[tokio::test]
async fn requests_that_the_specification_forbids_are_refused() {
    let hall = hall().await;
    let session = "0".repeat(32);
    for (request, body) in [
        ("GET /api/v1/channels?limit=0", String::new()),
        (
            "POST /api/v1/disconnect",
            json!({ "user": null, "session": session }).to_string(),
        ),
        (
            "POST /api/v1/publish",
            json!({ "channel": "chat", "data": 1, "key": null }).to_string(),
        ),
        (
            "POST /api/v1/publish",
            json!({ "channel": "chat", "data": 1, "base64": null }).to_string(),
        ),
    ] {
        let (status, _, problem) = hall.api(KEY, request, &body).await;
        assert_eq!(status, 400, "{request} {body}: {problem}");
    }
    let long = "k".repeat(125);
    let batch = json!({ "publications": [{ "channel": "chat", "data": 1 }] }).to_string();
    let request = format!("POST /api/v1/batch HTTP/1.1\r\nIdempotency-Key: {long}\r\nX-Rest:");
    let (status, _, problem) = hall.api(KEY, &request, &batch).await;
    assert_eq!(
        (status, &problem["code"]),
        (400, &"bad_key".into()),
        "{problem}"
    );
}
