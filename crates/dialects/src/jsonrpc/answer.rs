//! Encodes answers, failures and notifications (JSON-RPC 2.0 §5).

use std::{borrow::Cow, fmt::Display};

use data_encoding::BASE64;
use offhook_engine::{
    ErrorCode, Format, GapReason, Member, Position, PresenceChange, Publication, Refusal, Reply,
};

use crate::{
    dialect::Shared,
    json::{Object, json},
};

/// JSON-RPC 2.0 §5.1.
pub(super) const PARSE_ERROR: i32 = -32_700;
const INVALID_REQUEST: i32 = -32_600;
const METHOD_NOT_FOUND: i32 = -32_601;
const INVALID_PARAMS: i32 = -32_602;
/// In the range reserved for servers: a valid request that is refused.
const REFUSED: i32 = -32_000;

/// The text before the subscription's number in notifications with many recipients.
const BEFORE_NUMBER: &str = r#"{"jsonrpc":"2.0","method":"subscription","params":{"subscription":"#;
const BEFORE_RESULT: &str = r#","result":"#;
const BEHIND_RESULT: &str = "}}";

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: i32,
    reason: ErrorCode,
    message: Cow<'static, str>,
    /// A JSON object, or nothing.
    data: Option<String>,
}

impl Failure {
    pub(super) fn new(code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            reason: ErrorCode::BadRequest,
            message: message.into(),
            data: None,
        }
    }

    /// The failure in the engine's terms.
    pub(crate) fn into_refusal(self) -> Refusal {
        Refusal::new(self.reason, self.message)
    }

    pub(super) fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(INVALID_REQUEST, message)
    }

    /// A method that is called over an HTTP request.
    pub(super) fn needs_a_connection() -> Self {
        let detail = "this method needs a connection, over which messages can be sent to the client; \
                      use it over a WebSocket at the same path, with a token in Authorization instead of \
                      rpc.login";
        Self {
            code: REFUSED,
            ..Self::refused(&Refusal::new(ErrorCode::BadRequest, detail))
        }
    }

    pub(super) fn invalid_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::refused(&Refusal::new(ErrorCode::BadRequest, message))
    }

    pub(super) fn method_not_found(method: &str, there_are: &str) -> Self {
        let shown: String = method.chars().take(40).collect();
        let message = format!("unknown method {shown:?}; expected one of {there_are}");
        Self::new(METHOD_NOT_FOUND, message)
    }

    /// An answer that exceeds its limit.
    pub(super) fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::refused(&Refusal::new(ErrorCode::TooLarge, message))
    }

    /// A refusal of the engine; names, keys and tags that violate its rules are invalid parameters.
    pub(super) fn refused(refusal: &Refusal) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "every other code refuses a well-formed request"
        )]
        let code = match refusal.code {
            ErrorCode::BadRequest
            | ErrorCode::BadChannelName
            | ErrorCode::BadFilter
            | ErrorCode::BadKey
            | ErrorCode::BadTags => INVALID_PARAMS,
            _ => REFUSED,
        };
        Self {
            code,
            reason: refusal.code,
            message: refusal.detail.clone(),
            data: Some(refusal_data(refusal)),
        }
    }

    fn json(&self) -> String {
        let object = Object::part()
            .raw("code", self.code)
            .text("message", &self.message);
        match &self.data {
            Some(data) => object.raw("data", data).end(),
            None => object.end(),
        }
    }
}

fn refusal_data(refusal: &Refusal) -> String {
    let object = Object::part().text("code", refusal.code.name());
    refusal_fields(object, refusal).end()
}

/// Whether and when to try again, and what the backend tells the client.
pub(crate) fn refusal_fields(object: Object, refusal: &Refusal) -> Object {
    let object = object.text("retry", refusal.code.retry().name());
    let object = match &refusal.backend {
        Some(told) => object.raw("backend", told),
        None => object,
    };
    match refusal.retry_after {
        Some(pause) => object.raw("retry_after_ms", pause.as_millis()),
        None => object,
    }
}

/// The answer to the request with this id, which is JSON like its result.
pub(super) fn answer(id: &str, result: &Result<String, Failure>) -> String {
    let object = Object::part().text("jsonrpc", "2.0");
    let object = match result {
        Ok(result) => object.raw("result", result),
        Err(failure) => object.raw("error", failure.json()),
    };
    object.raw("id", id).end()
}

/// A notification.
pub(super) fn push(method: &str, params: Object) -> String {
    Object::part()
        .text("jsonrpc", "2.0")
        .text("method", method)
        .raw("params", params.end())
        .end()
}

/// A notification in the format that rpc-websockets expects for an event subscribed by `rpc.on`.
pub(super) fn event(event: &str, result: &str) -> String {
    Object::part()
        .text("notification", event)
        .raw("params", result)
        .end()
}

/// A notification with many recipients: the subscription's number is inserted for each.
pub(super) fn shared(result: &str) -> Shared {
    let message = [BEFORE_NUMBER, BEFORE_RESULT, result, BEHIND_RESULT].concat();
    Shared {
        head: BEFORE_NUMBER.len(),
        ..Shared::whole(message)
    }
}

/// The result in the output of [`shared`].
pub(super) fn result_of(shared: &str) -> &str {
    let behind_number = shared.strip_prefix(BEFORE_NUMBER).unwrap_or_default();
    let result = behind_number
        .strip_prefix(BEFORE_RESULT)
        .unwrap_or_default();
    result.strip_suffix(BEHIND_RESULT).unwrap_or_default()
}

/// A publication, in a notification or a result.
pub(super) fn publication(publication: &Publication) -> String {
    publication_with(publication, |object| {
        content(object, &publication.data, publication.format)
    })
}

/// A publication whose data the caller writes.
pub(crate) fn publication_with(
    publication: &Publication,
    write_data: impl FnOnce(Object) -> Object,
) -> String {
    let channel = publication.channel.as_str();
    let object = Object::part().text("channel", channel);
    let mut object = position(object, publication.position);
    if !publication.follows_in_epoch() {
        object = object.raw("previous", place(publication.previous));
    }
    object = write_data(object);
    if let Some(publisher) = &publication.publisher {
        object = object.text_unless_empty("user", &publisher.user);
        object = object.text("session", &publisher.session.to_string());
    }
    if let Some(key) = &publication.key {
        object = object.text("key", key.as_str());
    }
    if !publication.tags.is_empty() {
        let tags = publication.tags.iter();
        let tags = tags.fold(Object::part(), |tags, (name, value)| {
            tags.foreign(name, value)
        });
        object = object.raw("tags", tags.end());
    }
    object.raw("time", publication.time_ms).end()
}

/// A join or a leave.
pub(crate) fn presence(change: &PresenceChange) -> String {
    let event = if change.joined { "join" } else { "leave" };
    let object = Object::part()
        .text("channel", change.channel.as_str())
        .text("event", event);
    member(object, &change.member).end()
}

fn member(object: Object, member: &Member) -> Object {
    let object = object
        .text("session", &member.session.to_string())
        .text_unless_empty("user", &member.user);
    if member.info.is_empty() {
        return object;
    }
    object.raw("info", String::from_utf8_lossy(&member.info))
}

pub(crate) fn members<'a>(members: impl Iterator<Item = &'a Member>) -> String {
    list(members.map(|one| member(Object::part(), one).end()))
}

fn list(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<_> = parts.collect();
    format!("[{}]", parts.join(","))
}

/// Data in a field named after its format.
pub(crate) fn content(object: Object, data: &[u8], format: Format) -> Object {
    match format {
        Format::Json => object.raw("data", String::from_utf8_lossy(data)),
        Format::Text => object.text("data", &String::from_utf8_lossy(data)),
        Format::Binary => object.text("base64", &BASE64.encode(data)),
    }
}

/// An epoch is a string, since it is only compared.
pub(crate) fn position(object: Object, position: Position) -> Object {
    object
        .text("epoch", &position.epoch.0.to_string())
        .raw("offset", position.offset)
}

/// A position.
pub(crate) fn place(at: Position) -> impl Display {
    position(Object::part(), at).end()
}

/// The result of a command. The dialect itself answers subscriptions, because it knows their
/// numbers.
pub(crate) fn result(reply: &Reply) -> Result<String, Failure> {
    Ok(match reply {
        Reply::Published {
            position: at,
            duplicate,
        } => {
            let object = position(Object::part(), *at);
            if *duplicate {
                object.raw("duplicate", true).end()
            } else {
                object.end()
            }
        }
        Reply::History {
            head,
            publications,
            gap,
            more,
            ..
        } => {
            let all = list(publications.iter().map(|one| publication(one)));
            let object = position(Object::part(), *head).raw("publications", all);
            and_more(with_gap(object, gap.as_ref()), *more).end()
        }
        Reply::State {
            head, values, more, ..
        } => {
            let values = list(values.iter().map(|one| publication(one)));
            let object = position(Object::part(), *head).raw("values", values);
            and_more(object, *more).end()
        }
        Reply::Members {
            members: some,
            total,
            ..
        } => {
            let some = members(some.iter().map(|member| &**member));
            let object = Object::part().raw("members", some);
            object.raw("total", total).end()
        }
        Reply::Called { data, format } => match format {
            Format::Json if data.is_empty() => "null".to_owned(),
            Format::Json => String::from_utf8_lossy(data).into_owned(),
            Format::Text => json(&String::from_utf8_lossy(data)),
            Format::Binary => content(Object::part(), data, *format).end(),
        },
        Reply::Acked { position: None, .. } => "null".to_owned(),
        Reply::Acked {
            position: Some(at), ..
        } => place(*at).to_string(),
        Reply::Receipts { receipts, .. } => {
            let sessions = receipts.sessions.iter();
            let sessions = list(sessions.map(|session| json(&session.to_string())));
            Object::part()
                .raw("received", receipts.received)
                .raw("subscribers", receipts.subscribers)
                .raw("sessions", sessions)
                .end()
        }
        Reply::Pong => "\"pong\"".to_owned(),
        Reply::Subscribed { .. }
        | Reply::Unsubscribed { .. }
        | Reply::Done { .. }
        // Nothing here asks for these two.
        | Reply::Values { .. }
        | Reply::Remembered
        | Reply::InfoUpdated => "true".to_owned(),
        Reply::Refused(refusal) => return Err(Failure::refused(refusal)),
    })
}

fn and_more(object: Object, more: bool) -> Object {
    if more {
        object.raw("more", true)
    } else {
        object
    }
}

fn with_gap(object: Object, gap: Option<&GapReason>) -> Object {
    match gap {
        Some(reason) => object.text("gap", reason.name()),
        None => object,
    }
}
