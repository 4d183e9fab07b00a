//! `GET top`: the slowest connections and the busiest channels. An API key that is limited to some
//! channels receives only these channels and no connections, because a connection may use every
//! channel.

use std::{cmp::Reverse, collections::HashMap};

use offhook_engine::ChannelName;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{Call, Outcome, problem::Problem};
use crate::worker::{Order, Slow};

/// The default number of entries of each list: both lists fit on a screen together with the other
/// figures.
const SHOWN: u32 = 10;

/// The maximum number of entries of each list: the number of channels that a worker counts.
const MOST: u32 = 128;

pub(super) async fn top(call: &Call<'_>) -> Outcome {
    let limit = call.query.number("limit", SHOWN)?;
    if limit == 0 {
        return Err(Problem::bad("limit: is 0; the minimum is 1"));
    }
    let limit = limit.min(MOST) as usize;
    let orders = &call.worker.shared.orders;
    let asked: Vec<_> = (0..orders.workers())
        .map(|worker| {
            let (done, answer) = oneshot::channel();
            orders.give(worker, Order::Top { limit, done });
            answer
        })
        .collect();
    let (mut slowest, mut rates) = (Vec::new(), HashMap::<ChannelName, f64>::new());
    for answer in asked {
        // A worker that has ended has no connections.
        let Ok(top) = answer.await else { continue };
        slowest.extend(top.slowest);
        for (channel, rate) in top.busiest {
            *rates.entry(channel).or_default() += rate;
        }
    }
    let is_limited = !call.key.reaches_all();
    slowest.sort_by_key(|slow| Reverse(slow.unsent));
    slowest.truncate(limit);
    let mut busiest: Vec<_> = rates.into_iter().collect();
    busiest.retain(|(channel, _)| call.key.reaches(channel));
    busiest.sort_by(|(a, a_rate), (b, b_rate)| b_rate.total_cmp(a_rate).then_with(|| a.cmp(b)));
    busiest.truncate(limit);
    let busiest: Vec<Value> = busiest
        .into_iter()
        .map(|(channel, rate)| {
            json!({
                "channel": channel.as_str(),
                "publishes_per_second": (rate * 100.0).round() / 100.0,
            })
        })
        .collect();
    if is_limited {
        return Ok(json!({ "busiest": busiest }));
    }
    let slowest: Vec<Value> = slowest.iter().map(shown).collect();
    Ok(json!({ "slowest": slowest, "busiest": busiest }))
}

fn shown(slow: &Slow) -> Value {
    let mut shown = json!({
        "session": slow.session.to_string(),
        "worker": slow.worker,
        "unsent_bytes": slow.unsent,
        "subscriptions_behind": slow.behind,
    });
    if let Some(number) = slow.number {
        shown["connection"] = number.into();
    }
    if !slow.user.is_empty() {
        shown["user"] = (&*slow.user).into();
    }
    shown
}
