//! Subscriptions of a connection, and their messages.

use offhook_engine::{ErrorCode, Position, PresenceChange, Publication, Reply};

use super::{
    failure::Failure,
    message,
    out::{MAX_ANSWER, Out},
    plan::Plan,
    results,
    template::Template,
};
use crate::json::{Object, json};

/// A subscription.
#[derive(Debug)]
pub(super) struct Stream {
    /// The client's id of the operation.
    pub(super) id: Box<str>,
    /// The name of its field in results.
    key: Box<str>,
    /// What stands before the value of the field in each message.
    head: Box<str>,
    what: What,
}

#[derive(Debug)]
enum What {
    Messages(Template),
    Presence(Plan),
}

/// What stands behind the value: the ends of `data`, of the result and of the message.
const TAIL: &str = "}}}";

/// A position as a client gives it as `since`.
fn place(at: Position) -> String {
    Object::part()
        .text("epoch", &at.epoch.0.to_string())
        .text("offset", &at.offset.to_string())
        .end()
}

impl Stream {
    pub(super) fn new(id: &str, plan: Plan) -> Self {
        let head = format!(
            "{}{{\"data\":{{{}:",
            message::next_head(id),
            json(&plan.key)
        );
        Self {
            id: id.into(),
            key: plan.key.clone(),
            head: head.into(),
            what: match plan.field.name {
                "presence" => What::Presence(plan),
                _ => What::Messages(Template::compile(&plan)),
            },
        }
    }

    /// The message of a publication, whose content was encoded; none if the subscription is not to
    /// publications.
    pub(super) fn publication(
        &self,
        publication: &Publication,
        at: Option<Position>,
        content: &str,
    ) -> Option<String> {
        let What::Messages(template) = &self.what else {
            return None;
        };
        let at = at.unwrap_or(publication.position);
        let expected = self.head.len().saturating_add(content.len());
        let mut out = Out::with_capacity(expected.saturating_add(256), MAX_ANSWER);
        let written = out
            .raw(&self.head)
            .and_then(|()| template.write(&mut out, publication, at, content))
            .and_then(|()| out.raw(TAIL));
        if written.is_ok() {
            return Some(out.end());
        }
        let detail = format!(
            "the message has more than {MAX_ANSWER} bytes; choose fewer fields, and each once"
        );
        // The client continues after it, as after a gap.
        let told = Object::part()
            .text("code", ErrorCode::TooLarge.name())
            .text("retry", ErrorCode::TooLarge.retry().name())
            .raw("to", place(at));
        Some(self.without_publication(&detail, told))
    }

    pub(super) fn change(&self, change: &PresenceChange) -> Option<String> {
        let What::Presence(plan) = &self.what else {
            return None;
        };
        Some(self.presence(&results::change(plan, change, MAX_ANSWER)))
    }

    /// The list of members, sent by the engine unasked.
    pub(super) fn members(&self, reply: &Reply) -> Option<String> {
        let What::Presence(plan) = &self.what else {
            return None;
        };
        let Reply::Members {
            channel,
            members,
            total,
            ..
        } = reply
        else {
            return None;
        };
        let members = (&**members, *total);
        Some(self.presence(&results::all_members(plan, channel, members, MAX_ANSWER)))
    }

    fn presence(&self, result: &Result<String, Failure>) -> String {
        match result {
            Ok(value) => [&*self.head, value, TAIL].concat(),
            Err(failure) => self.without_value(&failure.json(Some(&self.key))),
        }
    }

    /// Publications are missing; none if the subscription is not to publications.
    pub(super) fn gap(
        &self,
        (from, to): (Position, Position),
        reason: &str,
        channel: Option<&str>,
    ) -> Option<String> {
        let What::Messages(_) = self.what else {
            return None;
        };
        let told = Object::part()
            .text("code", "gap")
            .text("reason", reason)
            .raw("from", place(from))
            .raw("to", place(to));
        let told = match channel {
            Some(channel) => told.text("channel", channel),
            None => told,
        };
        Some(self.without_publication(&format!("messages are missing: {reason}"), told))
    }

    /// A message in place of publications, with the extensions of its error.
    fn without_publication(&self, message: &str, extensions: Object) -> String {
        let error = Object::part()
            .text("message", message)
            .raw("path", format_args!("[{}]", json(&self.key)))
            .raw("extensions", extensions.end())
            .end();
        self.without_value(&error)
    }

    /// A message whose field is null, with the reason.
    fn without_value(&self, error: &str) -> String {
        [&*self.head, "null},\"errors\":[", error, "]}}"].concat()
    }
}
