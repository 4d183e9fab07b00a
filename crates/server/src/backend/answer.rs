//! Parses the backend's answers. An answer that cannot be parsed permits nothing.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use data_encoding::BASE64;
use offhook_auth::{Claims, UserGrant};
use offhook_dialects::json::is_shallow;
use offhook_engine::{Draft, ErrorCode, Format, Identity, Refusal, Tags, Verdict, Wish};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json_object::JsonObject;

use crate::auth::Classes;

/// Limits in bytes for the parts of an error that is passed on to a client. They are small, because
/// an error is not a way to transfer data.
const MAX_CODE: usize = 64;
const MAX_MESSAGE: usize = 1_024;
const MAX_DATA: usize = 4_096;

/// Why an answer is not usable.
pub(super) type Useless = String;

#[derive(Deserialize)]
struct Given<'a> {
    allow: Option<bool>,
    #[serde(borrow)]
    error: Option<Error<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    base64: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Error<'a> {
    code: String,
    message: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Distinguishes `null`, which is a value, from a missing field.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Parses an answer into a verdict.
pub(super) fn verdict(
    wish: &Wish,
    known: &Identity,
    body: &[u8],
    (of_users, classes): (&[UserGrant], &Classes),
    now_ms: u64,
) -> Result<Verdict, Useless> {
    let given: Given<'_> =
        serde_json::from_slice(body).map_err(|error| format!("the answer is invalid: {error}"))?;
    if let Some(error) = &given.error {
        return rejected(error).map(Verdict::Refused);
    }
    if let Wish::Call { .. } = wish {
        return content(&given)
            .map(|content| content.unwrap_or_default())
            .map(|(data, format)| Verdict::Answered { data, format });
    }
    match given.allow {
        Some(true) => {}
        Some(false) => {
            let detail = "the backend does not allow it";
            return Ok(Verdict::Refused(Refusal::new(ErrorCode::Rejected, detail)));
        }
        None => return Err("the answer contains neither allow nor error".to_owned()),
    }
    match wish {
        Wish::Connect { .. } => {
            let claims = Claims::stated(body, now_ms).map_err(|error| error.to_string())?;
            let mut identity = claims.identity(of_users);
            if claims.user().is_empty() {
                // If the answer names no user, the token's user and grants remain valid.
                identity.user = Arc::clone(&known.user);
                let all = identity.grants.iter().chain(&*known.grants);
                identity.grants = all.cloned().collect();
            }
            if identity.info.is_empty() {
                identity.info = known.info.clone();
                identity.info_is_fixed = known.info_is_fixed;
            }
            identity.class = identity.class.or_else(|| known.class.clone());
            classes.check(&mut identity)?;
            // The identity expires no later than the token.
            let ends = identity.ends_ms.into_iter().chain(known.ends_ms);
            identity.ends_ms = ends.min();
            Ok(Verdict::Admitted(Arc::new(identity)))
        }
        Wish::Publish { draft } => changed(draft, &given),
        Wish::Subscribe { .. } | Wish::Call { .. } => Ok(Verdict::Allowed),
    }
}

fn changed(draft: &Draft, given: &Given<'_>) -> Result<Verdict, Useless> {
    let content = content(given)?;
    if content.is_none() && given.tags.is_none() {
        return Ok(Verdict::Allowed);
    }
    let (data, format) = content.unwrap_or_else(|| (draft.data.clone(), draft.format));
    let added = given.tags.iter().flatten();
    let added = added.map(|(name, value)| (name.as_str(), value.as_str()));
    // The first of several tags with the same name is used, so the backend's take precedence.
    let tags = Tags::new(added.chain(draft.tags.iter()));
    let tags = tags.map_err(|refusal| format!("tags: {}", refusal.detail))?;
    Ok(Verdict::Changed { data, format, tags })
}

fn content(given: &Given<'_>) -> Result<Option<(Bytes, Format)>, Useless> {
    match (given.data, &given.base64) {
        (Some(_), Some(_)) => Err("data and base64: only one of them is allowed".to_owned()),
        (Some(data), None) if is_shallow(data.get()) => {
            let data = Bytes::copy_from_slice(data.get().as_bytes());
            Ok(Some((data, Format::Json)))
        }
        (Some(_), None) => Err("data: is nested too deeply".to_owned()),
        (None, Some(text)) => match BASE64.decode(text.as_bytes()) {
            Ok(bytes) => Ok(Some((bytes.into(), Format::Binary))),
            Err(error) => Err(format!("base64: {error}")),
        },
        (None, None) => Ok(None),
    }
}

/// The refusal for the backend's error, which is passed on to the client unchanged.
fn rejected(error: &Error<'_>) -> Result<Refusal, Useless> {
    let Error {
        code,
        message,
        data,
    } = error;
    let message = message.clone().unwrap_or_else(|| code.clone());
    let data_len = data.map_or(0, |data| data.get().len());
    if code.is_empty() || code.len() > MAX_CODE || message.len() > MAX_MESSAGE {
        return Err(format!(
            "error: code must have 1 to {MAX_CODE} bytes, and message at most {MAX_MESSAGE}"
        ));
    }
    if data_len > MAX_DATA || !data.is_none_or(|data| is_shallow(data.get())) {
        return Err(format!(
            "error.data: is nested too deeply, or has more than {MAX_DATA} bytes"
        ));
    }
    let mut told = JsonObject::default();
    told.set("code", code);
    told.set("message", &message);
    if let Some(data) = data {
        told.set("data", data);
    }
    let refusal = Refusal::new(ErrorCode::Rejected, message);
    Ok(refusal.told_by_backend(&told.text()))
}
