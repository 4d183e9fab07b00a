//! Actions on sessions: list, send, subscribe, unsubscribe, disconnect, revoke.

use std::{ops::RangeInclusive, sync::Arc};

use offhook_engine::{ErrorCode, Refusal, Since, Subscribe, SubscriptionKey, Whom};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    Call, Outcome,
    fields::{channel, data, given, since, whom},
    problem::Problem,
};
use crate::{sessions::Sessions, worker::now};

/// Sessions belong to users and may use every channel, so keys for some channels cannot act on
/// them.
fn handle(call: &Call<'_>) -> Result<Sessions, Problem> {
    if !call.key.reaches_all() {
        let detail =
            "this API key is limited to some channels; sessions require a key for all channels";
        return Err(Refusal::new(ErrorCode::Forbidden, detail).into());
    }
    let shared = &call.worker.shared;
    Ok(Sessions::new(
        Arc::clone(&shared.directory),
        Arc::clone(&shared.orders),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    #[serde(default, deserialize_with = "given")]
    user: Option<String>,
    #[serde(default, deserialize_with = "given")]
    session: Option<String>,
    /// `null` can be sent, too.
    #[serde(default, deserialize_with = "given")]
    data: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "given")]
    base64: Option<String>,
}

/// The close code if the request gives none: the session is no longer wanted.
const UNWANTED: u16 = 4002;

/// Close codes without a meaning in any dialect.
const FREE_CODES: RangeInclusive<u16> = 4100..=4999;

/// RFC 6455 §5.5: a control frame has at most 125 bytes, of which the code takes two.
const MAX_REASON: usize = 123;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Disconnect {
    #[serde(default, deserialize_with = "given")]
    user: Option<String>,
    #[serde(default, deserialize_with = "given")]
    session: Option<String>,
    #[serde(default, deserialize_with = "given")]
    code: Option<u16>,
    #[serde(default, deserialize_with = "given")]
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default, deserialize_with = "given")]
    user: Option<String>,
    #[serde(default, deserialize_with = "given")]
    session: Option<String>,
    channel: String,
    #[serde(default, deserialize_with = "given")]
    since: Option<String>,
    #[serde(default)]
    presence: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unsubscribe {
    #[serde(default, deserialize_with = "given")]
    user: Option<String>,
    #[serde(default, deserialize_with = "given")]
    session: Option<String>,
    channel: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    user: String,
}

pub(super) async fn list(call: &Call<'_>) -> Outcome {
    let user = call.query.need("user")?;
    let sessions = handle(call)?.of_user(user).await;
    let sessions: Vec<String> = sessions.iter().map(ToString::to_string).collect();
    Ok(json!({ "sessions": sessions }))
}

pub(super) async fn send(call: &Call<'_>) -> Outcome {
    let given: Send = call.body.json()?;
    let (data, format) = data(given.data.as_deref(), given.base64.as_deref())?;
    let whom = whom(given.user.as_deref(), given.session.as_deref())?;
    let count = handle(call)?.tell(whom, data, format).await;
    Ok(json!({ "sessions": count }))
}

pub(super) async fn subscribe(call: &Call<'_>) -> Outcome {
    let given: Wish = call.body.json()?;
    let channel = channel(&given.channel, call.key)?;
    let start = given.since.as_deref().map_or(Ok(Since::Now), since)?;
    let mut wish = Subscribe::new(channel, start);
    wish.presence = given.presence;
    let whom = whom(given.user.as_deref(), given.session.as_deref())?;
    let count = handle(call)?.subscribe(whom, wish).await;
    Ok(json!({ "sessions": count }))
}

pub(super) async fn unsubscribe(call: &Call<'_>) -> Outcome {
    let given: Unsubscribe = call.body.json()?;
    let channel = channel(&given.channel, call.key)?;
    let detail = "the server ended the subscription";
    let why = Refusal::new(ErrorCode::Forbidden, detail);
    let key = SubscriptionKey::from(channel);
    let whom = whom(given.user.as_deref(), given.session.as_deref())?;
    let count = handle(call)?.unsubscribe(whom, key, why).await;
    Ok(json!({ "sessions": count }))
}

pub(super) async fn disconnect(call: &Call<'_>) -> Outcome {
    let given: Disconnect = call.body.json()?;
    let whom = whom(given.user.as_deref(), given.session.as_deref())?;
    let sessions = handle(call)?;
    let count = match (given.code, given.reason) {
        (None, None) => sessions.disconnect(whom).await,
        (Some(code), _) if !FREE_CODES.contains(&code) => {
            let (least, most) = (FREE_CODES.start(), FREE_CODES.end());
            let detail = format!("code: is {code}; use one from {least} to {most}");
            return Err(Problem::bad(detail));
        }
        (_, Some(reason)) if reason.len() > MAX_REASON => {
            let len = reason.len();
            let detail = format!("reason: is {len} bytes; the limit is {MAX_REASON}");
            return Err(Problem::bad(detail));
        }
        (None, Some(reason)) => sessions.disconnect_with(whom, UNWANTED, &reason).await,
        (Some(code), reason) => {
            let reason = reason.unwrap_or_default();
            sessions.disconnect_with(whom, code, &reason).await
        }
    };
    Ok(json!({ "sessions": count }))
}

/// Invalidates all tokens and sessions that the user was given before.
pub(super) async fn revoke(call: &Call<'_>) -> Outcome {
    let User { user } = call.body.json()?;
    let sessions = handle(call)?;
    if user.is_empty() {
        return Err(Problem::bad("user: is empty"));
    }
    // Revoked first, because clients reconnect as soon as their connections are closed.
    call.worker.shared.auth.revoke(&user, now().unix_ms);
    let count = sessions.disconnect(Whom::User(user.as_str().into())).await;
    Ok(json!({ "sessions": count }))
}
