//! A backend for Offhook with axum, jsonwebtoken and reqwest: login, token, publish, webhook, call.
//!
//! ```sh
//! OFFHOOK_URL=http://127.0.0.1:8000 OFFHOOK_API_KEY=ohk_... TOKEN_SECRET=... WEBHOOK_SECRET=... \
//!     cargo run -- 3000
//! ```

use std::{
    env,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jsonwebtoken::{EncodingKey, Header, encode};
use ring::hmac;
use serde_json::{Value, json};

/// How old a webhook may be, in seconds.
const TOLERANCE: u64 = 300;

struct Backend {
    offhook_url: String,
    api_key: String,
    token_key: EncodingKey,
    webhook_key: hmac::Key,
    http: reqwest::Client,
    /// Events received from the server. A real backend would store them in its database.
    events: Mutex<Vec<Value>>,
}

type Shared = State<Arc<Backend>>;
type Answer = (StatusCode, Json<Value>);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = env::args()
        .nth(1)
        .ok_or("usage: offhook-example-backend PORT")?;
    let backend = Backend {
        offhook_url: env::var("OFFHOOK_URL")?,
        api_key: env::var("OFFHOOK_API_KEY")?,
        token_key: EncodingKey::from_secret(env::var("TOKEN_SECRET")?.as_bytes()),
        webhook_key: hmac::Key::new(hmac::HMAC_SHA256, env::var("WEBHOOK_SECRET")?.as_bytes()),
        http: reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .build()?,
        events: Mutex::default(),
    };
    let routes = Router::new()
        .route("/login", post(log_in))
        .route("/publish", post(publish))
        .route("/offhook", post(webhook))
        .route("/events", get(events))
        .with_state(Arc::new(backend));
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, routes).await?;
    Ok(())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A real backend checks a password here.
async fn log_in(State(backend): Shared, Json(form): Json<Value>) -> Answer {
    let Some(name) = form["name"].as_str() else {
        return (
            StatusCode::BAD_REQUEST,
            no("bad_request", "name is missing"),
        );
    };
    let claims = json!({ "sub": name, "exp": now() + 600, "grants": { "room/*": "subscribe" } });
    match encode(&Header::default(), &claims, &backend.token_key) {
        Ok(token) => (StatusCode::OK, Json(json!({ "token": token }))),
        Err(error) => failed(&error),
    }
}

/// Publishes with the HTTP API. A key in the message makes it safe to repeat the request.
async fn publish(State(backend): Shared, Json(message): Json<Value>) -> Answer {
    let request = backend
        .http
        .post(format!("{}/api/v1/publish", backend.offhook_url))
        .bearer_auth(&backend.api_key)
        .json(&message);
    let published = async { request.send().await?.error_for_status()?.json().await };
    match published.await {
        Ok(published) => (StatusCode::OK, Json(published)),
        Err(error) => failed(&error),
    }
}

/// What the server asks, and the events that it reports.
async fn webhook(State(backend): Shared, headers: HeaderMap, body: Bytes) -> Answer {
    if !is_signed(&backend.webhook_key, &headers, &body) {
        let error = no("unsigned", "the signature is missing or wrong");
        return (StatusCode::UNAUTHORIZED, error);
    }
    match serde_json::from_slice(&body) {
        Ok(asked) => (StatusCode::OK, answer(&backend, asked)),
        Err(error) => (
            StatusCode::BAD_REQUEST,
            no("bad_request", &error.to_string()),
        ),
    }
}

/// Whether the request was signed with our secret within the last five minutes.
fn is_signed(key: &hmac::Key, headers: &HeaderMap, body: &[u8]) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(stamp), Some(signatures)) = (
        text("webhook-id"),
        text("webhook-timestamp"),
        text("webhook-signature"),
    ) else {
        return false;
    };
    let is_recent = |stamp: u64| now().abs_diff(stamp) <= TOLERANCE;
    if !stamp.parse().is_ok_and(is_recent) {
        return false;
    }
    let signed = [format!("{id}.{stamp}.").as_bytes(), body].concat();
    let given = signatures
        .split(' ')
        .filter_map(|one| BASE64_STANDARD.decode(one.strip_prefix("v1,")?).ok());
    // `verify` compares in constant time.
    given
        .into_iter()
        .any(|one| hmac::verify(key, &signed, &one).is_ok())
}

/// The answer to a question, a call, or a batch of events.
fn answer(backend: &Backend, asked: Value) -> Json<Value> {
    match (asked["type"].as_str(), asked["method"].as_str()) {
        (Some("publish"), _) if asked["data"].to_string().contains("rude") => {
            no("rude", "Be polite.")
        }
        (Some("publish"), _) => Json(json!({ "allow": true, "tags": { "checked": "yes" } })),
        (Some("call"), Some("add")) => {
            let numbers = asked["data"].as_array().into_iter().flatten();
            let sum: i64 = numbers.filter_map(Value::as_i64).sum();
            Json(json!({ "data": sum }))
        }
        (Some("call"), method) => {
            let method = method.unwrap_or_default();
            no("no_method", &format!("there is no method {method}"))
        }
        (Some("events"), _) => {
            let new = asked["events"].as_array().cloned().unwrap_or_default();
            let mut events = backend
                .events
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            events.extend(new);
            Json(json!({}))
        }
        _ => Json(json!({ "allow": false })),
    }
}

async fn events(State(backend): Shared) -> Json<Value> {
    let events = backend
        .events
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    Json(Value::Array(events.clone()))
}

fn no(code: &str, message: &str) -> Json<Value> {
    Json(json!({ "error": { "code": code, "message": message } }))
}

fn failed(error: &dyn Error) -> Answer {
    (StatusCode::BAD_GATEWAY, no("failed", &error.to_string()))
}
