//! Attacks on who connects and on the API, each named, over real sockets. Those on tokens alone are the
//! auth crate's `attacks`.

use std::time::Duration;

use offhook_auth::{Algorithm, ApiKey, Signer};
use offhook_server::{Config, config::JwksUrl};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    hall::{Hall, NEVER, config},
    issuer::{Publisher, of, ok, token, with_tokens},
};

async fn refused(hall: &Hall, token: &str) -> Value {
    let mut caller = hall.dial().await;
    caller
        .refused(json!({ "type": "connect", "token": token }))
        .await
}

#[tokio::test]
async fn an_invalid_token_is_refused_even_if_anonymous_clients_may_connect() {
    let hall = Hall::open(with_tokens(|auth| auth.anonymous = Some(true))).await;
    let forged = Signer::hmac(Algorithm::Hs256, &[7; 32]).unwrap();
    let forged = forged
        .sign(&json!({ "sub": "root", "exp": 9_999_999_999_u64 }))
        .unwrap();
    let expired = token(json!({ "sub": "ann", "exp": 1 }));
    for wrong in [&*forged, &expired, "", "nonsense", "a.b.c"] {
        assert_eq!(
            refused(&hall, wrong).await["code"],
            "unauthenticated",
            "{wrong}"
        );
    }
    let handshake = |more: &str| {
        format!(
            "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}"
        )
    };
    for more in [
        format!("Sec-WebSocket-Protocol: offhook.v1.json\r\nAuthorization: Bearer {forged}"),
        format!("Sec-WebSocket-Protocol: offhook.v1.json, offhook.token.{expired}"),
    ] {
        let head = handshake(&more).replace("\r\nUpgrade", "\r\nConnection: Upgrade\r\nUpgrade");
        let mut stream = TcpStream::connect(hall.address()).await.unwrap();
        let request = format!("{head}\r\nHost: {}\r\n\r\n", hall.address());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(NEVER, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(
            answer.to_lowercase().contains("www-authenticate: bearer"),
            "{answer}"
        );
        assert!(!answer.contains(&forged[..30]) && !answer.contains(&expired[..30]));
    }
}

#[tokio::test]
async fn a_server_without_keys_refuses_tokens() {
    let hall = Hall::open(config()).await;
    let answer = refused(&hall, &of("ann")).await;
    assert_eq!(answer["code"], "unauthenticated");
    assert!(
        answer["message"].as_str().unwrap().contains("no keys"),
        "{answer}"
    );
}

#[tokio::test]
async fn two_tokens_in_one_handshake_are_refused() {
    let hall = Hall::open(with_tokens(|auth| auth.query = true)).await;
    let two = hall.number_at(&format!("/ws?token={}", of("ann")));
    let two = two.subprotocol("offhook.v1.json");
    let two = two.header("Authorization", format!("Bearer {}", of("bob")));
    let error = two.open().await.unwrap_err().to_string();
    assert!(error.contains("400"), "{error}");
}

#[tokio::test]
async fn a_session_is_not_resumed_by_another_user() {
    let hall = Hall::open(with_tokens(|_| {})).await;
    let mut ann = hall.dial().await;
    let welcome = ann
        .ask(json!({ "type": "connect", "token": of("ann") }))
        .await;
    let resume = welcome["resume"].as_str().unwrap();
    let mut bob = hall.dial().await;
    let connect = json!({ "type": "connect", "token": of("bob"), "resume": resume });
    assert_eq!(bob.refused(connect).await["code"], "bad_token");
}

const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn with_jwks(publisher: &Publisher) -> Config {
    with_tokens(|auth| {
        let url: JwksUrl = publisher.url().parse().unwrap();
        auth.jwks_url = Some(url);
        auth.jwks_timeout = Duration::from_millis(300);
    })
}

/// A token that is signed by an unknown key, under a name that the issuer may publish later.
fn unknown(kid: &str) -> String {
    let key = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let key = key.to_pkcs8v1().unwrap();
    let signer = Signer::from_der(key.as_ref(), None).unwrap().named(kid);
    signer
        .sign(&json!({ "sub": "ann", "exp": 9_999_999_999_u64 }))
        .unwrap()
}

#[tokio::test]
async fn tokens_with_unknown_keys_do_not_flood_the_issuer_with_requests() {
    let publisher = Publisher::new(ok(KEYS)).await;
    let hall = Hall::open(with_jwks(&publisher)).await;
    assert_eq!(publisher.count(), 1, "once before anybody is served");
    for n in 0..50 {
        let answer = refused(&hall, &unknown(&format!("k{n}"))).await;
        assert_eq!(answer["code"], "unauthenticated", "{answer}");
    }
    assert_eq!(publisher.count(), 1);
    let head = publisher.requests.lock().unwrap()[0].to_lowercase();
    assert!(head.starts_with("get /keys http/1.1"), "{head}");
}

#[tokio::test]
async fn a_hanging_invalid_oversized_or_redirecting_issuer_yields_no_keys_and_delays_nobody() {
    let redirect = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n";
    let endless = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n".to_vec(),
        vec![b' '; 1 << 20],
    ];
    let elsewhere = Publisher::new(ok(KEYS)).await;
    let there = format!(
        "HTTP/1.1 301 Moved\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
        elsewhere.url()
    );
    for answer in [
        Vec::new(),
        ok("<html>nothing here</html>"),
        ok(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#),
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
        b"garbage\r\n\r\n".to_vec(),
        redirect.to_vec(),
        there.into_bytes(),
        endless.concat(),
    ] {
        let publisher = Publisher::new(answer).await;
        let hall = Hall::open(with_jwks(&publisher)).await;
        // A token of theirs may be good later; one of the server's own keys is good now.
        let later = refused(&hall, &unknown("a")).await;
        assert_eq!(
            (&later["code"], &later["retry"]),
            (&"busy".into(), &"later".into()),
            "{later}"
        );
        let mut caller = hall.dial().await;
        let welcome = caller
            .ask(json!({ "type": "connect", "token": of("ann") }))
            .await;
        assert_eq!(welcome["user"], "ann");
        // When the issuer can be reached again, the keys are fetched again, but not immediately.
        publisher.answers(ok(KEYS));
        assert_eq!(publisher.count(), 1);
    }
    assert_eq!(elsewhere.count(), 0, "a redirect is not followed");
}

const KEY: &str = "ohk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

async fn with_api() -> Hall {
    let mut config = config();
    config.api.keys = vec![ApiKey::of_everything(KEY)];
    config.api.max_body = 4096;
    config.api.body_timeout = Duration::from_millis(300);
    Hall::open(config).await
}

#[tokio::test]
async fn without_a_key_the_api_refuses_everything_and_reveals_nothing() {
    let shut = Hall::open(config()).await;
    let (status, _, problem) = shut.api(KEY, "POST /api/v1/publish", "{}").await;
    assert_eq!((status, &problem["code"]), (404, &"no_api".into()));
    let hall = with_api().await;
    for key in [
        "",
        "ohk_",
        &KEY[1..],
        "ohk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFH",
    ] {
        for path in ["publish", "nothing", "stats"] {
            let (status, head, problem) = hall.api(key, &format!("GET /api/v1/{path}"), "").await;
            assert_eq!(
                (status, &problem["code"]),
                (401, &"unauthenticated".into()),
                "{key} {path}"
            );
            assert!(head.contains("application/problem+json"), "{head}");
            assert!(key.len() < 5 || !problem.to_string().contains(key));
        }
    }
    let (status, _, health) = hall.get("/healthz").await;
    assert_eq!(status, 200);
    assert!(!health.contains("ohk_") && !health.contains("sha256"));
}

#[tokio::test]
async fn an_api_key_permits_only_its_scopes_and_channels() {
    let mut config = config();
    let hash = ApiKey::of_everything(KEY).to_string();
    let hash = hash.rsplit_once(' ').unwrap().1.to_owned();
    config.api.keys = vec![format!("publish chat/* {hash}").parse().unwrap()];
    let hall = Hall::open(config).await;
    let publish = |channel: &str| json!({ "channel": channel, "data": 1 }).to_string();
    let (status, ..) = hall
        .api(KEY, "POST /api/v1/publish", &publish("chat/1"))
        .await;
    assert_eq!(status, 200);
    let (status, ..) = hall
        .api(KEY, "POST /api/v1/publish", &publish("chat"))
        .await;
    assert_eq!(status, 403);
    for request in [
        "GET /api/v1/history?channel=chat/1",
        "GET /api/v1/stats",
        "POST /api/v1/revoke",
    ] {
        let (status, _, problem) = hall.api(KEY, request, "{}").await;
        assert_eq!(
            (status, &problem["code"]),
            (403, &"forbidden".into()),
            "{request}"
        );
    }
}

#[tokio::test]
async fn an_oversized_body_is_refused_before_and_while_it_is_received() {
    let hall = with_api().await;
    let large = json!({ "channel": "chat", "data": "x".repeat(5000) }).to_string();
    let (status, _, problem) = hall.api(KEY, "POST /api/v1/publish", &large).await;
    assert_eq!((status, &problem["code"]), (413, &"too_large".into()));
    // In chunks nothing is announced.
    let head = format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400)).repeat(8);
    let answer = raw(&hall, &format!("{head}{chunk}")).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn an_announced_body_that_does_not_arrive_times_out() {
    let hall = with_api().await;
    let head = format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    let answer = raw(&hall, &head).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_request_smuggled_after_a_chunked_one_is_not_executed() {
    let hall = with_api().await;
    let body = r#"{"channel":"chat","data":1}"#;
    // With both lengths the chunks count (RFC 9112 §6.3), and the connection goes no further.
    let request = format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let smuggled = "GET /api/v1/stats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = raw(&hall, &format!("{request}{smuggled}")).await;
    // Each of them alone is a complete request, and the second has no key.
    let statuses: Vec<&str> = answer.matches("HTTP/1.1 200 ").collect();
    assert!(statuses.len() <= 1, "{answer}");
    for wrong in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Transfer-Encoding: chunked, x",
        "Content-Length: -1",
    ] {
        let request = format!(
            "POST /api/v1/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n{wrong}\r\n\r\n"
        );
        let answer = raw(&hall, &format!("{request}{smuggled}")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{wrong}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{wrong}: {answer}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let hall = with_api().await;
    let publish = |n: u32| {
        let body = format!(r#"{{"channel":"chat","data":{n}}}"#);
        format!(
            "POST /api/v1/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let all: String = (0..20).map(publish).collect();
    let last = format!(
        "GET /api/v1/history?channel=chat&since=start HTTP/1.1\r\nHost: x\r\n\
         Authorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
    );
    let answer = raw(&hall, &format!("{all}{last}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 21, "{answer}");
    let history = answer.rsplit_once("\r\n\r\n").unwrap().1;
    let history: Value = serde_json::from_str(history).unwrap();
    let data: Vec<_> = history["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["data"].clone())
        .collect();
    assert_eq!(data, (0..20).map(|n| json!(n)).collect::<Vec<_>>());
}

#[tokio::test]
async fn invalid_json_is_refused_at_each_endpoint_by_field() {
    let hall = with_api().await;
    for path in [
        "publish",
        "batch",
        "send",
        "subscribe",
        "unsubscribe",
        "disconnect",
        "revoke",
    ] {
        for body in [
            "",
            "{",
            "[]",
            "7",
            "null",
            "{}",
            r#"{"user":7,"channel":7}"#,
            "\u{0}",
            r#"{"publications":[]}"#,
        ] {
            let request = format!("POST /api/v1/{path}");
            let (status, _, problem) = hall.api(KEY, &request, body).await;
            assert_eq!(
                (status, &problem["code"]),
                (400, &"bad_request".into()),
                "{path} {body:?}: {problem}"
            );
        }
    }
    for query in [
        "history",
        "history?channel=",
        "history?channel=a*",
        "history?channel=a&since=x",
        "history?channel=a&limit=-1",
        "history?channel=a&channel=b",
        "state",
        "presence",
        "receipts?channel=a",
        "cursor?channel=a",
        "sessions",
        "explain?channel=a&verb=fly",
    ] {
        let (status, _, problem) = hall.api(KEY, &format!("GET /api/v1/{query}"), "").await;
        assert_eq!(status, 400, "{query}: {problem}");
    }
}

#[tokio::test]
async fn data_that_nests_deeper_than_clients_can_read_is_refused() {
    let hall = with_api().await;
    for (depth, status) in [(64, 200), (65, 400), (1000, 400)] {
        let data = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let body = format!(r#"{{"channel":"chat","data":{data}}}"#);
        let (found, _, answer) = hall.api(KEY, "POST /api/v1/publish", &body).await;
        assert_eq!(found, status, "{depth}: {answer}");
    }
}

async fn raw(hall: &Hall, request: &str) -> String {
    let mut stream = TcpStream::connect(hall.address()).await.unwrap();
    // The server may have answered and closed before all of it is written.
    let _written = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _closed_or_reset = timeout(NEVER, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
