//! `GET channels`, `GET channels/NAME` and `GET channels/NAME/users`.

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
}

impl Wanted {
    /// Parses `info`, for channels whose names begin with `name`.
    pub(super) fn read(info: Option<&str>, name: &str) -> Result<Self, Problem> {
        let mut wanted = Self::default();
        let attributes = info.unwrap_or_default().split(',').map(str::trim);
        for attribute in attributes.filter(|attribute| !attribute.is_empty()) {
            if attribute != "user_count" {
                let shown: String = attribute.chars().take(40).collect();
                let detail = format!("info: {shown:?} is not available; there is user_count");
                return Err(Problem::bad(detail));
            }
            if kind_of(name) != Kind::Presence {
                let detail = "info: user_count is available for presence channels; the name has to begin with \
                              presence-";
                return Err(Problem::bad(detail));
            }
            wanted.user_count = true;
        }
        Ok(wanted)
    }

    /// The information about one channel.
    pub(super) fn of(self, call: &Call<'_>, name: &str) -> Result<Value, Problem> {
        let users = occupied(call, name)?.unwrap_or(0);
        Ok(self.shown(users))
    }

    fn shown(self, users: u64) -> Value {
        match self.user_count {
            true => json!({ "user_count": users }),
            false => json!({}),
        }
    }
}

/// The number of users of a channel, if it has subscribers.
fn occupied(call: &Call<'_>, name: &str) -> Result<Option<u64>, Problem> {
    let channel = call.channel(name)?;
    let broker = &call.worker.shared.broker;
    // In the order of names, the name itself precedes all longer ones.
    let first = broker.occupied(channel.as_str(), None, 1).pop();
    let found = first.filter(|first| first.channel == channel);
    Ok(found.map(|found| found.users))
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
            channels.insert(name.into_owned(), wanted.shown(one.users));
        }
    }
    Ok(json!({ "channels": channels }))
}

/// One channel.
pub(super) fn channel(call: &Call<'_>, name: &str) -> Result<Value, Problem> {
    let wanted = Wanted::read(call.query.get("info")?, name)?;
    let users = occupied(call, name)?;
    let mut value = wanted.shown(users.unwrap_or(0));
    value["occupied"] = users.is_some().into();
    Ok(value)
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
