//! A backend that hangs, lies, grows, redirects, breaks off or is away: nothing is allowed, and nobody else waits.

use std::time::Duration;

use offhook_auth::ApiKey;
use offhook_engine::NoAnswer;
use serde_json::{Value, json};

use crate::{
    asked::{Does, TestBackend, asking, impatient},
    hall::Hall,
    logged::journal,
};

fn allow() -> Does {
    Does::Says(json!({ "allow": true }))
}

fn call(method: &str) -> Value {
    json!({ "type": "call", "method": method, "data": { "n": 1 } })
}

/// A backend that never gives an answer of use, whatever it does instead.
fn useless() -> Vec<(&'static str, Vec<u8>)> {
    let ok = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    let endless = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n".to_vec(),
        vec![b' '; 1 << 20],
    ];
    let many = "X: y\r\n".repeat(100_000);
    vec![
        ("nothing", Vec::new()),
        ("garbage", b"garbage\r\n\r\n".to_vec()),
        ("html", ok("<html>welcome</html>")),
        ("no verdict", ok("{}")),
        ("a verdict that is no boolean", ok(r#"{"allow":"true"}"#)),
        ("a number", ok("1")),
        (
            "wrong grants",
            ok(r#"{"allow":true,"data":1,"base64":"AA=="}"#),
        ),
        ("bad base64", ok(r#"{"allow":true,"base64":"%"}"#)),
        (
            "deep data",
            ok(&format!(
                r#"{{"allow":true,"data":{}1{}}}"#,
                "[".repeat(500),
                "]".repeat(500)
            )),
        ),
        ("no code", ok(r#"{"error":{"message":"no"}}"#)),
        (
            "a long code",
            ok(&format!(r#"{{"error":{{"code":"{}"}}}}"#, "x".repeat(65))),
        ),
        (
            "created",
            b"HTTP/1.1 201 Created\r\nContent-Length: 14\r\n\r\n{\"allow\":true}".to_vec(),
        ),
        (
            "failing",
            b"HTTP/1.1 500 No\r\nContent-Length: 14\r\n\r\n{\"allow\":true}".to_vec(),
        ),
        ("10 GB", endless.concat()),
        (
            "endless headers",
            format!("HTTP/1.1 200 OK\r\n{many}\r\n").into_bytes(),
        ),
    ]
}

#[tokio::test]
async fn an_invalid_oversized_or_incomplete_answer_of_the_backend_permits_nothing_and_delays_nobody()
 {
    for (kind, answer) in useless() {
        let backend = TestBackend::new(move |_| Does::Writes(answer.clone())).await;
        let hall = Hall::open(impatient(&backend)).await;
        let mut caller = hall.caller().await;
        let publish = json!({ "type": "publish", "channel": "asked/a", "data": 1 });
        let refused = caller.refused(publish).await;
        let code = refused["code"].as_str().unwrap();
        assert!(
            ["backend_away", "timed_out"].contains(&code),
            "{kind}: {refused}"
        );
        assert_eq!(refused["retry"], "later", "{kind}");
        caller.publish("chat", json!("goes on")).await;
    }
}

#[tokio::test]
async fn a_redirect_of_the_backend_is_not_followed() {
    let mut elsewhere = TestBackend::new(|_| allow()).await;
    let there = elsewhere.url();
    let answer = format!("HTTP/1.1 307 There\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n");
    let backend = TestBackend::new(move |_| Does::Writes(answer.clone().into_bytes())).await;
    let hall = Hall::open(impatient(&backend)).await;
    let mut caller = hall.caller().await;
    let subscribe = json!({ "type": "subscribe", "channel": "asked/a" });
    assert_eq!(caller.refused(subscribe).await["code"], "backend_away");
    assert!(elsewhere.heard().is_empty());
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_hanging_backend_delays_only_the_clients_it_decides_about_up_to_the_timeout() {
    let mut backend = TestBackend::new(|_| Does::Hangs).await;
    let mut config = impatient(&backend);
    config.limits.call_within = Duration::from_millis(500);
    let hall = Hall::open(config).await;
    let mut waits = hall.caller().await;
    waits.send(call("sum")).await;
    backend.next().await;
    let mut other = hall.caller().await;
    other.publish("chat", json!("at once")).await;
    assert_eq!(other.ask(json!({ "type": "ping" })).await["type"], "pong");
    let refused = waits.hear_a("error").await;
    let code = refused["code"].as_str().unwrap();
    assert!(["backend_away", "timed_out"].contains(&code), "{refused}");
}

#[tokio::test]
async fn while_the_backend_is_unavailable_the_setting_decides_and_calls_always_fail() {
    for away in [NoAnswer::Refuse, NoAnswer::Allow] {
        let backend = TestBackend::new(|_| Does::Writes(Vec::new())).await;
        let mut config = impatient(&backend);
        config.backend.away = away;
        let hall = Hall::open(config).await;
        let mut caller = hall.caller().await;
        let publish = json!({ "type": "publish", "channel": "asked/a", "data": 1 });
        let answer = caller.ask(publish).await;
        let expected = if away == NoAnswer::Allow {
            "published"
        } else {
            "error"
        };
        assert_eq!(answer["type"], expected, "{answer}");
        assert_eq!(caller.refused(call("sum")).await["code"], "backend_away");
    }
}

#[tokio::test]
async fn requests_to_a_backend_that_fails_repeatedly_are_paused() {
    let mut backend = TestBackend::new(|_| Does::Writes(Vec::new())).await;
    let hall = Hall::open(impatient(&backend)).await;
    let mut caller = hall.caller().await;
    for _ in 0..40 {
        assert_eq!(caller.refused(call("sum")).await["code"], "backend_away");
    }
    let many = backend.heard().len();
    // Ten in a row open the breaker; it lets one through a second later, should this take so long.
    assert!((10..=13).contains(&many), "{many}");
}

#[tokio::test]
async fn questions_above_the_limit_are_refused() {
    let mut backend = TestBackend::new(|_| Does::Hangs).await;
    let mut config = impatient(&backend);
    config.backend.queue = 1;
    config.backend.concurrency = 1;
    config.limits.call_within = Duration::from_secs(30);
    let hall = Hall::open(config).await;
    let mut caller = hall.caller().await;
    for _ in 0..10 {
        caller.send(call("sum")).await;
    }
    backend.next().await;
    let refused = caller.hear_a("error").await;
    assert_eq!(
        (&refused["code"], &refused["retry"]),
        (&"busy".into(), &"later".into())
    );
}

#[tokio::test]
async fn neither_secrets_nor_the_query_of_the_url_are_shown() {
    let backend = TestBackend::new(|_| allow()).await;
    let config = asking(&backend);
    let shown = format!("{:?}", config.backend.secrets);
    assert!(!shown.contains("thirty-two"), "{shown}");
    let url = config.backend.url.clone().unwrap();
    assert!(!url.without_query().contains("in-the-query"));
    let hall = Hall::open(config).await;
    let (_, health) = hall.health().await;
    let health = health.to_string();
    assert!(
        !health.contains("thirty-two") && !health.contains("in-the-query"),
        "{health}"
    );
}

#[tokio::test]
async fn callers_who_do_not_wait_for_the_backend_do_not_keep_others_from_it() {
    let backend = TestBackend::new(|request| match request.body["method"].as_str() {
        Some("slow") => Does::Hangs,
        _ => Does::Says(json!({ "data": 3 })),
    })
    .await;
    let hall = Hall::open(impatient(&backend)).await;
    let mut caller = hall.caller().await;
    for _ in 0..20 {
        let mut call = call("slow");
        call["deadline_ms"] = 1.into();
        caller.refused(call).await;
    }
    assert_eq!(caller.ask(call("sum")).await["data"], 3);
}

#[tokio::test]
async fn a_backend_that_refuses_requests_is_not_taken_for_one_that_is_away() {
    let backend = TestBackend::new(|request| match request.body["method"].as_str() {
        Some("sum") => Does::Says(json!({ "data": 3 })),
        _ => Does::Writes(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n".to_vec()),
    })
    .await;
    let hall = Hall::open(impatient(&backend)).await;
    let mut caller = hall.caller().await;
    for _ in 0..20 {
        assert_eq!(
            caller.refused(call("nothing")).await["code"],
            "backend_away"
        );
    }
    assert_eq!(caller.ask(call("sum")).await["data"], 3);
}

#[tokio::test]
async fn answers_that_cannot_be_used_are_logged_once_with_the_reason_and_counted() {
    let journal = journal();
    let backend = TestBackend::new(|request| match request.body["method"].as_str() {
        Some("lost") => Does::Writes(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n".to_vec()),
        Some(_) => Does::Says(json!({ "base64": "%" })),
        None => Does::Says(json!({ "allow": "true\u{1b}[31m" })),
    })
    .await;
    let key = "ohk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    let mut config = impatient(&backend);
    config.api.keys = vec![ApiKey::of_everything(key)];
    let hall = Hall::open(config).await;
    let mut caller = hall.caller().await;
    for _ in 0..30 {
        caller.refused(call("sum")).await;
        caller.refused(call("lost")).await;
        let publish = json!({ "type": "publish", "channel": "asked/a", "data": 1 });
        caller.refused(publish).await;
    }
    let place = backend.url();
    let place = place.split_once("://").expect("a URL").1;
    let place = place.split('/').next().expect("host and port");
    let lines = journal.lines();
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.contains(place) && line.starts_with("WARN"))
        .collect();
    // At most one line for each interval of ten seconds.
    for (kind, reason) in [
        ("call", "base64"),
        ("call", "404"),
        ("publish", "expected a boolean"),
    ] {
        let with = |line: &&&String| line.contains(kind) && line.contains(reason);
        let count = told.iter().filter(with).count();
        assert!((1..=3).contains(&count), "{kind} {reason}: {told:?}");
    }
    assert!(told.iter().all(|line| !line.contains('\u{1b}')), "{told:?}");

    let (_, _, stats) = hall.api(key, "GET /api/v1/stats", "").await;
    assert_eq!(
        stats["backend"]["failures"],
        json!({ "connection": 0, "invalid": 60, "status": 30, "timed_out": 0, "too_large": 0 })
    );
}
