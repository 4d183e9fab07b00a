//! The results of fields, from the engine's replies.

use std::sync::Arc;

use offhook_engine::{ChannelName, Member, Position, PresenceChange, Publication, Reply};

use super::{
    failure::Failure,
    introspection,
    out::{Out, TooLarge, Written},
    plan::Plan,
    template::{Template, content},
};

/// A result that exceeds its limit.
fn too_large(limit: usize) -> Failure {
    let detail = format!(
        "the result has more than the {limit} bytes that are left for it; ask for less at once, or for fewer \
         fields"
    );
    Failure::too_large(detail)
}

fn written(limit: usize, write: impl FnOnce(&mut Out) -> Written) -> Result<String, Failure> {
    let mut out = Out::new(limit);
    match write(&mut out) {
        Ok(()) => Ok(out.end()),
        Err(TooLarge) => Err(too_large(limit)),
    }
}

/// The value of a field that needs nothing of the channels; `on` is the type that it is a field of.
pub(super) fn meta(plan: &Plan, on: &str, limit: usize) -> Result<String, Failure> {
    written(limit, |out| match plan.field.name {
        "__typename" => out.text(on),
        _ => introspection::write(out, plan),
    })
}

/// The value of a field whose command has this reply.
pub(super) fn of_reply(plan: &Plan, reply: &Reply, limit: usize) -> Result<String, Failure> {
    if let Reply::Refused(refusal) = reply {
        return Err(Failure::from(refusal.clone()).at(plan.spot));
    }
    written(limit, |out| write(out, plan, reply))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "no other replies answer the commands of this dialect"
)]
fn write(out: &mut Out, plan: &Plan, reply: &Reply) -> Written {
    match reply {
        Reply::History {
            head,
            publications,
            gap,
            more,
            ..
        } => out.object(plan, |out, part| match part.field.name {
            "messages" => messages(out, part, publications),
            "gap" => out.text_or_null(gap.map(|gap| gap.name())),
            "more" => out.boolean(*more),
            _ => place(out, part, *head),
        }),
        Reply::State {
            head, values, more, ..
        } => out.object(plan, |out, part| match part.field.name {
            "messages" => messages(out, part, values),
            "more" => out.boolean(*more),
            _ => place(out, part, *head),
        }),
        Reply::Members { members, total, .. } => {
            out.object(plan, |out, part| match part.field.name {
                "members" => out.list(members, |out, one| member(out, part, one)),
                // `total`
                _ => out.raw(&total.to_string()),
            })
        }
        Reply::Published {
            position,
            duplicate,
        } => out.object(plan, |out, part| match part.field.name {
            "duplicate" => out.boolean(*duplicate),
            _ => place(out, part, *position),
        }),
        _ => out.raw("null"),
    }
}

/// `epoch` or `offset`.
fn place(out: &mut Out, part: &Plan, at: Position) -> Written {
    match part.field.name {
        "epoch" => out.text(&at.epoch.0.to_string()),
        _ => out.text(&at.offset.to_string()),
    }
}

fn messages(out: &mut Out, plan: &Plan, publications: &[Arc<Publication>]) -> Written {
    let template = Template::compile(plan);
    out.list(publications, |out, one| {
        template.write(out, one, one.position, &content(one))
    })
}

fn member(out: &mut Out, plan: &Plan, member: &Member) -> Written {
    out.object(plan, |out, part| match part.field.name {
        "session" => out.text(&member.session.to_string()),
        "user" => out.text_or_null(Some(&*member.user).filter(|user| !user.is_empty())),
        // `info`
        _ if member.info.is_empty() => out.raw("null"),
        _ => out.raw(&String::from_utf8_lossy(&member.info)),
    })
}

/// The value of `channels`.
pub(super) fn channels(
    plan: &Plan,
    channels: &[(ChannelName, Option<u64>)],
    next: Option<&str>,
    limit: usize,
) -> Result<String, Failure> {
    written(limit, |out| {
        out.object(plan, |out, part| match part.field.name {
            "channels" => out.list(channels, |out, (name, members)| {
                out.object(part, |out, part| match part.field.name {
                    "name" => out.text(name.as_str()),
                    // `members`
                    _ => match members {
                        Some(members) => out.raw(&members.to_string()),
                        None => out.raw("null"),
                    },
                })
            }),
            // `next`
            _ => out.text_or_null(next),
        })
    })
}

/// The value of the subscription `presence` for a join or a leave.
pub(super) fn change(
    plan: &Plan,
    change: &PresenceChange,
    limit: usize,
) -> Result<String, Failure> {
    written(limit, |out| {
        out.object(plan, |out, part| match part.field.name {
            "channel" => out.text(change.channel.as_str()),
            "event" => out.text(if change.joined { "JOIN" } else { "LEAVE" }),
            "member" => member(out, part, &change.member),
            // `members` and `total`
            _ => out.raw("null"),
        })
    })
}

/// The same for the whole list.
pub(super) fn all_members(
    plan: &Plan,
    channel: &ChannelName,
    (members, total): (&[Arc<Member>], u64),
    limit: usize,
) -> Result<String, Failure> {
    written(limit, |out| {
        out.object(plan, |out, part| match part.field.name {
            "channel" => out.text(channel.as_str()),
            "event" => out.text("MEMBERS"),
            "members" => out.list(members, |out, one| member(out, part, one)),
            "total" => out.raw(&total.to_string()),
            // `member`
            _ => out.raw("null"),
        })
    })
}
