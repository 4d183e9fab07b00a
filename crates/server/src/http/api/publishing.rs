//! `POST publish` and `POST batch`.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use offhook_dialects::json::is_object;
use offhook_engine::{Command, ErrorCode, Format, Key, MAX_KEY, Refusal, Reply, Tags};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    Call, Outcome,
    fields::{channel, data, given},
    problem::Problem,
};
use crate::worker::going_away;

/// The maximum number of publications in one batch. 1,000: as many publications of a kilobyte as fit
/// into a body of the default size.
const MAX_BATCH: usize = 1_000;

/// The longest key of a batch, so that a dot and three digits can be appended.
const MAX_BATCH_KEY: usize = MAX_KEY - 4;

/// A publication. What can be borrowed from the body is: a batch has a thousand of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "given")]
    base64: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "given")]
    key: Option<String>,
}

/// `null` is a value that can be published, not a missing field.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    publications: Vec<&'a RawValue>,
}

/// One publication of a batch: an object, and not an array of its fields.
fn item(raw: &RawValue) -> Result<Given<'_>, Problem> {
    if !is_object(raw.get()) {
        return Err(Problem::bad("a publication must be a JSON object"));
    }
    serde_json::from_str(raw.get()).map_err(|error| Problem::bad(error.to_string()))
}

fn command(call: &Call<'_>, given: &Given<'_>, key: Option<&str>) -> Result<Command, Problem> {
    let key = match (given.key.as_deref(), key) {
        (Some(_), Some(_)) => {
            let detail = "key: given in the body and in Idempotency-Key; use one of them";
            return Err(Problem::bad(detail));
        }
        (own, header) => own.or(header),
    };
    let (data, format) = data(given.data, given.base64.as_deref())?;
    let tags = given.tags.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    Ok(Command::Publish {
        channel: channel(&given.channel, call.key)?,
        data,
        format,
        tags: Tags::new(tags)?,
        key: key.map(Key::new).transpose()?,
    })
}

fn answer(reply: Reply) -> Outcome {
    if let Reply::Refused(refusal) = reply {
        return Err(refusal.into());
    }
    let Reply::Published {
        position,
        duplicate,
    } = reply
    else {
        return Err(super::reading::unexpected(&reply));
    };
    Ok(json!({ "position": position.to_string(), "duplicate": duplicate }))
}

/// Publishes one: as JSON, or any other body unchanged, to the channel in the query.
pub(super) async fn publish(call: &Call<'_>) -> Outcome {
    let key = call.body.idempotency_key.as_deref();
    let command = if call.body.is_json {
        if call.query.get("channel")?.is_some() {
            let detail = "channel: is for bodies that are not JSON; put it into the body";
            return Err(Problem::bad(detail));
        }
        command(call, &call.body.json()?, key)?
    } else {
        // What curl -d and many libraries send without being told the type.
        if call.query.get("channel")?.is_none() && call.body.looks_like_json() {
            let detail = "channel: is missing in the query; if the body is JSON that names it, send \
                          Content-Type: application/json";
            return Err(Problem::bad(detail));
        }
        Command::Publish {
            channel: channel(call.query.need("channel")?, call.key)?,
            data: call.body.bytes.clone(),
            format: Format::Binary,
            tags: Tags::default(),
            key: key.map(Key::new).transpose()?,
        }
    };
    let mut replies = call.worker.command(vec![command]).await;
    replies.pop().map_or_else(|| Ok(Value::Null), answer)
}

/// Publishes several, each with its own result, in the order of the request. Returns the JSON text of
/// the answer.
pub(super) async fn batch(call: &Call<'_>) -> Result<String, Problem> {
    let Batch { publications } = call.body.json()?;
    if publications.is_empty() || publications.len() > MAX_BATCH {
        let count = publications.len();
        let detail = format!("publications: {count} given; the limit is 1 to {MAX_BATCH}");
        return Err(Problem::bad(detail));
    }
    let header = call.body.idempotency_key.as_deref();
    // With the number of a publication appended, it must still be a valid key.
    if let Some(key) = header.filter(|key| key.is_empty() || key.len() > MAX_BATCH_KEY) {
        let len = key.len();
        let detail = format!("Idempotency-Key: is {len} bytes; 1 to {MAX_BATCH_KEY} are allowed");
        return Err(Refusal::new(ErrorCode::BadKey, detail).into());
    }
    let publications = publications.into_iter().map(item);
    let publications: Vec<Given<'_>> = publications.collect::<Result<_, _>>()?;
    let (mut refused, mut commands) = (Vec::new(), Vec::with_capacity(publications.len()));
    for (number, given) in publications.iter().enumerate() {
        let key = header.map(|key| format!("{key}.{number}"));
        match command(call, given, key.as_deref()) {
            Ok(command) => commands.push(command),
            Err(problem) => refused.push((number, problem)),
        }
    }
    let count = publications.len();
    let replies = call.worker.command(commands).await;
    Ok(results(count, refused, replies))
}

/// The answer to a batch of so many publications: those that were refused, by their numbers, and the
/// replies to all others, in order. Written as text, since a document tree of a thousand results
/// would cost more than publishing them.
fn results(count: usize, refused: Vec<(usize, Problem)>, replies: Vec<Reply>) -> String {
    let (mut refused, mut replies) = (refused.into_iter().peekable(), replies.into_iter());
    let mut text = String::with_capacity(20 + count * 64);
    text.push_str("{\"results\":[");
    for number in 0..count {
        if number > 0 {
            text.push(',');
        }
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "publishing has no other answers"
        )]
        let problem = match refused.next_if(|(at, _)| *at == number) {
            Some((_, problem)) => problem,
            None => match replies.next().unwrap_or_else(going_away) {
                Reply::Published {
                    position,
                    duplicate,
                } => {
                    // A position consists of digits and a dot. Writing to a string cannot fail.
                    let _infallible = write!(
                        text,
                        "{{\"duplicate\":{duplicate},\"position\":\"{position}\"}}"
                    );
                    continue;
                }
                Reply::Refused(refusal) => refusal.into(),
                reply => super::reading::unexpected(&reply),
            },
        };
        text.push_str(&problem.value().to_string());
    }
    text.push_str("]}");
    text
}
