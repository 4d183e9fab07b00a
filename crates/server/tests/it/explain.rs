//! Why a client did or did not receive a publication: a real scenario for each verdict.

use std::{num::NonZeroUsize, time::Duration};

use offhook_auth::ApiKey;
use offhook_engine::{ChannelRules, History};
use offhook_server::{Config, config::ChannelRule};
use serde_json::{Value, json};

use crate::{
    caller::Caller,
    hall::Hall,
    issuer::{of, with_tokens},
};

const KEY: &str = "ohk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

/// A server with two workers, so that questions often concern a connection of the other one; with
/// small outboxes, so that a client that does not read soon counts as slow; and with `chat/short`,
/// which retains two publications.
fn settings() -> Config {
    let mut config = with_tokens(|auth| auth.anonymous = Some(true));
    config.workers = NonZeroUsize::new(2).unwrap();
    config.api.keys = vec![ApiKey::of_everything(KEY)];
    config.messages.outbox_bytes = 32 * 1024;
    config.connections.send_buffer = Some(16 * 1024);
    let short = ChannelRules {
        history: History {
            count: 2,
            ..History::default()
        },
        ..ChannelRules::default()
    };
    let short = ChannelRule {
        pattern: "chat/short".to_owned(),
        rules: short,
        ..ChannelRule::default()
    };
    config.channels.insert(0, short);
    config
}

async fn hall() -> Hall {
    Hall::open(settings()).await
}

async fn get(hall: &Hall, path: &str) -> Value {
    let (status, _, answer) = hall.api(KEY, &format!("GET /api/v1/{path}"), "").await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// Publishes in the server's name, and returns the position.
async fn publish(hall: &Hall, channel: &str, data: Value) -> String {
    let body = json!({ "channel": channel, "data": data }).to_string();
    let (status, _, answer) = hall.api(KEY, "POST /api/v1/publish", &body).await;
    assert_eq!(status, 200, "{answer}");
    answer["position"].as_str().unwrap().to_owned()
}

async fn why(hall: &Hall, whom: &str, channel: &str, at: &str) -> Value {
    get(
        hall,
        &format!("explain/delivery?{whom}&channel={channel}&position={at}"),
    )
    .await
}

/// Asks until the verdict is this one. Receipts and ends of connections take a moment.
async fn until(hall: &Hall, verdict: &str, whom: &str, channel: &str, at: &str) -> Value {
    loop {
        let answer = why(hall, whom, channel, at).await;
        if answer["verdict"] == verdict {
            return answer;
        }
        assert_ne!(answer["verdict"], "unknown", "{answer}");
        tokio::task::yield_now().await;
    }
}

async fn ann(hall: &Hall) -> Caller {
    let mut ann = hall.dial().await;
    let connect = json!({ "type": "connect", "token": of("ann"), "lineage": true });
    let welcome = ann.ask(connect).await;
    ann.session = welcome["session"].as_str().unwrap().to_owned();
    ann.resume = welcome["resume"].as_str().unwrap().to_owned();
    ann
}

#[track_caller]
fn says(answer: &Value, verdict: &str, words: &[&str]) {
    assert_eq!(answer["verdict"], verdict, "{answer}");
    let sentence = answer["sentence"].as_str().unwrap();
    for part in words {
        assert!(sentence.contains(part), "no {part:?} in: {sentence}");
    }
}

#[tokio::test]
async fn a_received_message_is_first_delivered_and_then_receipted() {
    let hall = hall().await;
    let mut ann = ann(&hall).await;
    ann.subscribe("chat", json!("now")).await;
    let at = publish(&hall, "chat", json!("hi")).await;
    ann.hear_a("message").await;
    // She has not answered a ping since, because her program does not read.
    let first = why(&hall, "user=ann", "chat", &at).await;
    says(
        &first,
        "delivered",
        &["its subscription delivered it", "a ping has been sent"],
    );
    let connections = first["connections"].as_array().unwrap();
    assert_eq!(connections.len(), 1);
    assert_eq!(connections[0]["session"], ann.session.as_str());
    assert_eq!(first["publication"]["state"], "stored");
    let session = format!("session={}", ann.session);
    let number = connections[0]["connection"].as_u64().unwrap();
    let reading =
        tokio::spawn(async move { while ann.socket.recv().await.is_ok_and(|m| m.is_some()) {} });
    let receipted = until(&hall, "receipted", &session, "chat", &at).await;
    says(&receipted, "receipted", &["proves receipt"]);
    let by_number = why(&hall, &format!("connection={number}"), "chat", &at).await;
    says(&by_number, "receipted", &[]);
    hall.close().await;
    reading.await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_subscribed_is_reported_with_the_rule_that_would_allow_it() {
    let hall = hall().await;
    let _ann = ann(&hall).await;
    let at = publish(&hall, "chat", json!(1)).await;
    let answer = why(&hall, "user=ann", "chat", &at).await;
    says(
        &answer,
        "never_subscribed",
        &["never subscribed", "it may: rule \"chat*\" lets everyone"],
    );
    assert_eq!(
        why(&hall, "user=bob", "chat", &at).await["verdict"],
        "not_connected"
    );
}

#[tokio::test]
async fn a_refused_subscription_names_the_rule_that_refused_it() {
    let hall = hall().await;
    let mut caller = hall.caller().await;
    let wish = json!({ "type": "subscribe", "channel": "silent/a" });
    assert_eq!(caller.refused(wish).await["code"], "forbidden");
    let at = publish(&hall, "silent/a", json!(1)).await;
    let session = format!("session={}", caller.session);
    let answer = why(&hall, &session, "silent/a", &at).await;
    says(
        &answer,
        "denied",
        &["refused at", "forbidden", "rule \"silent/*\"", "users"],
    );
    let decisions = &answer["connections"][0]["decisions"];
    assert_eq!(decisions[0]["what"], "refused", "{answer}");
    assert_eq!(decisions[0]["verb"], "subscribe");
    assert_eq!(decisions[0]["channel"], "silent/a");
}

#[tokio::test]
async fn a_missing_grant_is_named_together_with_the_existing_ones() {
    let mut config = settings();
    let rules = ChannelRules {
        subscribe: offhook_engine::Access::Granted,
        ..ChannelRules::default()
    };
    config.channels.insert(
        0,
        ChannelRule {
            pattern: "chat/granted/*".to_owned(),
            rules,
            ..ChannelRule::default()
        },
    );
    let hall = Hall::open(config).await;
    let mut caller = hall.dial().await;
    let claims = json!({ "sub": "ann", "grants": { "chat/granted/1": "subscribe" } });
    let token = crate::issuer::token(claims);
    caller
        .ask(json!({ "type": "connect", "token": token, "lineage": true }))
        .await;
    let at = publish(&hall, "chat/granted/2", json!(1)).await;
    let answer = why(&hall, "user=ann", "chat/granted/2", &at).await;
    says(
        &answer,
        "never_subscribed",
        &["it may not", "requires a grant", "subscribe chat/granted/1"],
    );
}

#[tokio::test]
async fn a_subscription_that_began_later_is_reported_as_such() {
    let hall = hall().await;
    let at = publish(&hall, "chat", json!(1)).await;
    let mut ann = ann(&hall).await;
    ann.subscribe("chat", json!("now")).await;
    let answer = why(&hall, "user=ann", "chat", &at).await;
    says(&answer, "subscribed_later", &["began after it", "since"]);
}

#[tokio::test]
async fn a_sessions_own_publication_is_excluded_without_echo() {
    let hall = hall().await;
    let mut ann = ann(&hall).await;
    let wish = json!({ "type": "subscribe", "channel": "chat", "echo": false });
    assert_eq!(ann.ask(wish).await["type"], "subscribed");
    let id = ann
        .send(json!({ "type": "publish", "channel": "chat", "data": 1 }))
        .await;
    let mut at = String::new();
    while at.is_empty() {
        let heard = ann.hear().await;
        if heard["type"] == "published" {
            assert_eq!(heard["id"], id);
            at = heard["position"].as_str().unwrap().to_owned();
        }
    }
    let answer = why(&hall, "user=ann", "chat", &at).await;
    says(&answer, "own", &["published it itself"]);
}

fn offset_of(position: &Value) -> u64 {
    let (_, offset) = position.as_str().unwrap().split_once('.').unwrap();
    offset.parse().unwrap()
}

/// Publishes enough for a connection that does not read to fall behind, and returns the positions.
async fn flood(hall: &Hall, channel: &str) -> Vec<String> {
    let padding = "x".repeat(1_000);
    let batch: Vec<Value> = (0..500)
        .map(|n| json!({ "channel": channel, "data": { "n": n, "padding": padding } }))
        .collect();
    let body = json!({ "publications": batch }).to_string();
    let (status, _, answer) = hall.api(KEY, "POST /api/v1/batch", &body).await;
    assert_eq!(status, 200, "{answer}");
    let results = answer["results"].as_array().unwrap();
    let positions = results.iter();
    positions
        .map(|result| result["position"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_slow_connection_is_behind_by_a_known_number() {
    let hall = hall().await;
    let mut sleeper = hall.narrow_caller().await;
    sleeper.subscribe("chat", json!("now")).await;
    let positions = flood(&hall, "chat").await;
    let session = format!("session={}", sleeper.session);
    let last = positions.last().unwrap();
    let answer = loop {
        // The subscription reads from the history repeatedly, until nothing more fits.
        let answer = until(&hall, "behind", &session, "chat", last).await;
        if answer["sentence"].as_str().unwrap().contains("unsent") {
            break answer;
        }
    };
    says(&answer, "behind", &["publications behind"]);
    assert!(answer["behind_by"].as_u64().unwrap() > 0, "{answer}");
    // The first ones are on their way, and nothing proves that they arrived.
    let first = why(&hall, &session, "chat", &positions[0]).await;
    says(&first, "delivered", &["unsent"]);
    // She is among the slowest, and the channel among the busiest.
    let top = get(&hall, "top").await;
    assert_eq!(
        top["slowest"][0]["session"],
        sleeper.session.as_str(),
        "{top}"
    );
    assert!(top["slowest"][0]["unsent_bytes"].as_u64().unwrap() > 16 * 1024);
    assert_eq!(top["slowest"][0]["subscriptions_behind"], 1);
    assert_eq!(top["busiest"][0]["channel"], "chat", "{top}");
    assert!(top["busiest"][0]["publishes_per_second"].as_f64().unwrap() > 1.0);
}

#[tokio::test]
async fn a_gap_is_found_with_its_reason_even_after_the_connection_has_ended() {
    let hall = hall().await;
    let mut sleeper = hall.narrow_caller().await;
    sleeper.subscribe("fleeting/a", json!("now")).await;
    let positions = flood(&hall, "fleeting/a").await;
    let gap = loop {
        let heard = sleeper.hear().await;
        if heard["type"] == "gap" {
            break heard;
        }
    };
    assert_eq!(gap["reason"], "dropped");
    let missed = &positions[usize::try_from(offset_of(&gap["from"])).unwrap()];
    let session = format!("session={}", sleeper.session);
    let answer = why(&hall, &session, "fleeting/a", missed).await;
    says(
        &answer,
        "gapped",
        &["gap dropped", "too slow", "no history"],
    );
    assert_eq!(answer["publication"]["state"], "not_kept");
    sleeper.cut();
    let session_gone = async {
        loop {
            let known = get(&hall, &format!("explain/connection?{session}")).await;
            if known["connections"][0]["open"] == false {
                return known;
            }
        }
    };
    let known = session_gone.await;
    // Data that the client had not read may have cut off its close frame.
    let end = known["connections"][0]["end"].as_str().unwrap();
    assert!(end.starts_with("lost"), "{known}");
    let answer = why(&hall, &session, "fleeting/a", missed).await;
    says(&answer, "gapped", &["gap dropped"]);
}

#[tokio::test]
async fn an_ended_connection_is_reported_with_the_time_and_whether_its_session_resumed() {
    let hall = hall().await;
    let mut ann = ann(&hall).await;
    ann.subscribe("chat", json!("now")).await;
    ann.fresh_token().await;
    let first = publish(&hall, "chat", json!(1)).await;
    let heard = ann.hear_a("message").await;
    let (token, session) = (ann.resume.clone(), ann.session.clone());
    ann.cut();
    let whom = format!("session={session}");
    loop {
        let known = get(&hall, &format!("explain/connection?{whom}")).await;
        if known["connections"][0]["open"] == false {
            assert_eq!(known["connections"][0]["user"], "ann");
            break;
        }
    }
    let second = publish(&hall, "chat", json!(2)).await;
    let answer = why(&hall, &whom, "chat", &second).await;
    says(
        &answer,
        "disconnected",
        &[
            "the connection ended",
            "before it was published",
            "has not come back",
        ],
    );
    // What was sent before the end is not proven to have arrived.
    let answer = why(&hall, "user=ann", "chat", &first).await;
    says(
        &answer,
        "delivered",
        &["before the connection ended", "resumes"],
    );
    // She reconnects, and receives it.
    let mut back = hall.dial().await;
    let positions = json!({ "chat": heard["position"] });
    assert_eq!(back.resume(&token, positions).await["type"], "welcome");
    loop {
        let heard = back.hear().await;
        if heard["type"] == "message" && heard["position"] == second.as_str() {
            break;
        }
    }
    let answer = why(&hall, &whom, "chat", &second).await;
    says(&answer, "delivered", &[]);
    assert_eq!(
        answer["connections"].as_array().unwrap().len(),
        2,
        "{answer}"
    );
}

#[tokio::test]
async fn a_trimmed_publication_is_reported_as_no_longer_stored() {
    let hall = hall().await;
    let mut ann = ann(&hall).await;
    ann.subscribe("chat/short", json!("now")).await;
    ann.cut();
    loop {
        let known = get(&hall, "explain/connection?user=ann").await;
        if known["connections"][0]["open"] == false {
            break;
        }
    }
    let first = publish(&hall, "chat/short", json!(0)).await;
    for n in 1..10 {
        publish(&hall, "chat/short", json!(n)).await;
    }
    let answer = why(&hall, "user=ann", "chat/short", &first).await;
    says(
        &answer,
        "disconnected",
        &["no longer stored (evicted_by_size)", "told of a gap"],
    );
    assert_eq!(answer["publication"]["state"], "evicted_by_size");
}

#[tokio::test]
async fn the_end_of_a_subscription_is_reported_with_who_ended_it() {
    let hall = hall().await;
    let mut ann = ann(&hall).await;
    for channel in ["chat/a", "chat/b"] {
        ann.subscribe(channel, json!("now")).await;
    }
    let leave = json!({ "type": "unsubscribe", "channel": "chat/a" });
    assert_eq!(ann.ask(leave).await["type"], "unsubscribed");
    let body = json!({ "user": "ann", "channel": "chat/b" }).to_string();
    hall.api(KEY, "POST /api/v1/unsubscribe", &body).await;
    ann.hear_a("unsubscribed").await;
    let (a, b) = (
        publish(&hall, "chat/a", json!(1)).await,
        publish(&hall, "chat/b", json!(1)).await,
    );
    let answer = why(&hall, "user=ann", "chat/a", &a).await;
    says(
        &answer,
        "unsubscribed",
        &["the client ended", "before this was published"],
    );
    let answer = why(&hall, "user=ann", "chat/b", &b).await;
    says(&answer, "denied", &["the server ended the subscription"]);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_keeps_its_progress() {
    let hall = hall().await;
    let mut ann = ann(&hall).await;
    ann.subscribe("chat", json!("now")).await;
    let first = publish(&hall, "chat", json!(1)).await;
    ann.hear_a("message").await;
    let body = json!({ "user": "ann" }).to_string();
    hall.api(KEY, "POST /api/v1/disconnect", &body).await;
    ann.end().await;
    let second = publish(&hall, "chat", json!(2)).await;
    let answer = until(&hall, "disconnected", "user=ann", "chat", &second).await;
    says(
        &answer,
        "disconnected",
        &["closed by the server: disconnected"],
    );
    let answer = why(&hall, "user=ann", "chat", &first).await;
    says(
        &answer,
        "delivered",
        &["closed by the server: disconnected"],
    );
}

#[tokio::test]
async fn a_publication_delivered_by_a_filter_is_found_by_its_position_in_the_channel() {
    let hall = hall().await;
    let mut ann = ann(&hall).await;
    let wish = json!({ "type": "subscribe", "filter": "chat/#", "subscription": 3 });
    assert_eq!(ann.ask(wish).await["type"], "subscribed");
    publish(&hall, "chat/a", json!(1)).await;
    let at = publish(&hall, "chat/b", json!(2)).await;
    ann.hear_a("message").await;
    ann.hear_a("message").await;
    let answer = why(&hall, "user=ann", "chat/b", &at).await;
    says(&answer, "delivered", &["subscription 3 to filter chat/#"]);
}

#[tokio::test]
async fn a_publication_is_found_by_its_key_and_a_refused_one_says_why() {
    let hall = hall().await;
    let mut ann = ann(&hall).await;
    ann.subscribe("chat", json!("now")).await;
    let body = json!({ "channel": "chat", "data": 1, "key": "order 7" }).to_string();
    hall.api(KEY, "POST /api/v1/publish", &body).await;
    ann.hear_a("message").await;
    let ask =
        |channel: &str, key: &str| format!("explain/delivery?user=ann&channel={channel}&key={key}");
    let answer = get(&hall, &ask("chat", "order+7")).await;
    says(&answer, "delivered", &[]);
    let answer = get(&hall, &ask("chat", "order+8")).await;
    says(&answer, "not_published", &["\"order 8\"", "not known"]);
    // A client that may not publish, and one whose channel has no history.
    let refused = json!({ "type": "publish", "channel": "silent/a", "data": 1, "key": "k" });
    assert_eq!(ann.refused(refused).await["code"], "forbidden");
    let answer = get(&hall, &ask("silent/a", "k")).await;
    says(&answer, "not_published", &["was refused at", "forbidden"]);
    let fleeting = json!({ "type": "publish", "channel": "fleeting/a", "data": 1, "key": "k" });
    assert_eq!(ann.ask(fleeting).await["type"], "published");
    let answer = get(&hall, &ask("fleeting/a", "k")).await;
    says(&answer, "never_subscribed", &[]);
    assert_eq!(answer["publication"]["state"], "not_kept");
}

#[tokio::test]
async fn positions_that_do_not_exist_are_reported_as_such() {
    let hall = hall().await;
    let at = publish(&hall, "chat", json!(1)).await;
    let (epoch, offset) = at.split_once('.').unwrap();
    let next = format!("{epoch}.{}", offset.parse::<u64>().unwrap() + 1);
    let answer = why(&hall, "user=ann", "chat", &next).await;
    says(&answer, "not_published", &["has not been published", &at]);
    let answer = why(&hall, "user=ann", "chat", "17.1").await;
    says(&answer, "not_published", &["not part of channel chat"]);
}

#[tokio::test]
async fn the_record_of_a_publisher_has_heads_and_outcomes_and_no_content() {
    let hall = hall().await;
    let mut ann = ann(&hall).await;
    let secret = "the content of a message";
    let publication = json!({ "type": "publish", "channel": "chat", "data": secret, "key": "k1" });
    assert_eq!(ann.ask(publication).await["type"], "published");
    for n in 0..20 {
        ann.publish("chat/many", json!(n)).await;
    }
    let refused = json!({ "type": "publish", "channel": "silent/a", "data": secret });
    ann.refused(refused).await;
    let known = get(&hall, "explain/connection?user=ann").await;
    assert!(!known.to_string().contains(secret), "{known}");
    let messages = known["connections"][0]["messages"].as_array().unwrap();
    // The newest eight.
    assert_eq!(messages.len(), 8, "{known}");
    assert_eq!(messages[0]["channel"], "chat/many");
    assert_eq!(messages[6]["what"], "published");
    assert_eq!(messages[6]["bytes"], 2);
    assert_eq!(messages[7]["what"], "publish_refused");
    assert_eq!(messages[7]["code"], "forbidden");
}

#[tokio::test]
async fn a_user_with_two_sessions_gets_the_best_verdict_and_both_sessions() {
    let hall = hall().await;
    let (mut phone, _laptop) = (ann(&hall).await, ann(&hall).await);
    phone.subscribe("chat", json!("now")).await;
    let at = publish(&hall, "chat", json!(1)).await;
    phone.hear_a("message").await;
    let answer = why(&hall, "user=ann", "chat", &at).await;
    let others = "other sessions: 1 never_subscribed";
    says(
        &answer,
        "delivered",
        &["of 2 sessions", &phone.session, others],
    );
    let verdicts = answer["connections"].as_array().unwrap().iter();
    let mut verdicts: Vec<_> = verdicts.map(|one| one["verdict"].clone()).collect();
    verdicts.sort_by_key(ToString::to_string);
    assert_eq!(verdicts, ["delivered", "never_subscribed"]);
}

#[tokio::test]
async fn another_session_of_the_user_is_not_taken_for_the_return_of_an_ended_one() {
    let hall = hall().await;
    let (mut phone, laptop) = (ann(&hall).await, ann(&hall).await);
    phone.subscribe("chat", json!("now")).await;
    let at = publish(&hall, "chat", json!(1)).await;
    phone.hear_a("message").await;
    let session = phone.session.clone();
    phone.cut();
    loop {
        let path = format!("explain/connection?session={session}");
        if get(&hall, &path).await["connections"][0]["open"] == false {
            break;
        }
    }
    let answer = why(&hall, "user=ann", "chat", &at).await;
    let others = "has not come back; other sessions: 1 never_subscribed";
    says(&answer, "delivered", &[&session, others]);
    let sentence = answer["sentence"].as_str().unwrap();
    assert!(!sentence.contains("has come back"), "{sentence}");
    let connections = answer["connections"].as_array().unwrap();
    let open: Vec<_> = connections.iter().map(|one| &one["open"]).collect();
    assert_eq!(open, [true, false]);
    assert_eq!(connections[0]["session"], laptop.session.as_str());
}

#[tokio::test]
async fn ambiguous_and_invalid_questions_are_refused() {
    let hall = hall().await;
    let session = "0".repeat(32);
    for (query, words) in [
        (
            "channel=chat&position=1.1".to_owned(),
            "user, session or connection",
        ),
        ("user=a&channel=chat".to_owned(), "position or key"),
        ("user=a&position=1.1".to_owned(), "channel: is missing"),
        (
            "user=&channel=chat&position=1.1".to_owned(),
            "user: is empty",
        ),
        (
            format!("user=a&session={session}&channel=chat&position=1.1"),
            "only one",
        ),
        (
            "session=12&channel=chat&position=1.1".to_owned(),
            "32 hexadecimal",
        ),
        (
            "connection=x&channel=chat&position=1.1".to_owned(),
            "connection",
        ),
        ("user=a&channel=chat&position=x".to_owned(), "position"),
        ("user=a&channel=chat&position=1.0".to_owned(), "offset is 0"),
        (
            "user=a&channel=chat&position=1.1&key=k".to_owned(),
            "only one",
        ),
        ("user=a&channel=chat&key=".to_owned(), "key has 0 bytes"),
        ("user=a&channel=a*&position=1.1".to_owned(), "channel"),
    ] {
        let request = format!("GET /api/v1/explain/delivery?{query}");
        let (status, _, answer) = hall.api(KEY, &request, "").await;
        assert_eq!(status, 400, "{query}: {answer}");
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{query}: {detail}");
    }
    let request = "GET /api/v1/explain/delivery?user=a&channel=nowhere&position=1.1";
    let (status, _, answer) = hall.api(KEY, request, "").await;
    assert_eq!((status, &answer["code"]), (404, &json!("unknown_channel")));
    for request in ["GET /api/v1/top?limit=0", "GET /api/v1/top?limit=x"] {
        assert_eq!(hall.api(KEY, request, "").await.0, 400);
    }
}

#[tokio::test]
async fn a_key_explains_only_what_it_is_for() {
    let everything = ApiKey::of_everything(KEY).to_string();
    let (_, hash) = everything.rsplit_once(' ').unwrap();
    let mut config = settings();
    let reader = format!("read {hash}");
    config.api.keys = vec![reader.parse().unwrap()];
    let hall = Hall::open(config).await;
    for path in [
        "explain/delivery?user=a",
        "explain/connection?user=a",
        "top",
    ] {
        let (status, _, answer) = hall.api(KEY, &format!("GET /api/v1/{path}"), "").await;
        assert_eq!(status, 403, "{answer}");
    }
    let limited = format!("admin chat/* {hash}");
    hall.set_api_keys(vec![limited.parse().unwrap()]);
    let forbidden = [
        "explain/delivery?user=a&channel=fleeting/a&position=1.1",
        "explain/connection?user=a",
    ];
    for path in forbidden {
        let (status, _, answer) = hall.api(KEY, &format!("GET /api/v1/{path}"), "").await;
        assert_eq!(status, 403, "{answer}");
    }
    let own = "GET /api/v1/explain/delivery?user=a&channel=chat/a&position=1.1";
    assert_eq!(hall.api(KEY, own, "").await.0, 200);
}

#[tokio::test]
async fn a_key_for_some_channels_learns_no_connections_and_grants_of_others() {
    let everything = ApiKey::of_everything(KEY).to_string();
    let (_, hash) = everything.rsplit_once(' ').unwrap();
    let mut config = settings();
    let rules = ChannelRules {
        subscribe: offhook_engine::Access::Granted,
        ..ChannelRules::default()
    };
    let pattern = "chat/granted/*".to_owned();
    config.channels.insert(
        0,
        ChannelRule {
            pattern,
            rules,
            ..ChannelRule::default()
        },
    );
    let hall = Hall::open(config).await;
    let mut caller = hall.dial().await;
    let grants = json!({ "chat/granted/1": "subscribe", "secret/tenant": "subscribe" });
    let token = crate::issuer::token(json!({ "sub": "ann", "grants": grants }));
    caller
        .ask(json!({ "type": "connect", "token": token, "lineage": true }))
        .await;
    let at = publish(&hall, "chat/granted/2", json!(1)).await;
    let all = why(&hall, "user=ann", "chat/granted/2", &at).await;
    says(&all, "never_subscribed", &["secret/tenant"]);
    assert!(get(&hall, "top").await["slowest"].is_array());

    let limited = format!("admin chat/* {hash}");
    hall.set_api_keys(vec![limited.parse().unwrap()]);
    let part = why(&hall, "user=ann", "chat/granted/2", &at).await;
    says(
        &part,
        "never_subscribed",
        &["requires a grant", "none for this channel"],
    );
    assert!(!part.to_string().contains("secret/tenant"), "{part}");
    let top = get(&hall, "top").await;
    assert_eq!(top["slowest"], Value::Null, "{top}");
    assert!(top["busiest"].is_array(), "{top}");
}

#[tokio::test]
async fn with_the_recorder_switched_off_the_state_of_open_connections_still_answers() {
    let mut config = settings();
    config.recorder.bytes = 0;
    let hall = Hall::open(config).await;
    let mut ann = ann(&hall).await;
    ann.subscribe("chat", json!("now")).await;
    let at = publish(&hall, "chat", json!(1)).await;
    ann.hear_a("message").await;
    let answer = why(&hall, "user=ann", "chat", &at).await;
    says(&answer, "delivered", &[]);
    assert_eq!(answer["recorded"], false);
    ann.cut();
    let answer = until(&hall, "not_connected", "user=ann", "chat", &at).await;
    says(&answer, "not_connected", &["recorder is switched off"]);
}

#[tokio::test]
async fn an_ended_connection_is_forgotten_after_its_time() {
    let mut config = settings();
    config.recorder.keep = Duration::from_millis(1);
    let hall = Hall::open(config).await;
    let mut ann = ann(&hall).await;
    ann.subscribe("chat", json!("now")).await;
    let at = publish(&hall, "chat", json!(1)).await;
    ann.cut();
    until(&hall, "not_connected", "user=ann", "chat", &at).await;
}
