//! Limits by class of client: a backend publishes more than a browser.

use serde_json::{Value, json};

use crate::{
    asked::{Does, TestBackend, asking},
    caller::Caller,
    hall::Hall,
    issuer::{of, token, with_tokens},
};

/// A low rate of publications for all clients, and a high one for the class `backend`.
fn config() -> offhook_server::Config {
    let mut config = with_tokens(|_| {});
    config.limits.publishes_per_second = 1;
    config.limits.publish_burst = 2;
    let class = "backend publishes_per_second=1000000 publish_burst=1000";
    config.limits.classes = vec![class.parse().unwrap()];
    config
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

/// Publishes `count` times, and returns how many publications were refused because of the rate.
async fn refused(caller: &mut Caller, count: usize) -> usize {
    let mut refused = 0;
    for n in 0..count {
        let publish = json!({ "type": "publish", "channel": format!("chat/{n}"), "data": n });
        let answer = caller.ask(publish).await;
        if answer["type"] == "error" {
            assert_eq!(answer["code"], "rate_limited", "{answer}");
            refused += 1;
        }
    }
    refused
}

#[tokio::test]
async fn the_class_in_a_token_gives_a_client_limits_of_its_own_also_after_resuming() {
    let hall = Hall::open(config()).await;
    let (mut browser, _) = connected(&hall, &of("ann")).await;
    assert!(refused(&mut browser, 20).await > 0);
    let backend = token(json!({ "sub": "shop", "class": "backend" }));
    let (mut backend, _) = connected(&hall, &backend).await;
    assert_eq!(refused(&mut backend, 20).await, 0);
    let resume = backend.resume.clone();
    backend.cut();
    let mut again = hall.dial().await;
    let welcome = again.resume(&resume, json!({})).await;
    assert_eq!(welcome["user"], "shop", "{welcome}");
    assert_eq!(refused(&mut again, 20).await, 0);
}

#[tokio::test]
async fn a_refreshed_token_changes_the_class() {
    let hall = Hall::open(config()).await;
    let (mut shop, _) = connected(&hall, &of("shop")).await;
    let backend = token(json!({ "sub": "shop", "class": "backend" }));
    let refreshed = shop
        .ask(json!({ "type": "refresh", "token": backend }))
        .await;
    assert_eq!(refreshed["type"], "refreshed", "{refreshed}");
    // The burst is refilled at the rate of the new class.
    let mut tries = 0;
    while refused(&mut shop, 20).await > 0 {
        tries += 1;
        assert!(tries < 1_000);
    }
}

#[tokio::test]
async fn a_class_that_the_server_does_not_have_is_refused_by_name() {
    let hall = Hall::open(config()).await;
    let other = token(json!({ "sub": "shop", "class": "batch" }));
    let (_caller, refused) = connected(&hall, &other).await;
    assert_eq!(refused["code"], "unauthenticated", "{refused}");
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("batch") && message.contains("limits.classes"),
        "{message}"
    );
}

#[tokio::test]
async fn the_backend_may_name_the_class_but_only_one_that_exists() {
    let mut backend = TestBackend::new(|request| {
        let class = request.body["token"].as_str().unwrap_or_default();
        Does::Says(json!({ "allow": true, "user": "shop", "class": class }))
    })
    .await;
    let mut asking = asking(&backend);
    asking.backend.connect = true;
    asking.limits = config().limits;
    let hall = Hall::open(asking).await;
    let (mut shop, welcome) = connected(&hall, "backend").await;
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    assert_eq!(refused(&mut shop, 20).await, 0);
    backend.next().await;
    let (_caller, refused) = connected(&hall, "batch").await;
    assert_eq!(refused["type"], "error", "{refused}");
}
