//! `GET rules`: the rules of channels that apply, including those of the server's own pages.

use std::time::Duration;

use offhook_engine::{Access, ErrorCode, Refusal, SlowPolicy};
use serde_json::{Value, json};

use super::{Call, Outcome};
use crate::config::ChannelRule;

/// The rules, in the order in which they are tried. A key that is limited to some channels gets none,
/// because patterns name other channels.
pub(super) fn rules(call: &Call<'_>) -> Outcome {
    if !call.key.reaches_all() {
        let detail =
            "this API key is limited to some channels; the rules require a key for all channels";
        return Err(Refusal::new(ErrorCode::Forbidden, detail).into());
    }
    let live = call.worker.live();
    let rules = live.config.effective_rules();
    let rules: Vec<Value> = rules.iter().map(shown).collect();
    Ok(json!({ "rules": rules, "calls": access(live.config.backend.calls) }))
}

fn shown(rule: &ChannelRule) -> Value {
    let rules = &rule.rules;
    let (history, state) = (&rules.history, &rules.state);
    json!({
        "pattern": rule.pattern,
        "publish": access(rules.publish),
        "subscribe": access(rules.subscribe),
        "presence": rules.presence,
        "slow": slow(rules.slow),
        "notify": rules.notify,
        "key_window_seconds": rules.key_window.as_secs(),
        "history": kept(history.count, history.bytes, history.age),
        "state": kept(state.count, state.bytes, state.age),
    })
}

fn kept(count: u64, bytes: u64, age: Option<Duration>) -> Value {
    let mut shown = json!({ "count": count, "bytes": bytes });
    if let Some(age) = age {
        shown["age_seconds"] = age.as_secs().into();
    }
    shown
}

/// The value of the settings `publish` and `subscribe`.
const fn access(access: Access) -> &'static str {
    match access {
        Access::Everyone => "everyone",
        Access::Users => "users",
        Access::Granted => "granted",
        Access::Asked => "backend",
        Access::Nobody => "nobody",
    }
}

/// The value of the setting `slow`.
const fn slow(policy: SlowPolicy) -> &'static str {
    match policy {
        SlowPolicy::DropOldest => "drop_oldest",
        SlowPolicy::LatestByKey => "latest_by_key",
        SlowPolicy::State => "state",
        SlowPolicy::Disconnect => "disconnect",
    }
}
