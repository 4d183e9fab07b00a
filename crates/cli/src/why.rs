//! `offhook explain`: why a user did or did not receive a publication.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use serde_json::Value;
use tokio::{runtime::Builder, time::sleep};

use crate::{
    api::{Api, Server, query},
    failure::Failure,
    screen::{self, BOLD, DIM},
};

/// Explain why a user did or did not receive a publication.
///
/// Asks a running server, over its HTTP API: what its subscriptions have delivered, what clients
/// have proven to have received, and what its flight recorder contains about refusals, gaps and
/// connections that have ended. Without a publication, prints everything that is known about the
/// connections.
///
/// If the publication was delivered but receipt is not proven, the server pings the client, and
/// this command waits up to a second for the result.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Explain {
    /// The user's name
    #[arg(long, value_name = "NAME", required_unless_present_any = ["session", "connection"])]
    user: Option<String>,
    /// The session, 32 hexadecimal digits
    #[arg(long, value_name = "ID", conflicts_with = "user")]
    session: Option<String>,
    /// The connection's number, as in the server's log
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["user", "session"])]
    connection: Option<u32>,
    /// The channel of the publication
    #[arg(long, value_name = "NAME", requires = "publication")]
    channel: Option<String>,
    /// The publication's position, such as 1700000000000000.42
    #[arg(
        long,
        value_name = "POSITION",
        requires = "channel",
        group = "publication"
    )]
    position: Option<String>,
    /// The publication's idempotency key, instead of its position
    #[arg(long, value_name = "KEY", requires = "channel", group = "publication")]
    idempotency_key: Option<String>,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

const EXAMPLES: &str = "\
Examples:
  offhook explain --user ann --channel chat --position 1700000000000000.42
  offhook explain --user ann --channel orders --idempotency-key order-7
  offhook explain --user ann                                    what is known of ann's connections
  offhook explain --connection 17                               of a connection in the log

OFFHOOK_ADMIN_KEY has the API key (scope admin).

Exit codes: 0 explained, whatever the verdict; 1 the server cannot be asked, or refuses; 2 invalid
flags.";

/// How often the server is asked again for a receipt, and the pause before each time.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

impl Explain {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let done = runtime.block_on(self.explain());
        runtime.shutdown_background();
        Ok(screen::print(&done?)?)
    }

    async fn explain(&self) -> Result<String, Failure> {
        let mut api = self.server.api()?;
        let connection = self.connection.map(|number| number.to_string());
        let parameters = [
            ("user", &self.user),
            ("session", &self.session),
            ("connection", &connection),
            ("channel", &self.channel),
            ("position", &self.position),
            ("key", &self.idempotency_key),
        ];
        let given = parameters.iter();
        let given: Vec<(&str, &str)> = given
            .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
            .collect();
        let query = query(&given);
        let answer = match self.channel {
            Some(_) => delivery(&mut api, &query).await?,
            None => api.json(&format!("explain/connection{query}")).await?,
        };
        if self.json {
            let text = serde_json::to_string_pretty(&answer);
            return Ok(text.map_err(|error| Failure::failed(&error))? + "\n");
        }
        let now_ms = now_ms();
        let mut page = String::new();
        if self.channel.is_some() {
            verdict(&mut page, &answer, now_ms);
        }
        connections(&mut page, &answer, now_ms);
        Ok(page)
    }
}

/// Asks the server until the receipt is known, or has not arrived after several attempts.
async fn delivery(api: &mut Api, query: &str) -> Result<Value, Failure> {
    let path = format!("explain/delivery{query}");
    let mut answer = api.json(&path).await?;
    for _ in 0..ATTEMPTS {
        if !may_be_receipted(&answer) {
            break;
        }
        sleep(PAUSE).await;
        answer = api.json(&path).await?;
    }
    Ok(answer)
}

/// Whether a receipt may still arrive: the publication was delivered to an open connection that has
/// no unsent bytes.
fn may_be_receipted(answer: &Value) -> bool {
    let connections = answer["connections"].as_array();
    let mut connections = connections.into_iter().flatten();
    answer["verdict"] == "delivered"
        && connections.any(|one| {
            one["verdict"] == "delivered" && one["open"] == true && one["unsent_bytes"] == 0
        })
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Text from the server, with control characters escaped.
fn text(value: &Value) -> String {
    match value.as_str() {
        Some(text) => screen::shown(text).into_owned(),
        None => value.to_string(),
    }
}

/// `3 s ago`.
fn ago(at_ms: &Value, now_ms: u64) -> String {
    let past = now_ms.saturating_sub(at_ms.as_u64().unwrap_or(now_ms)) / 1_000;
    match past {
        0..120 => format!("{past} s ago"),
        120..7_200 => format!("{} min ago", past / 60),
        7_200..172_800 => format!("{} h ago", past / 3_600),
        _ => format!("{} d ago", past / 86_400),
    }
}

// Writing to a String never fails, here and below.
fn verdict(page: &mut String, answer: &Value, now_ms: u64) {
    let (word, sentence) = (text(&answer["verdict"]), text(&answer["sentence"]));
    let _ = writeln!(page, "{BOLD}{word}{BOLD:#}: {sentence}");
    let publication = &answer["publication"];
    if publication.is_null() {
        return;
    }
    let mut about = format!(
        "publication {} of channel {}",
        text(&publication["position"]),
        text(&answer["channel"])
    );
    if publication["time"].is_u64() {
        let _ = write!(about, ", published {}", ago(&publication["time"], now_ms));
    }
    let _ = match publication["state"].as_str() {
        Some("stored") => write!(about, ", is stored"),
        Some("not_kept") => write!(about, "; the channel keeps no history"),
        _ => write!(
            about,
            ", is no longer stored: {}",
            text(&publication["state"])
        ),
    };
    if publication["head"].is_string() {
        let _ = write!(about, "; the newest is {}", text(&publication["head"]));
    }
    let _ = writeln!(page, "{DIM}{about}{DIM:#}");
}

fn connections(page: &mut String, answer: &Value, now_ms: u64) {
    let all = answer["connections"].as_array();
    let all = all.map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() && answer["verdict"].is_null() {
        let _ = writeln!(
            page,
            "no connection is known: none is open, and no ended one is recorded"
        );
    }
    for one in all {
        connection(page, one, now_ms);
    }
    if answer["more"] == true {
        let _ = writeln!(page, "there are more connections; name a session");
    }
    if answer["recorded"] == false {
        let _ = writeln!(page, "the recorder is switched off (recorder.bytes)");
    }
}

fn connection(page: &mut String, one: &Value, now_ms: u64) {
    let mut head = match one["connection"].as_u64() {
        Some(number) => format!("connection {number}"),
        None => "a connection".to_owned(),
    };
    if one["user"].is_string() {
        let _ = write!(head, " of {}", text(&one["user"]));
    }
    let _ = write!(head, ", session {}", text(&one["session"]));
    if one["open"] == true {
        let _ = write!(head, ", open");
    } else {
        let _ = write!(head, ", ended {}", ago(&one["ended"], now_ms));
        let _ = write!(head, " ({})", text(&one["end"]));
    }
    let _ = writeln!(page, "\n{BOLD}{head}{BOLD:#}");
    if one["verdict"].is_string() {
        let _ = writeln!(
            page,
            "  {}: {}",
            text(&one["verdict"]),
            text(&one["sentence"])
        );
    }
    if let Some(unsent) = one["unsent_bytes"].as_u64().filter(|unsent| *unsent > 0) {
        let _ = writeln!(page, "  {unsent} bytes are unsent");
    }
    for subscription in one["subscriptions"].as_array().into_iter().flatten() {
        let _ = write!(page, "  {}: ", target(subscription));
        let _ = write!(page, "{}", text(&subscription["state"]));
        if subscription["position"].is_string() {
            let _ = write!(page, ", up to {}", text(&subscription["position"]));
        }
        if subscription["received"].is_u64() {
            let received = text(&subscription["received"]);
            let _ = write!(page, ", received up to offset {received}");
        }
        let _ = writeln!(page);
    }
    for entry in both(one) {
        let when = ago(&entry["time"], now_ms);
        let _ = writeln!(page, "  {DIM}{when:>10}{DIM:#}  {}", happened(entry));
    }
}

/// Decisions and messages, merged in order of time.
fn both(one: &Value) -> Vec<&Value> {
    let decisions = one["decisions"].as_array().into_iter().flatten();
    let messages = one["messages"].as_array().into_iter().flatten();
    let mut both: Vec<&Value> = decisions.chain(messages).collect();
    both.sort_by_key(|entry| entry["time"].as_u64());
    both
}

fn target(of: &Value) -> String {
    let mut target = match (of["filter"].as_str(), of["channel"].as_str()) {
        (Some(filter), Some(channel)) => format!("filter {filter}, channel {channel}"),
        (Some(filter), None) => format!("filter {filter}"),
        (None, Some(channel)) => format!("channel {channel}"),
        (None, None) => String::new(),
    };
    if of["subscription"].is_u64() {
        let _ = write!(target, ", subscription {}", of["subscription"]);
    }
    screen::shown(&target).into_owned()
}

/// Describes one entry in a few words.
fn happened(entry: &Value) -> String {
    let mut words = text(&entry["what"]);
    if entry["verb"].is_string() {
        let _ = write!(words, " {}", text(&entry["verb"]));
    }
    if entry["method"].is_string() {
        let _ = write!(words, " {}", text(&entry["method"]));
    }
    let target = target(entry);
    if !target.is_empty() {
        let _ = write!(words, " {target}");
    }
    if entry["bytes"].is_u64() {
        let _ = write!(words, ", {} bytes", entry["bytes"]);
    }
    if entry["key"].is_string() {
        let _ = write!(words, ", key {}", text(&entry["key"]));
    }
    if entry["from"].is_string() {
        let (from, to) = (text(&entry["from"]), text(&entry["to"]));
        let _ = write!(words, " from {from} to {to}");
    }
    if entry["position"].is_string() {
        let _ = write!(words, " at {}", text(&entry["position"]));
    }
    for name in ["reason", "code", "detail"] {
        if entry[name].is_string() {
            let _ = write!(words, ": {}", text(&entry[name]));
        }
    }
    if entry["times"].is_u64() {
        let _ = write!(words, " ({} times)", entry["times"]);
    }
    words
}
