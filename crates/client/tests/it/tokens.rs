//! Tokens that expire while the connection is open, with the real server.

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use offhook_client::{ConnectionEvent, Error, ErrorCode, Event};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::test_server::{TestServer, builder, lost, text, within};

const SECRET: &str = "a secret of thirty-two bytes....";

/// A server that verifies tokens, and requires a grant for channels below `private/`.
const SETTINGS: &str = r#"
[auth]
secrets = ["a secret of thirty-two bytes...."]
leeway = "0s"

[[channels]]
pattern = "private/*"
subscribe = "granted"
"#;

#[expect(clippy::disallowed_methods, reason = "tokens expire by the wall clock")]
fn token(mut claims: Value, seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    claims["exp"] = (now.as_secs() + seconds).into();
    let encoded = |part: &[u8]| BASE64URL_NOPAD.encode(part);
    let header = encoded(br#"{"alg":"HS256"}"#);
    let signed = format!("{header}.{}", encoded(claims.to_string().as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", encoded(signature.as_ref()))
}

#[tokio::test]
async fn a_client_refreshes_its_token_before_it_expires_and_stays_connected() {
    let server = TestServer::with(SETTINGS).await;
    let count = Arc::new(AtomicU64::new(0));
    let (counted, asked) = (Arc::clone(&count), json!({ "sub": "ann" }));
    // The first token expires within the notice of a minute, and only later tokens contain a grant.
    let client = builder(server.address()).token_from(move || {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        let mut claims = asked.clone();
        let seconds = if first {
            30
        } else {
            claims["grants"] = json!({ "private/*": "read" });
            3_600
        };
        async move { Ok::<_, std::io::Error>(token(claims, seconds)) }
    });
    let client = within(client.connect()).await.unwrap();
    let mut events = client.events();
    // The grant shows that the newer token is used.
    let refreshed = async {
        loop {
            match client.subscribe("private/1").await {
                Ok(subscription) => break subscription,
                Err(Error::Refused(refused)) => {
                    assert_eq!(refused.code(), Some(ErrorCode::Forbidden));
                }
                Err(other) => panic!("{other}"),
            }
        }
    };
    let subscription = within(refreshed).await;
    assert_eq!(count.load(Ordering::SeqCst), 2);
    drop(subscription);
    client.close().await;
    while let Some(event) = within(events.next()).await {
        assert!(!matches!(event, ConnectionEvent::Lost { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn a_subscription_token_is_renewed_when_it_expires_and_nothing_is_lost() {
    let server = TestServer::with(SETTINGS).await;
    let user = |name: &str| {
        let token = token(json!({ "sub": name }), 3_600);
        builder(server.address()).token(token).connect()
    };
    let (ann, ben) = (
        within(user("ann")).await.unwrap(),
        within(user("ben")).await.unwrap(),
    );
    let (fetched, mut fetches) = mpsc::channel(16);
    let orders = ann.subscribe("private/7").token_from(move |channel: &str| {
        let claims = json!({ "sub": "ann", "channel": channel });
        let fetched = fetched.clone();
        async move {
            let seconds = if fetched.capacity() == fetched.max_capacity() {
                2
            } else {
                3_600
            };
            fetched.send(()).await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(token(claims, seconds))
        }
    });
    let mut orders = within(orders.into_future()).await.unwrap();
    // Only the first token expires soon: its fetch stays in the queue, so later tokens are valid for
    // an hour. Each publication arrives once and in order, even while the token is renewed.
    let mut sent = 0;
    while fetches.len() < 2 || sent == 0 {
        let expected = sent.to_string();
        within(ben.publish("private/7", expected.as_str()).into_future())
            .await
            .unwrap();
        loop {
            match within(orders.next()).await.unwrap().expect("it goes on") {
                Event::Publication(publication) => {
                    assert_eq!(text(&publication), expected);
                    break;
                }
                Event::Gap(gap) => panic!("{gap:?}"),
                _ => {}
            }
        }
        sent += 1;
    }
    fetches.close();
}

#[tokio::test]
async fn a_subscription_token_of_another_channel_is_refused() {
    let server = TestServer::with(SETTINGS).await;
    let client = builder(server.address()).token(token(json!({ "sub": "ann" }), 3_600));
    let client = within(client.connect()).await.unwrap();
    let wrong = token(json!({ "sub": "ann", "channel": "private/8" }), 3_600);
    let refused = within(client.subscribe("private/7").token(wrong).into_future()).await;
    let Err(Error::Refused(refused)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.code(), Some(ErrorCode::Unauthenticated));
    let right = |channel: &str| {
        let claims = json!({ "sub": "ann", "channel": channel });
        let token = token(claims, 3_600);
        async { Ok::<_, std::io::Error>(token) }
    };
    let all = client
        .subscribe_all(["private/7", "private/8"])
        .token_from(right);
    assert_eq!(within(all.into_future()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_client_with_one_token_only_is_closed_when_it_expires_and_gives_up() {
    let server = TestServer::with(SETTINGS).await;
    let client = builder(server.address()).token(token(json!({ "sub": "ann" }), 1));
    let client = within(client.connect()).await.unwrap();
    let mut events = client.events();
    let cause = lost(&mut events).await;
    assert!(
        matches!(&cause, Error::Closing(reason) if &**reason == "expired"),
        "{cause}"
    );
    while let Some(event) = within(events.next()).await {
        if let ConnectionEvent::GivenUp { cause } = event {
            let Error::Refused(refused) = cause else {
                panic!("{cause}");
            };
            assert_eq!(refused.code(), Some(ErrorCode::Unauthenticated));
            return;
        }
    }
    panic!("the client keeps trying");
}
