//! Decodes a server's messages.

use std::{borrow::Cow, collections::BTreeMap, fmt, time::Duration};

use data_encoding::BASE64;
use offhook_engine::{CommandId, Position, Retry};

use super::{
    super::{
        cbor,
        embedded::{Data, Text},
    },
    fields::{Fields, Kind, MemberFields, MessageFields},
    said::{About, Member, Message, Payload, Refused, Said},
};

/// A message that no server of this dialect sends, with what is wrong and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(Cow<'static, str>);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server's message cannot be read: {}", self.0)
    }
}

impl std::error::Error for Unreadable {}

const KNOWN: [&str; 27] = [
    "welcome",
    "token",
    "expiring",
    "refreshed",
    "message",
    "own",
    "restored",
    "state",
    "called",
    "presence_updated",
    "subscribed",
    "unsubscribed",
    "live",
    "catching_up",
    "gap",
    "published",
    "history",
    "members",
    "acked",
    "received",
    "join",
    "leave",
    "pong",
    "error",
    "reconnect",
    "closing",
    "told",
];

/// Decodes a server's message.
///
/// # Errors
/// [`Unreadable`] if it is not a JSON object with a type, or lacks a field that its type requires.
pub fn read(text: &str) -> Result<Said<'_>, Unreadable> {
    match serde_json::from_str::<Fields<'_>>(text) {
        Ok(fields) => said(fields),
        Err(error) => match serde_json::from_str(text) {
            Ok(Kind { kind }) if !KNOWN.contains(&&*kind.0) => Ok(Said::Unknown),
            _ => Err(Unreadable(error.to_string().into())),
        },
    }
}

/// Decodes a server's message in the binary form.
///
/// # Errors
/// As of [`read`].
pub fn read_binary(bytes: &[u8]) -> Result<Said<'_>, Unreadable> {
    match cbor::decode::<Fields<'_>>(bytes) {
        Ok(fields) => said(fields),
        Err(error) => match cbor::decode(bytes) {
            Ok(Kind { kind }) if !KNOWN.contains(&&*kind.0) => Ok(Said::Unknown),
            _ => Err(Unreadable(error.to_string().into())),
        },
    }
}

fn said(mut fields: Fields<'_>) -> Result<Said<'_>, Unreadable> {
    // Moved out, so that the fields can be moved below.
    let kind = std::mem::replace(&mut fields.kind, Text(Cow::Borrowed("")));
    Ok(match &*kind.0 {
        "welcome" => Said::Welcome {
            id: id(fields.id)?,
            session: text(fields.session, "session")?,
            user: fields.user.map(inner),
            resume: text(fields.resume, "resume")?,
        },
        "token" => Said::Token {
            resume: text(fields.resume, "resume")?,
        },
        "expiring" => Said::Expiring,
        "refreshed" => Said::Refreshed { id: id(fields.id)? },
        "message" => message(fields)?,
        "subscribed" => Said::Subscribed {
            id: fields.id.map(CommandId),
            about: about(&mut fields)?,
            position: position(fields.position, "position")?,
            live: fields.live.unwrap_or(false),
            by_server: fields.by.is_some_and(|by| *by.0 == *"server"),
        },
        "unsubscribed" => unsubscribed(fields)?,
        "live" => Said::Live {
            about: about(&mut fields)?,
            position: position(fields.position, "position")?,
        },
        "catching_up" => Said::CatchingUp {
            about: about(&mut fields)?,
            position: position(fields.position, "position")?,
        },
        "gap" => Said::Gap {
            about: about(&mut fields)?,
            from: position(fields.from, "from")?,
            to: position(fields.to, "to")?,
            reason: text(fields.reason, "reason")?,
            agreed: fields.agreed.map(place("agreed")).transpose()?,
        },
        "published" => Said::Published {
            id: id(fields.id)?,
            position: position(fields.position, "position")?,
            duplicate: fields.duplicate.unwrap_or(false),
        },
        "own" => Said::Own {
            about: about(&mut fields)?,
            position: position(fields.position, "position")?,
            previous: position(fields.previous, "previous")?,
            at: fields.at.map(place("at")).transpose()?,
        },
        "restored" => Said::Restored,
        "history" => history(fields)?,
        "state" => state(fields)?,
        "called" => Said::Called {
            id: id(fields.id)?,
            payload: payload(fields.data, fields.base64)?,
        },
        "presence_updated" => Said::InfoUpdated { id: id(fields.id)? },
        "members" => Said::Members {
            id: fields.id.map(CommandId),
            about: about(&mut fields)?,
            members: listed(fields.members, "members", |m| Ok(member(m)))?,
            total: need(fields.total, "total")?,
        },
        "acked" => Said::Acked {
            id: id(fields.id)?,
            position: fields.position.map(place("position")).transpose()?,
        },
        "received" => Said::Received {
            id: id(fields.id)?,
            received: need(fields.received, "received")?,
            subscribers: need(fields.subscribers, "subscribers")?,
            sessions: listed(fields.sessions, "sessions", |session| Ok(inner(session)))?,
        },
        "join" => {
            let (about, member) = came_or_went(fields)?;
            Said::Join { about, member }
        }
        "leave" => {
            let (about, member) = came_or_went(fields)?;
            Said::Leave { about, member }
        }
        "pong" => Said::Pong { id: id(fields.id)? },
        "error" => Said::Error {
            id: fields.id.map(CommandId),
            refused: refused(fields)?,
        },
        "reconnect" => Said::Reconnect {
            after: Duration::from_millis(need(fields.after_ms, "after_ms")?),
        },
        "closing" => Said::Closing {
            reason: text(fields.reason, "reason")?,
        },
        "told" => Said::Told {
            payload: payload(fields.data, fields.base64)?,
        },
        _ => Said::Unknown,
    })
}

fn message(mut fields: Fields<'_>) -> Result<Said<'_>, Unreadable> {
    Ok(Said::Message {
        about: about(&mut fields)?,
        state: fields.state.unwrap_or(false),
        message: Message {
            position: position(fields.position, "position")?,
            previous: fields.previous.map(place("previous")).transpose()?,
            at: fields.at.map(place("at")).transpose()?,
            payload: payload(fields.data, fields.base64)?,
            user: fields.user.map(inner),
            session: fields.session.map(inner),
            key: fields.key.map(inner),
            tags: tags(fields.tags),
            time_ms: need(fields.time, "time")?,
        },
    })
}

/// The channel is named in messages about it, also in those to a filter.
fn about<'a>(fields: &mut Fields<'a>) -> Result<About<'a>, Unreadable> {
    let (name, is_filter) = match (fields.channel.take(), fields.filter.take()) {
        (None, Some(filter)) => (inner(filter), true),
        (channel, _) => (text(channel, "channel")?, false),
    };
    Ok(About {
        name,
        is_filter,
        number: fields.subscription,
    })
}

/// With an id it is an answer; without one, the server ended the subscription.
fn unsubscribed(mut fields: Fields<'_>) -> Result<Said<'_>, Unreadable> {
    let about = about(&mut fields)?;
    match fields.id {
        Some(id) => Ok(Said::Unsubscribed {
            id: CommandId(id),
            about,
        }),
        None => Ok(Said::Ended {
            about,
            refused: refused(fields)?,
        }),
    }
}

fn state(fields: Fields<'_>) -> Result<Said<'_>, Unreadable> {
    Ok(Said::State {
        id: id(fields.id)?,
        channel: text(fields.channel, "channel")?,
        head: position(fields.head, "head")?,
        messages: messages(fields.messages)?,
        more: fields.more.unwrap_or(false),
    })
}

fn history(fields: Fields<'_>) -> Result<Said<'_>, Unreadable> {
    Ok(Said::History {
        id: id(fields.id)?,
        channel: text(fields.channel, "channel")?,
        head: position(fields.head, "head")?,
        messages: messages(fields.messages)?,
        gap: fields.gap.map(inner),
        more: fields.more.unwrap_or(false),
    })
}

fn messages(fields: Option<Vec<MessageFields<'_>>>) -> Result<Vec<Message<'_>>, Unreadable> {
    listed(fields, "messages", |fields| {
        Ok(Message {
            position: position(Some(fields.position), "position")?,
            previous: None,
            at: None,
            payload: payload(fields.data, fields.base64)?,
            user: fields.user.map(inner),
            session: fields.session.map(inner),
            key: fields.key.map(inner),
            tags: tags(fields.tags),
            time_ms: fields.time,
        })
    })
}

fn came_or_went(mut fields: Fields<'_>) -> Result<(About<'_>, Member<'_>), Unreadable> {
    let about = about(&mut fields)?;
    let member = Member {
        session: text(fields.session, "session")?,
        user: fields.user.map(inner),
        info: fields.info.map(|info| info.0),
    };
    Ok((about, member))
}

fn member(fields: MemberFields<'_>) -> Member<'_> {
    Member {
        session: fields.session.0,
        user: fields.user.map(inner),
        info: fields.info.map(|info| info.0),
    }
}

fn refused(fields: Fields<'_>) -> Result<Refused<'_>, Unreadable> {
    Ok(Refused {
        code: text(fields.code, "code")?,
        message: fields.message.map(inner).unwrap_or_default(),
        retry: fields.retry.map_or(Retry::Never, |word| verdict(&word.0)),
        retry_after: fields.retry_after_ms.map(Duration::from_millis),
        backend: fields.backend.map(|backend| backend.0),
    })
}

/// An unknown verdict must not be acted on.
fn verdict(word: &str) -> Retry {
    [Retry::Later, Retry::Reconnect]
        .into_iter()
        .find(|retry| retry.name() == word)
        .unwrap_or(Retry::Never)
}

fn payload<'a>(
    data: Option<Data<'a>>,
    base64: Option<Text<'a>>,
) -> Result<Payload<'a>, Unreadable> {
    match (data, base64) {
        (Some(Data::Json(json)), None) => Ok(Payload::Json(json)),
        (Some(Data::Bytes(bytes)), None) => Ok(Payload::Bytes(bytes.to_vec())),
        (None, Some(text)) => match BASE64.decode(text.0.as_bytes()) {
            Ok(bytes) => Ok(Payload::Bytes(bytes)),
            Err(error) => Err(Unreadable(format!("base64: {error}").into())),
        },
        (Some(_), Some(_)) => Err(Unreadable(
            "data and base64: only one of them is allowed".into(),
        )),
        (None, None) => Err(Unreadable("data: is missing".into())),
    }
}

fn tags<'a>(tags: Option<BTreeMap<Text<'a>, Text<'a>>>) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let pairs = tags.into_iter().flatten();
    pairs.map(|(name, value)| (name.0, value.0)).collect()
}

fn listed<'a, F, T>(
    fields: Option<Vec<F>>,
    name: &'static str,
    read: impl Fn(F) -> Result<T, Unreadable> + 'a,
) -> Result<Vec<T>, Unreadable> {
    need(fields, name)?.into_iter().map(read).collect()
}

fn position(field: Option<Text<'_>>, name: &'static str) -> Result<Position, Unreadable> {
    need(field, name).and_then(place(name))
}

fn place(name: &'static str) -> impl Fn(Text<'_>) -> Result<Position, Unreadable> {
    move |text| {
        let wrong = |_| format!("{name}: a position has two numbers and a dot");
        text.0
            .parse()
            .map_err(wrong)
            .map_err(|what| Unreadable(what.into()))
    }
}

fn id(field: Option<u64>) -> Result<CommandId, Unreadable> {
    need(field, "id").map(CommandId)
}

fn text<'a>(field: Option<Text<'a>>, name: &'static str) -> Result<Cow<'a, str>, Unreadable> {
    need(field, name).map(inner)
}

fn need<T>(field: Option<T>, name: &'static str) -> Result<T, Unreadable> {
    field.ok_or_else(|| Unreadable(format!("{name}: is missing").into()))
}

fn inner(text: Text<'_>) -> Cow<'_, str> {
    text.0
}
