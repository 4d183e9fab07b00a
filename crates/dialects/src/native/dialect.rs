//! The native dialect of one connection.

use std::time::{Duration, Instant};

use offhook_engine::{
    CloseReason, Command, CommandId, ErrorCode, Format, Notice, PresenceChange, Publication,
    Refusal, SubscriptionId,
};

use super::{
    Rejection, Request,
    cbor::Cbor,
    close_code, decode, decode_binary,
    encode::{Spoken, encode_new_epoch},
    encode_presence, encode_publication, write,
    writer::Writer,
};
use crate::{
    dialect::{
        Connect, Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Shared, Welcome,
    },
    json::Object,
};

/// The native dialect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native {
    /// Whether the client understands `previous` in messages.
    lineage: bool,
    form: Form,
}

/// The form of messages.
///
/// ```text
///   offhook.v1.json ──▶ Json
///   offhook.v1.cbor ──▶ Undecided ──┬─ the first message is text ───▶ Mixed
///                                   └─ the first message is binary ─▶ Cbor
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    /// Text messages alone.
    #[default]
    Json,
    /// The first message will decide.
    Undecided,
    /// Text messages, but CBOR for those with bytes.
    Mixed,
    /// CBOR for all messages.
    Cbor,
}

impl Form {
    /// Whether a message is in CBOR.
    const fn is_cbor(self, has_bytes: bool) -> bool {
        match self {
            Self::Json | Self::Undecided => false,
            Self::Mixed => has_bytes,
            Self::Cbor => true,
        }
    }
}

/// JSON for clients that understand `previous`.
#[derive(Debug)]
pub(crate) struct Json;

/// JSON for clients that expect consecutive offsets in every epoch.
#[derive(Debug)]
pub(crate) struct JsonWithoutLineage;

/// CBOR for publications of bytes, and JSON for all others.
#[derive(Debug)]
struct Mixed;

/// CBOR.
#[derive(Debug)]
struct Binary;

impl Encoding for Json {
    fn name(&self) -> &'static str {
        "native json"
    }

    fn publication(&self, publication: &Publication) -> Shared {
        after_type(encode_publication(publication))
    }

    fn presence(&self, change: &PresenceChange) -> Option<Shared> {
        Some(after_type(encode_presence(change)))
    }
}

/// A recipient's own fields are inserted after the type.
fn after_type(message: String) -> Shared {
    let head = message.find(',').unwrap_or(0);
    Shared {
        head,
        ..Shared::whole(message)
    }
}

impl Encoding for JsonWithoutLineage {
    fn name(&self) -> &'static str {
        "native json without lineage"
    }

    fn publication(&self, publication: &Publication) -> Shared {
        Shared {
            ahead: encode_new_epoch(publication).map(Payload::Text),
            ..Json.publication(publication)
        }
    }

    fn presence(&self, change: &PresenceChange) -> Option<Shared> {
        Json.presence(change)
    }
}

impl Encoding for Mixed {
    fn name(&self) -> &'static str {
        "native json and cbor"
    }

    fn publication(&self, publication: &Publication) -> Shared {
        match publication.format {
            Format::Binary => Binary.publication(publication),
            Format::Json | Format::Text => Json.publication(publication),
        }
    }

    fn presence(&self, change: &PresenceChange) -> Option<Shared> {
        Json.presence(change)
    }
}

impl Encoding for Binary {
    fn name(&self) -> &'static str {
        "native cbor"
    }

    fn publication(&self, publication: &Publication) -> Shared {
        Shared {
            head: Cbor::head_of("message"),
            ..Shared::whole(write::publication::<Cbor>(publication).finish())
        }
    }

    fn presence(&self, change: &PresenceChange) -> Option<Shared> {
        Some(Shared {
            head: Cbor::head_of(write::presence_kind(change)),
            ..Shared::whole(write::presence::<Cbor>(change).finish())
        })
    }
}

impl Native {
    /// A connection with [`SUBPROTOCOL_CBOR`](super::SUBPROTOCOL_CBOR). If its first message is
    /// binary, all messages to it are. If it is text, only those are binary that contain bytes.
    #[must_use]
    pub const fn with_cbor() -> Self {
        Self {
            lineage: false,
            form: Form::Undecided,
        }
    }

    fn decode(&mut self, incoming: Incoming<'_>) -> Result<Request, Rejection> {
        if self.form == Form::Undecided {
            self.form = match incoming {
                Incoming::Text(_) => Form::Mixed,
                Incoming::Binary(_) => Form::Cbor,
            };
        }
        match incoming {
            Incoming::Text(text) => decode(text),
            Incoming::Binary(bytes) if self.form != Form::Json => decode_binary(bytes),
            Incoming::Binary(_) => {
                let detail = "binary messages are not supported; send text, or connect with the \
                              subprotocol offhook.v1.cbor";
                let refusal = Refusal::new(ErrorCode::BadRequest, detail);
                Err(Rejection { id: None, refusal })
            }
        }
    }

    fn say(self, spoken: &Spoken<'_>, out: &mut Vec<Payload>) {
        out.push(match self.form.is_cbor(spoken.has_bytes()) {
            true => spoken.write::<Cbor>().into(),
            false => spoken.write::<Object>().into(),
        });
    }

    fn command(self, id: CommandId, command: Result<Command, Refusal>) -> Intent {
        let allowed = command.and_then(|command| self.understands(&command).map(|()| command));
        match allowed {
            Ok(command) => Intent::Command { id, command },
            Err(refusal) => Intent::Refuse {
                id: Some(id),
                refusal,
            },
        }
    }

    /// A client that does not read `previous` is told of a new epoch by a gap before the message,
    /// which names the channel alone: it can have neither a number nor [`Notice::Own`].
    fn understands(self, command: &Command) -> Result<(), Refusal> {
        let Command::Subscribe(wish) = command else {
            return Ok(());
        };
        if self.lineage || (wish.id.is_none() && wish.echo) {
            return Ok(());
        }
        let field = if wish.id.is_some() {
            "subscription"
        } else {
            "echo"
        };
        let detail = format!("{field}: only for connections that sent \"lineage\":true in connect");
        Err(Refusal::new(ErrorCode::BadRequest, detail))
    }
}

/// The fields of one recipient.
fn head_fields<W: Writer>(mut head: W, recipient: &Recipient) -> W {
    if let Some(SubscriptionId(number)) = recipient.subscription {
        head = head.number("subscription", u64::from(number));
    }
    if let Some(at) = recipient.at {
        head = head.position("at", at);
    }
    if recipient.redelivered > 0 {
        head = head.number("redelivered", u64::from(recipient.redelivered));
    }
    if recipient.state {
        head = head.flag("state", true);
    }
    head
}

impl Dialect for Native {
    fn encoding(&self, connect: &Connect) -> &'static dyn Encoding {
        match self.form {
            Form::Mixed => &Mixed,
            Form::Cbor => &Binary,
            Form::Json | Form::Undecided if connect.lineage => &Json,
            Form::Json | Form::Undecided => &JsonWithoutLineage,
        }
    }

    fn receive(&mut self, incoming: Incoming<'_>, _now: Instant, intents: &mut Vec<Intent>) {
        intents.push(match self.decode(incoming) {
            Ok(Request::Connect(mut connect)) => {
                // Every client of the newer subprotocol understands `previous`.
                connect.lineage |= self.form != Form::Json;
                self.lineage = connect.lineage;
                Intent::Connect(connect)
            }
            Ok(Request::Command { id, command }) => self.command(id, Ok(command)),
            Ok(Request::Granted { id, token, command }) => match self.understands(&command) {
                Ok(()) => Intent::Granted { id, token, command },
                Err(refusal) => Intent::Refuse {
                    id: Some(id),
                    refusal,
                },
            },
            Ok(Request::Refresh { id, token }) => Intent::Refresh { id, token },
            Ok(Request::SubscribeAll(all)) => {
                let commands = all.commands();
                return intents.extend(commands.map(|(id, command)| self.command(id, command)));
            }
            Err(Rejection { id, refusal }) => Intent::Refuse { id, refusal },
        });
    }

    fn head(&mut self, recipient: &Recipient, shared: &Shared) -> Head {
        // Over WebTransport, JSON is framed as bytes.
        let is_binary = matches!(shared.message, Payload::Binary(_));
        let head = match self.form != Form::Json && is_binary {
            true => head_fields(Cbor::default(), recipient).into_fields(),
            false => head_fields(Object::rest(), recipient).into_fields(),
        };
        match head.is_empty() {
            true => Head::None,
            false => Head::Insert(head),
        }
    }

    fn welcome(&mut self, welcome: &Welcome<'_>, out: &mut Vec<Payload>) {
        self.say(&Spoken::Welcome(welcome), out);
    }

    fn refused(&mut self, id: Option<CommandId>, refusal: &Refusal, out: &mut Vec<Payload>) {
        self.say(&Spoken::Refused { id, refusal }, out);
    }

    fn token(&mut self, resume: &str, out: &mut Vec<Payload>) {
        self.say(&Spoken::Token(resume), out);
    }

    fn refreshed(&mut self, id: CommandId, expires_in: Option<Duration>, out: &mut Vec<Payload>) {
        self.say(&Spoken::Refreshed { id, expires_in }, out);
    }

    fn expiring(&mut self, expires_in: Duration, out: &mut Vec<Payload>) {
        self.say(&Spoken::Expiring(expires_in), out);
    }

    fn notice(&mut self, notice: &Notice, out: &mut Vec<Payload>) {
        self.say(&Spoken::Notice(notice), out);
    }

    fn close_code(&self, reason: CloseReason) -> u16 {
        close_code(reason)
    }
}
