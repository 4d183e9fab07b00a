//! The native dialect of one connection.

use std::time::{Duration, Instant};

use offhook_engine::{
    CloseReason, Command, CommandId, ErrorCode, Notice, PresenceChange, Publication, Refusal,
    SubscriptionId,
};

use super::{
    Rejection, Request, close_code, decode, encode_expiring, encode_new_epoch, encode_notice,
    encode_presence, encode_publication, encode_refreshed, encode_rejection, encode_token,
    encode_welcome,
};
use crate::dialect::{
    Connect, Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Shared, Welcome,
};

/// The native dialect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native {
    /// Whether the client understands `previous` in messages.
    lineage: bool,
}

/// JSON for clients that understand `previous`.
#[derive(Debug)]
pub(crate) struct Json;

/// JSON for clients that expect consecutive offsets in every epoch.
#[derive(Debug)]
pub(crate) struct JsonWithoutLineage;

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

impl Native {
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

impl Dialect for Native {
    fn encoding(&self, connect: &Connect) -> &'static dyn Encoding {
        if connect.lineage {
            &Json
        } else {
            &JsonWithoutLineage
        }
    }

    fn receive(&mut self, incoming: Incoming<'_>, _now: Instant, intents: &mut Vec<Intent>) {
        let Incoming::Text(text) = incoming else {
            let detail = "binary messages are not supported; send text";
            let refusal = Refusal::new(ErrorCode::BadRequest, detail);
            return intents.push(Intent::Refuse { id: None, refusal });
        };
        intents.push(match decode(text) {
            Ok(Request::Connect(connect)) => {
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

    fn head(&mut self, recipient: &Recipient, _shared: &Shared) -> Head {
        let mut head = String::new();
        if let Some(SubscriptionId(number)) = recipient.subscription {
            head = format!(",\"subscription\":{number}");
        }
        if let Some(at) = recipient.at {
            head = format!("{head},\"at\":\"{at}\"");
        }
        if recipient.redelivered > 0 {
            head = format!("{head},\"redelivered\":{}", recipient.redelivered);
        }
        if recipient.state {
            head.push_str(",\"state\":true");
        }
        if head.is_empty() {
            return Head::None;
        }
        Head::Insert(head.into_bytes())
    }

    fn welcome(&mut self, welcome: &Welcome<'_>, out: &mut Vec<Payload>) {
        out.push(encode_welcome(welcome).into());
    }

    fn refused(&mut self, id: Option<CommandId>, refusal: &Refusal, out: &mut Vec<Payload>) {
        let refusal = refusal.clone();
        out.push(encode_rejection(&Rejection { id, refusal }).into());
    }

    fn token(&mut self, resume: &str, out: &mut Vec<Payload>) {
        out.push(encode_token(resume).into());
    }

    fn refreshed(&mut self, id: CommandId, expires_in: Option<Duration>, out: &mut Vec<Payload>) {
        out.push(encode_refreshed(id, expires_in).into());
    }

    fn expiring(&mut self, expires_in: Duration, out: &mut Vec<Payload>) {
        out.push(encode_expiring(expires_in).into());
    }

    fn notice(&mut self, notice: &Notice, out: &mut Vec<Payload>) {
        out.push(encode_notice(notice).into());
    }

    fn close_code(&self, reason: CloseReason) -> u16 {
        close_code(reason)
    }
}
