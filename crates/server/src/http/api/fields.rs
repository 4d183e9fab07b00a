//! Fields that several requests share: channels, positions, users and sessions.

use std::collections::BTreeMap;

use bytes::Bytes;
use data_encoding::BASE64;
use offhook_auth::ApiKey;
use offhook_dialects::json::{MAX_NESTING, is_shallow};
use offhook_engine::{
    ChannelName, ErrorCode, Format, Position, Publication, Refusal, SessionId, Since, Whom,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::problem::Problem;
use crate::json_object::JsonObject;

/// The parameters of a URL.
pub(in crate::http) struct Query(Vec<(String, String)>);

impl Query {
    pub(in crate::http) fn of(query: Option<&str>) -> Result<Self, Problem> {
        let pairs = query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        });
        let pairs: Option<_> = pairs.collect();
        pairs.map(Self).ok_or_else(|| {
            Problem::bad("the query is not percent-encoded UTF-8: % takes two hexadecimal digits")
        })
    }

    /// Refuses every parameter with another name: a misspelt one would change the meaning of the request
    /// silently.
    pub(super) fn allow(&self, names: &[&str]) -> Result<(), Problem> {
        let unknown = self.0.iter().find(|(own, _)| !names.contains(&&**own));
        let Some((unknown, _)) = unknown else {
            return Ok(());
        };
        let shown: String = unknown.chars().take(60).collect();
        let known = match names {
            [] => "this request has no parameters in its query".to_owned(),
            names => format!("this request has {}", names.join(", ")),
        };
        Err(Problem::bad(format!(
            "{shown:?}: no such parameter; {known}"
        )))
    }

    /// A parameter; a repeated one is an error, since it is unclear which one counts.
    pub(in crate::http) fn get(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.0.iter().filter(|(own, _)| own == name);
        let value = values.next().map(|(_, value)| value.as_str());
        if values.next().is_some() {
            return Err(Problem::bad(format!("{name}: given twice")));
        }
        Ok(value)
    }

    /// The values of a parameter that may be there several times.
    pub(in crate::http) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let values = self.0.iter().filter(move |(own, _)| own == name);
        values.map(|(_, value)| value.as_str())
    }

    /// All parameters, in order.
    pub(in crate::http) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    pub(super) fn need(&self, name: &str) -> Result<&str, Problem> {
        self.get(name)?
            .ok_or_else(|| Problem::bad(format!("{name}: is missing in the query")))
    }

    /// A whole number.
    pub(in crate::http) fn number(&self, name: &str, without: u32) -> Result<u32, Problem> {
        let Some(text) = self.get(name)? else {
            return Ok(without);
        };
        let number = text.parse();
        number.map_err(|_| Problem::bad(format!("{name}: expected a whole number below 2^32")))
    }
}

/// Decodes a segment of a path: percent-encoding only.
pub(in crate::http) fn percent_decoded(text: &str) -> Option<String> {
    decoded(&text.replace('+', "%2B"))
}

/// Decodes percent-encoding, and `+` as a space. None if it is invalid or not UTF-8: replacing
/// invalid parts could turn two names into one.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A channel that the key may access.
pub(super) fn channel(name: &str, key: &ApiKey) -> Result<ChannelName, Problem> {
    let channel = ChannelName::new(name)?;
    if !key.reaches(&channel) {
        let detail = format!("this API key is not for channel {channel}; see api.keys");
        return Err(Refusal::new(ErrorCode::Forbidden, detail).into());
    }
    Ok(channel)
}

/// `now`, `start`, `state`, `last:50`, or a position: `EPOCH.OFFSET` or `EPOCH:OFFSET`.
pub(in crate::http) fn since(text: &str) -> Result<Since, Problem> {
    let wrong = || {
        let shown: String = text.chars().take(60).collect();
        Problem::bad(format!(
            "since: is {shown:?}; expected now, start, state, last: and a number as in last:50, or a \
             position like 1700000000000000.42"
        ))
    };
    match text {
        "now" => return Ok(Since::Now),
        "start" => return Ok(Since::Start),
        "state" => return Ok(Since::State),
        _ => {}
    }
    if let Some(count) = text.strip_prefix("last:") {
        let digits = count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse().ok().filter(|_| digits);
        return count.map(Since::Last).ok_or_else(wrong);
    }
    let position = text.replacen(':', ".", 1).parse::<Position>();
    Ok(Since::Position(position.map_err(|_| wrong())?))
}

/// The position in a parameter.
pub(super) fn position(name: &str, text: &str) -> Result<Position, Problem> {
    text.parse::<Position>().map_err(|refusal| {
        let shown: String = text.chars().take(60).collect();
        Problem::bad(format!("{name}: is {shown:?}; {}", refusal.detail))
    })
}

/// The user or session that a request concerns: the fields `user` and `session` of its body.
pub(super) fn whom(user: Option<&str>, session: Option<&str>) -> Result<Whom, Problem> {
    match (user, session) {
        (Some(user), None) if !user.is_empty() => Ok(Whom::User(user.into())),
        (None, Some(session)) => Ok(Whom::Session(session_id(session)?)),
        (Some(_), Some(_)) => Err(Problem::bad(
            "user and session: only one of them is allowed",
        )),
        (Some(_) | None, None) => Err(Problem::bad("user or session: is missing")),
    }
}

/// A field that may be missing but, according to the specification, not `null`.
pub(super) fn given<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    T::deserialize(from).map(Some)
}

pub(super) fn session_id(text: &str) -> Result<SessionId, Problem> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| digits);
    let wrong = || Problem::bad("session: expected 32 hexadecimal digits");
    Ok(SessionId::from_bytes(
        number.ok_or_else(wrong)?.to_be_bytes(),
    ))
}

/// `data` as JSON, or `base64`.
pub(super) fn data(
    json: Option<&RawValue>,
    base64: Option<&str>,
) -> Result<(Bytes, Format), Problem> {
    match (json, base64) {
        (Some(json), None) if is_shallow(json.get()) => {
            Ok((Bytes::copy_from_slice(json.get().as_bytes()), Format::Json))
        }
        (Some(_), None) => {
            let detail = format!("data: nests deeper than {MAX_NESTING}");
            Err(Problem::bad(detail))
        }
        (None, Some(text)) => match BASE64.decode(text.as_bytes()) {
            Ok(bytes) => Ok((bytes.into(), Format::Binary)),
            Err(error) => Err(Problem::bad(format!("base64: {error}"))),
        },
        (Some(_), Some(_)) => Err(Problem::bad("data and base64: only one of them is allowed")),
        (None, None) => Err(Problem::bad("data: is missing")),
    }
}

/// A publication in an answer.
pub(super) fn shown(publication: &Publication) -> JsonObject {
    let mut shown = JsonObject::default();
    shown.set("position", publication.position.to_string());
    shown.set("time", publication.time_ms);
    match publication.format {
        // Published JSON was validated when it was received.
        Format::Json => shown.set_json("data", &publication.data),
        Format::Text => shown.set("data", String::from_utf8_lossy(&publication.data)),
        Format::Binary => shown.set("base64", BASE64.encode(&publication.data)),
    }
    if let Some(publisher) = &publication.publisher {
        shown.set("session", publisher.session.to_string());
        if !publisher.user.is_empty() {
            shown.set("user", &*publisher.user);
        }
    }
    if let Some(key) = &publication.key {
        shown.set("key", key.as_str());
    }
    let tags: BTreeMap<_, _> = publication.tags.iter().collect();
    if !tags.is_empty() {
        shown.set("tags", tags);
    }
    shown
}
