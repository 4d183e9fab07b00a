//! Members of presence channels, counted by user.

use std::{collections::BTreeMap, sync::Arc};

use offhook_engine::{Member, PresenceChange};

use crate::json::{Object, json};

/// The beginning of the ids by which clients of an app see users that are not of the app. No user of
/// an app has such an id.
pub(super) const OUTSIDE: &str = "offhook:";

/// The id by which clients of an app see a member: the id of the app's user, the name of another user
/// after `offhook:` or, without a user name, the id of the session.
#[must_use]
pub fn visible_user(prefix: &str, member: &Member) -> String {
    if member.user.is_empty() {
        return member.session.to_string();
    }
    match member.user.strip_prefix(prefix) {
        Some(id) => id.to_owned(),
        None => format!("{OUTSIDE}{}", member.user),
    }
}

/// The users among members, with the info of the first session of each.
#[must_use]
pub fn users_of<'a>(prefix: &str, members: &'a [Arc<Member>]) -> BTreeMap<String, &'a Member> {
    let mut users = BTreeMap::new();
    for member in members {
        users
            .entry(visible_user(prefix, member))
            .or_insert(&**member);
    }
    users
}

/// Whether a change is one of the member's user: the first of the user's sessions came, or the last one
/// left. None if the user has other sessions in the channel.
#[must_use]
pub const fn user_came(change: &PresenceChange) -> Option<bool> {
    match (change.joined, change.user_sessions) {
        (true, 0 | 1) => Some(true),
        (false, 0) => Some(false),
        (true | false, _) => None,
    }
}

/// The list of members for a new subscriber: `{"presence": {…}}`. Members that are not listed are
/// counted.
pub(super) fn list(prefix: &str, members: &[Arc<Member>], total: u64) -> String {
    let users = users_of(prefix, members);
    let unlisted = total.saturating_sub(members.len() as u64);
    let count = (users.len() as u64).saturating_add(unlisted);
    let ids: Vec<String> = users.keys().map(|id| json(id)).collect();
    let hash = users.iter().map(|(id, member)| {
        let info = info(member);
        format!("{}:{info}", json(id))
    });
    let hash: Vec<String> = hash.collect();
    let presence = Object::part()
        .raw("count", count)
        .raw("ids", format_args!("[{}]", ids.join(",")))
        .raw("hash", format_args!("{{{}}}", hash.join(",")));
    Object::part().raw("presence", presence.end()).end()
}

fn info(member: &Member) -> String {
    match member.info.is_empty() {
        true => "null".to_owned(),
        false => String::from_utf8_lossy(&member.info).into_owned(),
    }
}

/// The data of `member_added`.
pub(super) fn added(prefix: &str, member: &Member) -> String {
    Object::part()
        .text("user_id", &visible_user(prefix, member))
        .raw("user_info", info(member))
        .end()
}

/// The data of `member_removed`.
pub(super) fn removed(prefix: &str, member: &Member) -> String {
    let object = Object::part();
    object.text("user_id", &visible_user(prefix, member)).end()
}
