//! `GET explain/delivery` explains why a client did or did not receive a publication. `GET
//! explain/connection` returns what is known about the connections of a user or a session.

use std::sync::Arc;

use offhook_engine::{
    Access, ChannelName, Command, ErrorCode, GapReason, Identity, Key, Pattern, Position, Refusal,
    Reply, Since, Verbs, Whom,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    Call, Outcome as Answer,
    fields::{channel, position, session_id},
    in_all::in_all,
    problem::Problem,
    reading::unexpected,
    recorded,
    time::shown,
    verdict::{Kind, Permission, Publication, Verdict, judge},
};
use crate::worker::{Known, Order, Outcome, Question, Sighting, Subject, What};

/// How many of a channel's newest publications are searched for a key. 2,000: a few pages of
/// history, which are read in a few milliseconds.
const SEARCHED: usize = 2_000;

/// The number of publications in one page of that search.
const PAGE: u32 = 500;

/// What is known about the publication in question.
enum Found {
    /// It is stored.
    Stored(Arc<offhook_engine::Publication>, Position),
    /// It is no longer stored, for this reason.
    Trimmed(Position, Position, GapReason),
    /// The channel keeps no history.
    NotKept(Position),
    /// It does not exist. The sentence explains why.
    NotThere(String),
}

/// Explains whether a publication reached a user, a session or a connection.
pub(super) async fn delivery(call: &Call<'_>) -> Answer {
    let subject = subject(call)?;
    let channel = channel(call.query.need("channel")?, call.key)?;
    let found = match (call.query.get("position")?, call.query.get("key")?) {
        (Some(at), None) => at_position(call, &channel, position("position", at)?).await?,
        (None, Some(key)) => with_key(call, &channel, &Key::new(key)?).await?,
        (Some(_), Some(_)) => {
            return Err(Problem::bad(
                "position and key: only one of them is allowed",
            ));
        }
        (None, None) => return Err(Problem::bad("position or key: is missing in the query")),
    };
    let (about, state) = match found {
        Found::NotThere(sentence) => {
            return Ok(json!({
                "verdict": Kind::NotPublished.name(),
                "sentence": sentence,
                "channel": channel.as_str(),
                "connections": [],
            }));
        }
        Found::Stored(publication, head) => (stored(&publication, head), "stored"),
        Found::Trimmed(at, head, reason) => (bare(&channel, at, Some(head)), reason.name()),
        Found::NotKept(at) => (bare(&channel, at, None), "not_kept"),
    };
    let question = Question {
        subject,
        channel: Some(channel),
        position: Some(about.position),
        key: None,
    };
    let known = ask(call, question).await;
    Ok(answer(call, &about, state, &known))
}

/// Returns what is known about the connections of a user or a session, or about one connection.
pub(super) async fn connection(call: &Call<'_>) -> Answer {
    if !call.key.reaches_all() {
        let detail =
            "this API key is limited to some channels; connections require a key for all channels";
        return Err(Refusal::new(ErrorCode::Forbidden, detail).into());
    }
    let question = Question {
        subject: subject(call)?,
        channel: None,
        position: None,
        key: None,
    };
    let known = ask(call, question).await;
    let connections = known.connections.iter().map(recorded::connection);
    let connections: Vec<Value> = connections.map(Value::from).collect();
    Ok(json!({
        "connections": connections,
        "more": known.more,
        "recorded": !known.is_off,
    }))
}

/// The user, session or connection in the query.
fn subject(call: &Call<'_>) -> Result<Subject, Problem> {
    let query = &call.query;
    match (
        query.get("user")?,
        query.get("session")?,
        query.get("connection")?,
    ) {
        (Some(""), None, None) => Err(Problem::bad("user: is empty")),
        (Some(user), None, None) => Ok(Subject::Whom(Whom::User(user.into()))),
        (None, Some(session), None) => Ok(Subject::Whom(Whom::Session(session_id(session)?))),
        (None, None, Some(_)) => Ok(Subject::Connection(query.number("connection", 0)?)),
        (None, None, None) => Err(Problem::bad(
            "user, session or connection: is missing in the query",
        )),
        _ => Err(Problem::bad(
            "user, session and connection: only one of them is allowed",
        )),
    }
}

async fn history(call: &Call<'_>, command: Command) -> Result<Reply, Refusal> {
    let mut replies = call.worker.command(vec![command]).await;
    match replies.pop() {
        Some(Reply::Refused(refusal)) => Err(refusal),
        Some(reply) => Ok(reply),
        None => Err(Refusal::new(ErrorCode::Busy, "there is no answer")),
    }
}

async fn at_position(
    call: &Call<'_>,
    channel: &ChannelName,
    at: Position,
) -> Result<Found, Problem> {
    let Some(before) = at.offset.checked_sub(1) else {
        return Err(Problem::bad(
            "position: its offset is 0, which precedes every publication",
        ));
    };
    let command = Command::History {
        channel: channel.clone(),
        since: Since::Position(Position::new(at.epoch.0, before)),
        limit: 1,
    };
    let reply = match history(call, command).await {
        Ok(reply) => reply,
        Err(refusal) if refusal.code == ErrorCode::NoHistory => return Ok(Found::NotKept(at)),
        Err(refusal) => return Err(refusal.into()),
    };
    let Reply::History {
        head,
        publications,
        gap,
        ..
    } = &reply
    else {
        return Err(unexpected(&reply));
    };
    let first = publications.first();
    if let Some(publication) = first.filter(|first| first.position == at) {
        return Ok(Found::Stored(Arc::clone(publication), *head));
    }
    if at.offset > head.offset {
        return Ok(Found::NotThere(format!(
            "position {at} has not been published: the newest of channel {channel} is {head}"
        )));
    }
    if let Some(other) = first.filter(|first| first.position.offset == at.offset) {
        return Ok(Found::NotThere(format!(
            "position {at} is not part of channel {channel}: the publication with this offset is {}",
            other.position
        )));
    }
    match gap {
        Some(
            reason @ (GapReason::EpochChanged | GapReason::Diverged | GapReason::UnknownPosition),
        ) => {
            let why = reason.name();
            Ok(Found::NotThere(format!(
                "position {at} is not part of channel {channel}, whose newest is {head}: {why}"
            )))
        }
        Some(reason) => Ok(Found::Trimmed(at, *head, *reason)),
        None => Ok(Found::Trimmed(at, *head, GapReason::EvictedBySize)),
    }
}

/// Finds the newest publication with a key, among those that are stored or in the records of
/// publishers' connections.
async fn with_key(call: &Call<'_>, channel: &ChannelName, key: &Key) -> Result<Found, Problem> {
    if let Some(found) = search(call, channel, key).await? {
        return Ok(found);
    }
    let question = Question {
        subject: Subject::Nobody,
        channel: Some(channel.clone()),
        position: None,
        key: Some(key.clone()),
    };
    let recorded = ask(call, question).await.published;
    let named = format!(
        "the publication with key {:?} to channel {channel}",
        key.as_str()
    );
    let Some(entry) = recorded else {
        return Ok(Found::NotThere(format!(
            "{named} is not known: it is not among the {SEARCHED} newest stored ones, and no \
             connection that is recorded has requested it"
        )));
    };
    let when = shown(entry.at_ms);
    let What::Published { outcome, .. } = entry.what else {
        return Ok(Found::NotThere(format!("{named} is not known")));
    };
    match outcome {
        Outcome::Published { position, .. } => at_position(call, channel, position).await,
        Outcome::Pending => Ok(Found::NotThere(format!(
            "{named} was requested at {when}, and has not been answered yet"
        ))),
        Outcome::Refused(why) => Ok(Found::NotThere(format!(
            "{named} was refused at {when}: {}: {}",
            why.code, why.detail
        ))),
    }
}

async fn search(
    call: &Call<'_>,
    channel: &ChannelName,
    key: &Key,
) -> Result<Option<Found>, Problem> {
    let mut command = Command::History {
        channel: channel.clone(),
        since: Since::Last(PAGE),
        limit: PAGE,
    };
    let mut searched = 0;
    while searched < SEARCHED {
        let reply = match history(call, command).await {
            Ok(reply) => reply,
            Err(refusal) if refusal.code == ErrorCode::NoHistory => return Ok(None),
            Err(refusal) => return Err(refusal.into()),
        };
        let Reply::History {
            head, publications, ..
        } = &reply
        else {
            return Err(unexpected(&reply));
        };
        let mut newest_first = publications.iter().rev();
        if let Some(found) = newest_first.find(|one| one.key.as_ref() == Some(key)) {
            return Ok(Some(Found::Stored(Arc::clone(found), *head)));
        }
        let Some(oldest) = publications.first() else {
            break;
        };
        searched += publications.len();
        command = Command::HistoryBefore {
            channel: channel.clone(),
            before: oldest.position,
            limit: PAGE,
        };
    }
    Ok(None)
}

fn stored(publication: &offhook_engine::Publication, head: Position) -> Publication {
    Publication {
        sequence: Some(publication.sequence),
        publisher: publication.publisher.as_ref().map(|by| by.session),
        time_ms: Some(publication.time_ms),
        ..bare(&publication.channel, publication.position, Some(head))
    }
}

fn bare(channel: &ChannelName, position: Position, head: Option<Position>) -> Publication {
    Publication {
        channel: channel.clone(),
        position,
        sequence: None,
        publisher: None,
        head,
        time_ms: None,
    }
}

/// Asks all workers, and merges their answers.
async fn ask(call: &Call<'_>, question: Question) -> Known {
    let orders = &call.worker.shared.orders;
    let question = Arc::new(question);
    let asked: Vec<_> = (0..orders.workers())
        .map(|worker| {
            let (done, answer) = oneshot::channel();
            let question = Arc::clone(&question);
            orders.give(worker, Order::Know { question, done });
            answer
        })
        .collect();
    let mut all = Known::default();
    for answer in asked {
        // A worker that has ended knows nothing.
        let Ok(known) = answer.await else { continue };
        all.connections.extend(known.connections);
        all.more |= known.more;
        all.is_off |= known.is_off;
        all.forgotten_ms = all.forgotten_ms.max(known.forgotten_ms);
        let newer = |new: &crate::worker::Entry| {
            all.published
                .as_ref()
                .is_none_or(|old| old.at_ms < new.at_ms)
        };
        if let Some(published) = known.published.filter(newer) {
            all.published = Some(published);
        }
    }
    // Open connections first, then those that ended most recently.
    all.connections
        .sort_by_key(|one| std::cmp::Reverse(one.ended.as_ref().map_or(u64::MAX, |(at, _)| *at)));
    all
}

/// Whether a session may subscribe to the channel, and the rule that decides this.
fn permission(call: &Call<'_>, channel: &ChannelName, seen: &Sighting) -> Permission {
    let live = call.worker.live();
    let Some(rules) = live.rules.rules(channel) else {
        return Permission {
            allowed: false,
            because: format!("no rule matches channel {channel}"),
        };
    };
    let access = rules.subscribe;
    let configured = live.config.effective_rules();
    let mut configured = configured.iter();
    let rule = configured.find(|rule| Pattern::new(&rule.pattern).matches(channel));
    let rule = rule.map_or("", |rule| rule.pattern.as_str());
    let identity = match &seen.identity {
        Some(identity) => Arc::clone(identity),
        None => Arc::new(call.worker.shared.auth.known_of(&seen.user)),
    };
    let allowed = identity.may(access, Verbs::SUBSCRIBE, channel);
    let because = match access {
        Access::Everyone => "lets everyone subscribe".to_owned(),
        Access::Users => "lets users subscribe, but not clients without a name".to_owned(),
        Access::Granted => format!(
            "requires a grant; {}",
            grants(call, &identity, channel, seen)
        ),
        Access::Asked => "leaves it to the backend".to_owned(),
        Access::Nobody => "lets only the server's own API subscribe a session".to_owned(),
    };
    Permission {
        allowed,
        because: format!("rule {rule:?} {because}"),
    }
}

/// How many grants are named. 8: the sentence stays readable.
const GRANTS: usize = 8;

fn grants(call: &Call<'_>, identity: &Identity, channel: &ChannelName, seen: &Sighting) -> String {
    // An API key that is limited to some channels learns nothing about others.
    let is_limited = !call.key.reaches_all();
    let whose = match seen.ended {
        None => "its grants are",
        // The grants of its token are not recorded.
        Some(_) => "the grants that every user has are",
    };
    let grants = identity.grants.iter();
    let grants = grants.filter(|grant| !is_limited || grant.pattern.matches(channel));
    let grants = grants.take(GRANTS);
    let grants: Vec<String> = grants
        .map(|grant| format!("{} {}", grant.verbs, grant.pattern.as_str()))
        .collect();
    match grants.is_empty() {
        true if is_limited => format!("{whose} none for this channel"),
        true => format!("{whose} none"),
        false => format!("{whose} {}", grants.join(", ")),
    }
}

fn answer(call: &Call<'_>, about: &Publication, state: &str, known: &Known) -> Value {
    let verdicts: Vec<Verdict> = known
        .connections
        .iter()
        .map(|seen| {
            let permission = permission(call, &about.channel, seen);
            // Records about the publication were made when it was published, or later.
            let is_older = about.time_ms.is_none_or(|time| known.forgotten_ms >= time);
            let forgotten = known.is_off || (known.forgotten_ms > 0 && is_older);
            judge(seen, about, &permission, forgotten)
        })
        .collect();
    let judged: Vec<(&Sighting, &Verdict)> = known.connections.iter().zip(&verdicts).collect();
    let mut whole = in_all(&judged, known);
    let misses = [Kind::Behind, Kind::Disconnected, Kind::Opening];
    if !matches!(state, "stored" | "not_kept") && misses.contains(&whole.kind) {
        whole.sentence.push_str(&format!(
            "; it is no longer stored ({state}), so that a client that continues from there is told \
             of a gap"
        ));
    }
    let mut publication = json!({ "position": about.position.to_string(), "state": state });
    if let Some(head) = about.head {
        publication["head"] = head.to_string().into();
    }
    if let Some(time_ms) = about.time_ms {
        publication["time"] = time_ms.into();
    }
    let connections = judged.iter().map(|(seen, verdict)| {
        let mut shown = recorded::connection(seen);
        shown.insert("verdict".to_owned(), verdict.kind.name().into());
        shown.insert("sentence".to_owned(), verdict.sentence.as_str().into());
        if let Some(count) = verdict.behind_by {
            shown.insert("behind_by".to_owned(), count.into());
        }
        Value::from(shown)
    });
    let connections: Vec<Value> = connections.collect();
    let mut answer = json!({
        "verdict": whole.kind.name(),
        "sentence": whole.sentence,
        "channel": about.channel.as_str(),
        "publication": publication,
        "connections": connections,
        "more": known.more,
        "recorded": !known.is_off,
    });
    if let Some(count) = whole.behind_by {
        answer["behind_by"] = count.into();
    }
    answer
}
