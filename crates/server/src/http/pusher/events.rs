//! `POST events` and `POST batch_events`.

use offhook_dialects::pusher::{CACHE_KEY, EVENT_TAG, Pusher, check_event, data_of, is_cache};
use offhook_engine::{Command, Refusal, Reply, SessionId, Tags};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{Call, Problem, reading};

/// The maximum number of channels of one event. 100: the limit of the original service.
const MAX_CHANNELS: usize = 100;
/// The maximum number of events in one batch. 100: ten times as many as in the original service.
const MAX_BATCH: usize = 100;

#[derive(Deserialize)]
struct Event {
    name: String,
    data: String,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    socket_id: Option<String>,
    #[serde(default)]
    info: Option<String>,
}

#[derive(Deserialize)]
struct Batch {
    batch: Vec<Event>,
}

/// A command, and the session that does not receive the publication.
type Publish = (Command, Option<SessionId>);

fn body<T: DeserializeOwned>(call: &Call<'_>) -> Result<T, Problem> {
    let bytes = &call.body.bytes;
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::bad("body: expected one JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|error| Problem::bad(format!("body: {error}")))
}

impl Event {
    fn channels(&self) -> Result<Vec<&str>, Problem> {
        let one = self.channel.iter();
        let all: Vec<&str> = one.chain(&self.channels).map(String::as_str).collect();
        if all.is_empty() || all.len() > MAX_CHANNELS {
            let count = all.len();
            let detail = format!("channels: {count} given; the limit is 1 to {MAX_CHANNELS}");
            return Err(Problem::bad(detail));
        }
        Ok(all)
    }

    fn commands(&self, call: &Call<'_>) -> Result<Vec<Publish>, Problem> {
        check_event(&self.name)?;
        let without = match &self.socket_id {
            None => None,
            Some(id) => {
                let detail = "socket_id: expected two numbers with a dot in between";
                let session = Pusher::session_of(id);
                Some(session.ok_or_else(|| Problem::bad(detail))?)
            }
        };
        let (data, format) = data_of(self.data.clone());
        let commands = self.channels()?.into_iter().map(|name| {
            let tags = [(EVENT_TAG, &*self.name), ("key", CACHE_KEY)];
            let count = if is_cache(name) { 2 } else { 1 };
            let command = Command::Publish {
                channel: call.channel(name)?,
                data: data.clone(),
                format,
                tags: Tags::new(tags.into_iter().take(count))?,
                key: None,
            };
            Ok((command, without))
        });
        commands.collect()
    }

    /// The information about the event's channels in the answer.
    fn info(&self, call: &Call<'_>) -> Result<Option<Map<String, Value>>, Problem> {
        let Some(info) = &self.info else {
            return Ok(None);
        };
        let mut channels = Map::new();
        for name in self.channels()? {
            let wanted = reading::Wanted::read(Some(info), name)?;
            channels.insert(name.to_owned(), wanted.of(call, name)?);
        }
        Ok(Some(channels))
    }
}

/// Publishes, and waits until everything is as durable as the server guarantees. Nothing is published
/// if the engine would refuse one of the commands: clients repeat the whole request, and the events
/// have no keys. If the broker fails in the middle, the others are published.
async fn publish(call: &Call<'_>, commands: Vec<Publish>) -> Result<(), Problem> {
    for (command, _) in &commands {
        let checked = call.worker.check_publish(command);
        checked.map_err(|refusal| refused(&channel_of(command), refusal))?;
    }
    let channels: Vec<String> = commands
        .iter()
        .map(|(command, _)| channel_of(command))
        .collect();
    let replies = call.worker.command_for(commands.into_iter()).await;
    for (reply, channel) in replies.into_iter().zip(channels) {
        if let Reply::Refused(refusal) = reply {
            return Err(refused(&channel, refusal));
        }
    }
    Ok(())
}

fn refused(channel: &str, refusal: Refusal) -> Problem {
    let detail = format!("{channel}: {}", refusal.detail);
    Problem::from(Refusal {
        detail: detail.into(),
        ..refusal
    })
}

fn channel_of(command: &Command) -> String {
    if let Command::Publish { channel, .. } = command {
        return channel.as_str().to_owned();
    }
    String::new()
}

/// Publishes one event to its channels.
pub(super) async fn one(call: &Call<'_>) -> Result<Value, Problem> {
    let event: Event = body(call)?;
    let info = event.info(call)?;
    publish(call, event.commands(call)?).await?;
    Ok(match info {
        None => json!({}),
        Some(channels) => json!({ "channels": channels }),
    })
}

/// Publishes several events, each to its channel, in order. Nothing is published if one of them is
/// invalid, too large, or for a channel without a rule.
pub(super) async fn batch(call: &Call<'_>) -> Result<Value, Problem> {
    let Batch { batch } = body(call)?;
    if batch.is_empty() || batch.len() > MAX_BATCH {
        let count = batch.len();
        let detail = format!("batch: {count} events; the limit is 1 to {MAX_BATCH}");
        return Err(Problem::bad(detail));
    }
    let mut commands = Vec::new();
    let (mut infos, mut has_info) = (Vec::new(), false);
    for event in &batch {
        if event.channel.is_none() || !event.channels.is_empty() {
            return Err(Problem::bad(
                "channel: each event of a batch needs exactly one channel",
            ));
        }
        commands.extend(event.commands(call)?);
        let info = event.info(call)?;
        has_info |= info.is_some();
        let of_channel = info.and_then(|info| info.into_values().next());
        infos.push(of_channel.unwrap_or_else(|| json!({})));
    }
    publish(call, commands).await?;
    Ok(match has_info {
        false => json!({}),
        true => json!({ "batch": infos }),
    })
}
