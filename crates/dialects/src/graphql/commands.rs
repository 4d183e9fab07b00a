//! The commands of the fields of a root.

use std::{borrow::Cow, collections::BTreeMap};

use offhook_engine::{
    ChannelName, Command, Filter, Format, Key, Position, Refusal, Since, Subscribe, Tags, Target,
};

use super::{failure::Failure, input::Given, plan::Plan};
use crate::dialect::Listing;

/// The default of `limit`.
const PAGE: u32 = 100;

/// The most channels that one field looks at. 1,000: as many as the HTTP API does.
const MAX_CHANNELS: u32 = 1_000;

/// How a field of a query or a mutation gets its value.
#[derive(Debug)]
pub(super) enum Step {
    /// By a command.
    Ask(Command),
    /// By listing channels.
    List(Listing),
    /// It needs nothing of the channels.
    Meta,
}

pub(super) fn step(plan: &Plan) -> Result<Step, Failure> {
    let step = match plan.field.name {
        "history" => history(plan).map(Step::Ask),
        "state" => state(plan).map(Step::Ask),
        "presence" => {
            channel(plan, "channel").map(|channel| Step::Ask(Command::Presence { channel }))
        }
        "channels" => listing(plan).map(Step::List),
        "publish" => publish(plan).map(Step::Ask),
        _ => Ok(Step::Meta),
    };
    step.map_err(|failure: Failure| failure.at(plan.spot))
}

fn history(plan: &Plan) -> Result<Command, Failure> {
    let channel = channel(plan, "channel")?;
    let limit = count(plan, "limit")?.unwrap_or(PAGE);
    match (place(plan, "since")?, place(plan, "before")?) {
        (Some(_), Some(_)) => Err(Failure::bad(
            "since and before: only one of them is allowed",
        )),
        (None, Some(before)) => Ok(Command::HistoryBefore {
            channel,
            before,
            limit,
        }),
        (since, None) => Ok(Command::History {
            channel,
            since: since.map_or(Since::Last(limit), Since::Position),
            limit,
        }),
    }
}

fn state(plan: &Plan) -> Result<Command, Failure> {
    Ok(Command::State {
        channel: channel(plan, "channel")?,
        after: place(plan, "since")?,
        limit: count(plan, "limit")?.unwrap_or(PAGE),
    })
}

fn listing(plan: &Plan) -> Result<Listing, Failure> {
    let limit = count(plan, "limit")?.unwrap_or(PAGE);
    if !(1..=MAX_CHANNELS).contains(&limit) {
        let detail = format!("limit: is {limit}; 1 to {MAX_CHANNELS} are allowed");
        return Err(Failure::bad(detail));
    }
    Ok(Listing {
        prefix: plan.text("prefix").unwrap_or_default().into(),
        after: plan.text("after").map(Into::into),
        limit,
    })
}

fn publish(plan: &Plan) -> Result<Command, Failure> {
    let tags: Option<BTreeMap<Cow<'_, str>, Cow<'_, str>>> = match plan.json("tags") {
        Some(json) => serde_json::from_str(json)
            .map_err(|_| Failure::bad("tags: expected an object of texts"))?,
        None => None,
    };
    let tags = tags.iter().flatten();
    let tags = Tags::new(tags.map(|(name, value)| (&**name, &**value)));
    let key = plan.text("key").map(Key::new).transpose();
    Ok(Command::Publish {
        channel: channel(plan, "channel")?,
        data: plan.json("data").unwrap_or("null").to_owned().into(),
        format: Format::Json,
        tags: tags.map_err(at("tags"))?,
        key: key.map_err(at("key"))?,
    })
}

/// The subscription of a field of `Subscription`, with this number.
pub(super) fn subscribe(plan: &Plan, number: u32) -> Result<Subscribe, Failure> {
    let wish = match plan.field.name {
        "channel" => {
            let target: Target = channel(plan, "name")?.into();
            let since = match (place(plan, "since")?, count(plan, "last")?) {
                (Some(_), Some(_)) => {
                    return Err(Failure::bad("since and last: only one of them is allowed"));
                }
                (Some(position), None) => Since::Position(position),
                (None, Some(last)) => Since::Last(last),
                (None, None) => Since::Now,
            };
            Subscribe::new(target, since)
        }
        "filter" => {
            let pattern = plan.text("pattern").unwrap_or_default();
            let filter = Filter::new(pattern).map_err(at("pattern"))?;
            let since = place(plan, "since")?;
            Subscribe::new(filter, since.map_or(Since::Now, Since::Position))
        }
        // `presence`
        _ => Subscribe {
            members: true,
            ..Subscribe::new(channel(plan, "channel")?, Since::Now).with_presence()
        },
    };
    Ok(wish.numbered(number))
}

fn channel(plan: &Plan, name: &'static str) -> Result<ChannelName, Failure> {
    let text = plan.text(name).unwrap_or_default();
    ChannelName::new(text).map_err(at(name))
}

fn count(plan: &Plan, name: &'static str) -> Result<Option<u32>, Failure> {
    let number = plan.int(name).map(u32::try_from).transpose();
    number.map_err(|_| Failure::bad(format!("{name}: is negative")))
}

fn place(plan: &Plan, name: &'static str) -> Result<Option<Position>, Failure> {
    let Some(Given::Object(fields)) = plan.input(name) else {
        return Ok(None);
    };
    let field = |wanted: &str| {
        let found = fields.iter().find(|(name, _)| *name == wanted);
        match found {
            Some((_, Given::Text(text))) => text,
            _ => "",
        }
    };
    let position = format!("{}.{}", field("epoch"), field("offset")).parse();
    position.map(Some).map_err(|_: Refusal| {
        let detail =
            format!("{name}: expected the epoch and offset of a position that the server gave");
        Failure::bad(detail)
    })
}

fn at(field: &'static str) -> impl Fn(Refusal) -> Failure {
    move |refusal| Refusal::new(refusal.code, format!("{field}: {}", refusal.detail)).into()
}
