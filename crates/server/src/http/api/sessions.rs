//! Actions on sessions: list, tell, subscribe, close, revoke.

use std::sync::Arc;

use offhook_engine::{ErrorCode, Refusal, Since, Subscribe, SubscriptionKey, Whom};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    Call, Outcome,
    fields::{About, channel, data, since},
    problem::Problem,
};
use crate::{sessions::Sessions, worker::now};

/// Sessions belong to users and may use every channel, so keys for some channels cannot act on
/// them.
fn handle(call: &Call<'_>) -> Result<Sessions, Problem> {
    if !call.key.reaches_all() {
        let detail = "this API key is for some channels only; sessions need a key for all channels";
        return Err(Refusal::new(ErrorCode::Forbidden, detail).into());
    }
    let shared = &call.worker.shared;
    Ok(Sessions::new(
        Arc::clone(&shared.directory),
        Arc::clone(&shared.orders),
    ))
}

#[derive(Deserialize)]
struct Told {
    #[serde(flatten)]
    about: About,
}

#[derive(Deserialize)]
struct ToldData {
    data: Option<Box<RawValue>>,
    base64: Option<String>,
}

#[derive(Deserialize)]
struct OnChannel {
    channel: String,
    since: Option<String>,
    #[serde(default)]
    presence: bool,
    #[serde(flatten)]
    about: About,
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
    let Told { about } = call.body.json()?;
    // A separate struct: raw JSON cannot be used together with flattened fields.
    let given: ToldData = call.body.json()?;
    let (data, format) = data(given.data.as_deref(), given.base64.as_deref())?;
    let count = handle(call)?.tell(about.whom()?, data, format).await;
    Ok(json!({ "sessions": count }))
}

pub(super) async fn subscribe(call: &Call<'_>) -> Outcome {
    let given: OnChannel = call.body.json()?;
    let channel = channel(&given.channel, call.key)?;
    let mut wish = Subscribe::new(channel, since(given.since.as_deref(), Since::Now)?);
    wish.presence = given.presence;
    let count = handle(call)?.subscribe(given.about.whom()?, wish).await;
    Ok(json!({ "sessions": count }))
}

pub(super) async fn unsubscribe(call: &Call<'_>) -> Outcome {
    let given: OnChannel = call.body.json()?;
    let channel = channel(&given.channel, call.key)?;
    let detail = "the server has ended the subscription";
    let why = Refusal::new(ErrorCode::Forbidden, detail);
    let key = SubscriptionKey::from(channel);
    let sessions = handle(call)?;
    let count = sessions.unsubscribe(given.about.whom()?, key, why).await;
    Ok(json!({ "sessions": count }))
}

pub(super) async fn disconnect(call: &Call<'_>) -> Outcome {
    let about: About = call.body.json()?;
    let count = handle(call)?.disconnect(about.whom()?).await;
    Ok(json!({ "sessions": count }))
}

/// From now on, everything given to the user before is invalid.
pub(super) async fn revoke(call: &Call<'_>) -> Outcome {
    let User { user } = call.body.json()?;
    let sessions = handle(call)?;
    if user.is_empty() {
        return Err(Problem::bad("user: is empty"));
    }
    // First, because closed clients reconnect immediately.
    call.worker.shared.auth.revoke(&user, now().unix_ms);
    let count = sessions.disconnect(Whom::User(user.as_str().into())).await;
    Ok(json!({ "sessions": count }))
}
