//! `GET channels`, `GET channels/NAME` and `GET channels/NAME/users`.

use offhook_brokers::Occupied;
use offhook_dialects::pusher::{Kind, kind_of, name_of, users_of};
use offhook_engine::{Command, Reply};
use serde_json::{Map, Value, json};

use super::{Call, Problem};

/// The maximum number of channels in one answer. 10,000: a few hundred kilobytes.
const MAX_CHANNELS: usize = 10_000;

/// The information that a request asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    user_count: bool,
    subscription_count: bool,
}

impl Wanted {
    /// Parses `info`, for channels whose names begin with `name`.
    pub(super) fn read(info: Option<&str>, name: &str) -> Result<Self, Problem> {
        let mut wanted = Self::default();
        let attributes = info.unwrap_or_default().split(',').map(str::trim);
        for attribute in attributes.filter(|attribute| !attribute.is_empty()) {
            match attribute {
                "subscription_count" => wanted.subscription_count = true,
                "user_count" if kind_of(name) == Kind::Presence => wanted.user_count = true,
                "user_count" => {
                    let detail = "info: user_count is available for presence channels; the name has to begin \
                                  with presence-";
                    return Err(Problem::bad(detail));
                }
                _ => {
                    let shown: String = attribute.chars().take(40).collect();
                    let detail = format!(
                        "info: {shown:?} is not available; there are user_count and subscription_count"
                    );
                    return Err(Problem::bad(detail));
                }
            }
        }
        Ok(wanted)
    }

    /// The information about one channel.
    pub(super) fn of(self, call: &Call<'_>, name: &str) -> Result<Value, Problem> {
        let found = occupied(call, name)?;
        Ok(self.shown(found.as_ref()).into())
    }

    fn shown(self, found: Option<&Occupied>) -> Map<String, Value> {
        let mut shown = Map::new();
        if self.user_count {
            let users = found.map_or(0, |found| found.users);
            shown.insert("user_count".to_owned(), users.into());
        }
        let members = found.map_or(0, |found| found.members);
        // A channel whose rule keeps no presence has no members, but may have subscribers.
        let is_known = found.is_none() || members > 0;
        if self.subscription_count && is_known {
            shown.insert("subscription_count".to_owned(), members.into());
        }
        shown
    }
}

/// What is known about a channel, if it has subscribers.
fn occupied(call: &Call<'_>, name: &str) -> Result<Option<Occupied>, Problem> {
    let channel = call.channel(name)?;
    let broker = &call.worker.shared.broker;
    // In the order of names, the name itself precedes all longer ones.
    let first = broker.occupied(channel.as_str(), None, 1).pop();
    Ok(first.filter(|first| first.channel == channel))
}

/// The channels of the app that have subscribers.
pub(super) fn channels(call: &Call<'_>) -> Result<Value, Problem> {
    let filter = call.query.get("filter_by_prefix")?.unwrap_or_default();
    let wanted = Wanted::read(call.query.get("info")?, filter)?;
    let prefix = call.app.prefix();
    let start = match filter {
        "" => prefix.to_owned(),
        filter => call.channel(filter)?.as_str().to_owned(),
    };
    let broker = &call.worker.shared.broker;
    let found = broker.occupied(&start, None, MAX_CHANNELS + 1);
    if found.len() > MAX_CHANNELS {
        let detail = format!(
            "more than {MAX_CHANNELS} channels have subscribers; list them by filter_by_prefix"
        );
        return Err(Problem::bad(detail));
    }
    let mut channels = Map::new();
    for one in found {
        let name = name_of(prefix, one.channel.as_str());
        if let Some(name) = name.filter(|_| call.is_own(one.channel.as_str())) {
            channels.insert(name.into_owned(), wanted.shown(Some(&one)).into());
        }
    }
    Ok(json!({ "channels": channels }))
}

/// One channel.
pub(super) fn channel(call: &Call<'_>, name: &str) -> Result<Value, Problem> {
    let wanted = Wanted::read(call.query.get("info")?, name)?;
    let found = occupied(call, name)?;
    let mut shown = wanted.shown(found.as_ref());
    shown.insert("occupied".to_owned(), found.is_some().into());
    Ok(shown.into())
}

/// The users in a presence channel.
pub(super) async fn users(call: &Call<'_>, name: &str) -> Result<Value, Problem> {
    if kind_of(name) != Kind::Presence {
        let detail = "only presence channels have users; the name has to begin with presence-";
        return Err(Problem::bad(detail));
    }
    let channel = call.channel(name)?;
    let mut replies = call
        .worker
        .command(vec![Command::Presence { channel }])
        .await;
    let members = match replies.pop() {
        Some(Reply::Members { members, total, .. }) => {
            if total > members.len() as u64 {
                let detail = format!(
                    "the channel has {total} members, of which {} can be listed (limits.members)",
                    members.len()
                );
                return Err(Problem::bad(detail));
            }
            members
        }
        Some(Reply::Refused(refusal)) => return Err(refusal.into()),
        Some(_) | None => return Err(Problem::bad("there is no answer")),
    };
    let users = users_of(call.app.prefix(), &members).into_keys();
    let users: Vec<Value> = users.map(|id| json!({ "id": id })).collect();
    Ok(json!({ "users": users }))
}
