//! `GET stats`, and `GET explain`, which says why a user may or may not do something in a channel.

use offhook_engine::{Access, ChannelName, Pattern, Verbs};
use serde_json::{Value, json};

use super::{Call, Outcome, problem::Problem};
use crate::config::ChannelRule;

pub(super) fn stats(call: &Call<'_>) -> Value {
    let shared = &call.worker.shared;
    json!({
        "connections": shared.connections(),
        "sockets": shared.admission.open(),
        "unsent_bytes": shared.memory.connections().unsent,
        "memory": shared.memory.pressure().name(),
        "workers": shared.config.workers.get(),
        "uptime_seconds": shared.started.elapsed().as_secs(),
        "healthy": shared.broker.health().is_good(),
        "version": env!("CARGO_PKG_VERSION"),
        "ws_path": shared.config.ws_path,
        "backend": shared.backend.as_ref().map(|backend| backend.stats()),
        "pusher": shared.pusher.as_ref().map(|pusher| pusher.delivered().stats()),
    })
}

/// Reports the rule that applies, and what it requires. It takes the grants of every user into
/// account; those in a token are known only to the token's holder.
pub(super) fn explain(call: &Call<'_>) -> Outcome {
    let verb = call.query.need("verb")?;
    let user = call.query.get("user")?.unwrap_or_default();
    let one = |verbs: &Verbs| !matches!(*verbs, Verbs::ALL | Verbs::READ);
    let verbs = Verbs::named(verb).filter(one).ok_or_else(|| {
        Problem::bad("verb: expected publish, subscribe, history, presence, state or call")
    })?;
    if verbs == Verbs::CALL {
        return explain_call(call, user);
    }
    let channel = ChannelName::new(call.query.need("channel")?)?;
    let live = call.worker.live();
    let rules = live.config.effective_rules();
    let fits = |rule: &&ChannelRule| Pattern::new(&rule.pattern).matches(&channel);
    let Some(rule) = rules.iter().find(fits) else {
        return Ok(json!({
            "allowed": false,
            "because": format!("no rule matches channel {channel}: there is no such channel"),
        }));
    };
    let access = if verbs == Verbs::PUBLISH {
        rule.rules.publish
    } else {
        rule.rules.subscribe
    };
    let identity = call.worker.shared.auth.known_of(user);
    let allowed = identity.may(access, verbs, &channel);
    let because = because(access, allowed);
    Ok(json!({
        "allowed": allowed,
        "rule": rule.pattern,
        "because": because,
    }))
}

fn because(access: Access, allowed: bool) -> &'static str {
    match access {
        Access::Everyone => "everyone may",
        Access::Users if allowed => "every user may",
        Access::Users => "only users may, and no user was given",
        Access::Granted if allowed => "a grant that every user has (auth.grants) allows it",
        Access::Granted => {
            "only by a grant: none that every user has (auth.grants) allows it; \
             the user's token has to"
        }
        Access::Asked => "the backend decides",
        Access::Nobody => "only the server's own API may",
    }
}

/// Calls are permitted by the setting `backend.calls`, and by grants for methods.
fn explain_call(call: &Call<'_>, user: &str) -> Outcome {
    let method = call.query.need("method")?;
    let shared = &call.worker.shared;
    if shared.backend.is_none() {
        let because = "there is no backend to call (backend.url)";
        return Ok(json!({ "allowed": false, "because": because }));
    }
    let access = call.worker.live().config.backend.calls;
    let allowed = shared.auth.known_of(user).may_call(access, method);
    let because = match access {
        Access::Nobody => "nobody may call (backend.calls)",
        Access::Everyone | Access::Users | Access::Granted | Access::Asked => {
            because(access, allowed)
        }
    };
    Ok(json!({ "allowed": allowed, "because": because }))
}
