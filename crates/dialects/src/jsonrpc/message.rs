//! Parses requests, alone and in batches (JSON-RPC 2.0 §4 and §6).

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::answer::Failure;

/// The maximum number of requests in a batch. 64: the answers of a batch are held until the last
/// one is complete.
pub const MAX_BATCH: usize = 64;
/// The maximum length of a request's id in bytes; it is stored until the request is answered.
const MAX_ID: usize = 256;

/// A client's message.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// One request, or an invalid one.
    One(Result<Request<'a>, Invalid>),
    /// Several in an array.
    Batch(Vec<Result<Request<'a>, Invalid>>),
}

/// A call, or a notification.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// As JSON; none for a notification, which is never answered.
    pub(crate) id: Option<&'a str>,
    pub(crate) method: Cow<'a, str>,
    pub(crate) params: Params<'a>,
}

/// An invalid request, with its id as JSON if that can be read.
#[derive(Debug)]
pub(super) struct Invalid {
    pub(super) id: String,
    pub(super) failure: Failure,
}

/// A request's parameters.
#[derive(Debug)]
pub(crate) enum Params<'a> {
    None,
    /// By position.
    List(Vec<&'a RawValue>),
    /// By name.
    Named(BTreeMap<Cow<'a, str>, &'a RawValue>),
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    /// `null` is a valid id; only a request without an id is a notification.
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// The elements of a batch, and whether there were more than allowed.
struct Elements<'a> {
    first: Vec<&'a RawValue>,
    are_too_many: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of requests")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
                let mut first = Vec::new();
                while first.len() < MAX_BATCH {
                    match from.next_element()? {
                        Some(element) => first.push(element),
                        None => {
                            return Ok(Elements {
                                first,
                                are_too_many: false,
                            });
                        }
                    }
                }
                let mut are_too_many = false;
                while from.next_element::<IgnoredAny>()?.is_some() {
                    are_too_many = true;
                }
                Ok(Elements {
                    first,
                    are_too_many,
                })
            }
        }
        from.deserialize_seq(Reader)
    }
}

/// Reads a message.
pub(super) fn read(text: &str) -> Message<'_> {
    if !text.trim_start().starts_with('[') {
        return Message::One(request(text));
    }
    let elements: Elements<'_> = match serde_json::from_str(text) {
        Ok(elements) => elements,
        Err(error) => return Message::One(Err(nameless(not_json(&error)))),
    };
    if elements.are_too_many {
        let detail = format!("the batch has more than {MAX_BATCH} requests; split it");
        return Message::One(Err(nameless(Failure::invalid_request(detail))));
    }
    if elements.first.is_empty() {
        let failure = Failure::invalid_request("the batch is empty");
        return Message::One(Err(nameless(failure)));
    }
    let requests = elements.first.into_iter();
    Message::Batch(requests.map(|raw| request(raw.get())).collect())
}

fn request(text: &str) -> Result<Request<'_>, Invalid> {
    let fields: Fields<'_> = serde_json::from_str(text).map_err(|error| {
        // Whether it is JSON at all: an array or a number is JSON, but not a request.
        nameless(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Failure::invalid_request(format!("not a request: {error}")),
            Err(error) => not_json(&error),
        })
    })?;
    let id = fields.id.map(RawValue::get);
    if id.is_some_and(|id| !may_be_id(id)) {
        let detail = format!("id: a string, a number or null, of at most {MAX_ID} bytes");
        return Err(nameless(Failure::invalid_request(detail)));
    }
    let invalid = |detail: &str| Invalid {
        id: id.unwrap_or("null").to_owned(),
        failure: Failure::invalid_request(detail.to_owned()),
    };
    if fields.jsonrpc.as_deref() != Some("2.0") {
        return Err(invalid("jsonrpc: expected \"2.0\""));
    }
    let method = fields.method.map(|raw| serde_json::from_str(raw.get()));
    let Some(Ok(method)) = method else {
        return Err(invalid("method: is missing"));
    };
    let params = match fields.params {
        None => Params::None,
        Some(raw) => {
            params(raw.get()).ok_or_else(|| invalid("params: expected an object or an array"))?
        }
    };
    Ok(Request { id, method, params })
}

fn params(json: &str) -> Option<Params<'_>> {
    match json.as_bytes().first() {
        Some(b'{') => serde_json::from_str(json).ok().map(Params::Named),
        Some(b'[') => serde_json::from_str(json).ok().map(Params::List),
        _ => None,
    }
}

fn may_be_id(json: &str) -> bool {
    let starts_well = json
        .bytes()
        .next()
        .is_some_and(|first| first == b'"' || first == b'-' || first.is_ascii_digit());
    json.len() <= MAX_ID && (starts_well || json == "null")
}

fn not_json(error: &serde_json::Error) -> Failure {
    Failure::new(super::answer::PARSE_ERROR, format!("not JSON: {error}"))
}

fn nameless(failure: Failure) -> Invalid {
    Invalid {
        id: "null".to_owned(),
        failure,
    }
}
