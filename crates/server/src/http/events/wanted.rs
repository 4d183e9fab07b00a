//! The parameters of a request, from its URL and `Last-Event-ID`.

use std::time::Duration;

use hyper::{HeaderMap, StatusCode};
use offhook_dialects::sse::{MAX_PADDING, MAX_TARGETS, Wanted};
use offhook_engine::{ChannelName, Filter, Since, Target};

use crate::{
    http::api::{Problem, Query, since},
    tokens::random_bytes,
    worker::Worker,
};

/// The minimum wait before a client reconnects; the maximum is twice as long, so that clients that
/// lost their streams at the same moment do not reconnect together.
const RETRY_MS: u64 = 1_500;

/// How often a comment is sent if keepalive is disabled. 15 s: half the default of
/// `keepalive.interval`.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub(super) fn read(worker: &Worker, query: &Query, headers: &HeaderMap) -> Result<Wanted, Problem> {
    let mut targets = Vec::new();
    for name in query.all("channel") {
        targets.push(Target::from(ChannelName::new(name)?));
    }
    for pattern in query.all("filter") {
        targets.push(Target::from(Filter::new(pattern)?));
    }
    if targets.is_empty() || targets.len() > MAX_TARGETS {
        let count = targets.len();
        return Err(Problem::bad(format!(
            "channel and filter: {count} were given in total; a stream has 1 to {MAX_TARGETS}. \
             A filter like news/# matches any number of channels"
        )));
    }
    let starts: Vec<_> = query.all("since").map(since).collect::<Result<_, _>>()?;
    let starts = match (&*starts, targets.len()) {
        ([], count) => vec![Since::Now; count],
        ([since], 1) => vec![*since],
        ([Since::Position(_)], _) => {
            let detail = "since: a position belongs to one channel; give one since for each channel, \
                          or last_event_id";
            return Err(Problem::bad(detail));
        }
        ([since], count) => vec![*since; count],
        (starts, count) if starts.len() == count => starts.to_vec(),
        (starts, count) => {
            let given = starts.len();
            return Err(Problem::bad(format!(
                "since: {given} were given for {count} channels and filters; give one for all, \
                 or one for each, those of channels first"
            )));
        }
    };
    let padding = query.number("padding", 0)?;
    let padding = usize::try_from(padding).unwrap_or(usize::MAX);
    if padding > MAX_PADDING {
        return Err(Problem::bad(format!(
            "padding: is {padding}; the limit is {MAX_PADDING}"
        )));
    }
    let keepalive = worker.shared.config.keepalive.interval;
    let random = random_bytes().map_or(0, u64::from_be_bytes);
    Ok(Wanted {
        targets: targets.into_iter().zip(starts).collect(),
        presence: switch(query, "presence")?,
        last_event_id: last_event_id(query, headers)?,
        retry: Some(Duration::from_millis(RETRY_MS + random % RETRY_MS)),
        // Half of the interval, because a comment has no answer whose timeout would be added.
        heartbeat: keepalive.map_or(HEARTBEAT, |interval| interval / 2),
        padding,
    })
}

/// The header is newer than the URL, which an `EventSource` never changes.
fn last_event_id(query: &Query, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let field = headers.get("last-event-id");
    // An id that is not UTF-8 does not come from this server, and leads to a gap.
    let field = field.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let id = match field.filter(|id| !id.is_empty()) {
        Some(id) => Some(id),
        None => query.get("last_event_id")?.map(str::to_owned),
    };
    Ok(id.filter(|id| !id.is_empty()))
}

fn switch(query: &Query, name: &str) -> Result<bool, Problem> {
    match query.get(name)? {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1" | "") => Ok(true),
        Some(_) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_request",
            format!("{name}: expected true or false"),
        )),
    }
}
