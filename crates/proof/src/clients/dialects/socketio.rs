//! Clients of Socket.IO with connection state recovery.

use std::time::Duration;

use offhook::Message;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::connection::{Connection, Lost, pause};
use super::{Publisher, Subscriber};
use crate::clients::Reporter;
use crate::plan::channel;

const PATH: &str = "/socket.io/?EIO=4&transport=websocket";

/// How long a client waits before it repeats an event that was refused, if the server does not say.
const REPEAT: Duration = Duration::from_millis(100);

/// What a client sends to recover its session.
#[derive(Default)]
struct Session {
    id: Option<String>,
    offset: Option<String>,
}

/// A connection to the main namespace.
struct Conversation {
    connection: Connection,
    is_recovered: bool,
    next_ack: u64,
}

/// A packet of the server.
enum Packet {
    /// An event with its arguments; the last one is the offset.
    Event(Vec<Value>),
    /// An acknowledgement.
    Ack(u64, Value),
}

impl Session {
    async fn open(&mut self, reporter: &Reporter, url: &str) -> Result<Conversation, Lost> {
        let connection = Connection::open(url, PATH, None).await?;
        let mut conversation = Conversation {
            connection,
            is_recovered: false,
            next_ack: 0,
        };
        let greeting = conversation.text().await?;
        if !greeting.starts_with("0{") {
            return Err(format!("not a greeting: {greeting}"));
        }
        let mut auth = json!({ "recover": true });
        if let Some(fields) = auth.as_object_mut() {
            let known = [("pid", &self.id), ("offset", &self.offset)];
            let known = known
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())));
            fields.extend(known);
        }
        conversation
            .connection
            .send_text(&format!("40{auth}"))
            .await?;
        let answer = conversation.text().await?;
        let entered = answer.strip_prefix("40").and_then(value);
        let entered = entered.ok_or_else(|| format!("not connected: {answer}"))?;
        let id = entered["pid"].as_str().map(str::to_owned);
        conversation.is_recovered = self.id.is_some() && id == self.id;
        let mut progress = reporter.progress();
        match (conversation.is_recovered, &self.id) {
            (true, _) => progress.resumed += 1,
            (false, Some(_)) => progress.by_position += 1,
            (false, None) => {}
        }
        self.id = id;
        Ok(conversation)
    }
}

fn value(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

impl Conversation {
    /// The next text that is not a ping, which is answered. Cancel safe, except for the answer.
    async fn text(&mut self) -> Result<String, Lost> {
        loop {
            match self.connection.next().await? {
                Some(Message::Text(text)) if &*text == "2" => {
                    self.connection.send_text("3").await?;
                }
                Some(Message::Text(text)) => return Ok(text.to_string()),
                Some(Message::Binary(_)) => return Err("an attachment".to_owned()),
                None => {}
            }
        }
    }

    async fn next(&mut self) -> Result<Packet, Lost> {
        let text = self.text().await?;
        let strange = || format!("not an event: {text}");
        if let Some(Value::Array(arguments)) = text.strip_prefix("42").and_then(value) {
            return Ok(Packet::Event(arguments));
        }
        let rest = text.strip_prefix("43").ok_or_else(strange)?;
        let at = rest.find('[').ok_or_else(strange)?;
        let (number, arguments) = rest.split_at(at);
        let answer = value(arguments).ok_or_else(strange)?;
        let number = number.parse().map_err(|_| strange())?;
        Ok(Packet::Ack(number, answer[0].clone()))
    }

    /// Emits an event that is acknowledged, and returns the number of the acknowledgement.
    async fn emit(&mut self, name: &str, fields: &Value) -> Result<u64, Lost> {
        self.next_ack += 1;
        let event = json!([name, fields]);
        let text = format!("42{}{event}", self.next_ack);
        self.connection.send_text(&text).await?;
        Ok(self.next_ack)
    }
}

/// Follows the channels of a subscriber for as long as the process runs.
pub(super) async fn subscribe(mut subscriber: Subscriber) {
    let mut session = Session::default();
    // The last position in each channel.
    let mut positions: Vec<Option<Value>> = vec![None; subscriber.readers.len()];
    let mut has_subscribed = vec![false; subscriber.readers.len()];
    loop {
        let ended = match session.open(&subscriber.reporter, &subscriber.url).await {
            Ok(conversation) => {
                let recovered = conversation.is_recovered;
                subscriber
                    .story
                    .add(format!("open (recovered: {recovered})"));
                if !recovered {
                    session.offset = None;
                    has_subscribed.fill(false);
                }
                follow(
                    &mut subscriber,
                    &mut session,
                    conversation,
                    &mut positions,
                    &mut has_subscribed,
                )
                .await
            }
            Err(lost) => Err(lost),
        };
        match ended {
            Ok(violation) => return subscriber.reporter.failed(&violation).await,
            Err(lost) => subscriber.lost(&lost),
        }
        pause().await;
    }
}

/// Returns a violation of the protocol, which ends the proof.
async fn follow(
    subscriber: &mut Subscriber,
    session: &mut Session,
    mut conversation: Conversation,
    positions: &mut [Option<Value>],
    has_subscribed: &mut [bool],
) -> Result<String, Lost> {
    let mut asked = Vec::new();
    for (index, reader) in subscriber.readers.iter().enumerate() {
        if has_subscribed[index] {
            continue;
        }
        let since = positions[index].clone().unwrap_or("start".into());
        let wish = json!({ "channel": channel(reader.channel()), "since": since });
        asked.push((conversation.emit("subscribe", &wish).await?, index));
    }
    loop {
        let mut event = match conversation.next().await? {
            Packet::Ack(number, answer) => {
                let index = asked.iter().find(|(ack, _)| *ack == number);
                let Some((_, index)) = index else {
                    return Ok(format!("an acknowledgement of nothing: {answer}"));
                };
                match answer["error"]["code"].as_str() {
                    // It was stored, but the answer was lost.
                    None | Some("already_subscribed") => has_subscribed[*index] = true,
                    Some(_) if answer["error"]["retry"] == "never" => {
                        return Ok(format!("a subscription was refused: {answer}"));
                    }
                    Some(code) => return Err(format!("refused for now: {code}")),
                }
                if has_subscribed.iter().all(|has| *has) {
                    subscriber.is_ready();
                }
                continue;
            }
            Packet::Event(event) => event,
        };
        let offset = event
            .pop()
            .and_then(|offset| Some(offset.as_str()?.to_owned()));
        session.offset = offset.or(session.offset.take());
        let [Value::String(name), fields] = &*event else {
            return Ok(format!("an event without fields: {event:?}"));
        };
        let index = subscriber
            .readers
            .iter()
            .position(|reader| fields["channel"] == *channel(reader.channel()));
        let Some(index) = index else {
            continue;
        };
        let reader = &subscriber.readers[index];
        match &**name {
            "publication" => {
                positions[index] =
                    Some(json!({ "epoch": fields["epoch"], "offset": fields["offset"] }));
                let offset = fields["offset"].as_u64().unwrap_or_default();
                let text = fields["data"].as_str().unwrap_or_default();
                let by = fields["session"].as_str().unwrap_or_default();
                if !reader.receive(&subscriber.reporter, offset, text, by) {
                    return Ok(format!(
                        "received a publication that was not made: {fields}"
                    ));
                }
            }
            "gap" => {
                positions[index] = Some(fields["to"].clone());
                reader.gap(
                    fields["to"]["offset"].as_u64().unwrap_or_default(),
                    &fields.to_string(),
                );
            }
            other => subscriber.story.add(format!("{other} {fields}")),
        }
    }
}

/// Publishes until it is told to stop and everything is acknowledged; returns how many events. Each is
/// emitted again, with its key, until it is acknowledged.
pub(super) async fn publish(mut publisher: Publisher) -> u64 {
    let mut session = Session::default();
    let mut number = 0;
    let mut is_waiting = false;
    loop {
        let ended = match session.open(&publisher.reporter, &publisher.url).await {
            Ok(conversation) => {
                converse(&mut publisher, conversation, &mut number, &mut is_waiting).await
            }
            Err(lost) => Err(lost),
        };
        match ended {
            Ok(Some(violation)) => {
                publisher.reporter.failed(&violation).await;
                return number;
            }
            Ok(None) => return number,
            Err(_lost) => publisher.reporter.progress().failures += 1,
        }
        pause().await;
    }
}

/// None once everything is acknowledged and nothing follows. `is_waiting` says whether the event with
/// this number was emitted, and may have been published.
async fn converse(
    publisher: &mut Publisher,
    mut conversation: Conversation,
    number: &mut u64,
    is_waiting: &mut bool,
) -> Result<Option<String>, Lost> {
    loop {
        if !*is_waiting {
            tokio::select! {
                is_next = publisher.is_next() => {
                    if !is_next {
                        return Ok(None);
                    }
                }
                // Pings are answered meanwhile.
                text = conversation.text() => {
                    let text = text?;
                    return Err(format!("not expected: {text}"));
                }
            }
        }
        *is_waiting = true;
        let fields = json!({
            "channel": channel(publisher.channel),
            "data": publisher.text(*number),
            "key": format!("{}-{number}", publisher.number),
        });
        let ack = conversation.emit("publish", &fields).await?;
        let answer = loop {
            match conversation.next().await? {
                Packet::Ack(of, answer) if of == ack => break answer,
                Packet::Ack(..) | Packet::Event(_) => {}
            }
        };
        if let Value::Object(error) = &answer["error"] {
            if error["retry"] == "never" {
                return Ok(Some(format!("a publication was refused: {answer}")));
            }
            let after = error.get("retry_after_ms").and_then(Value::as_u64);
            sleep(after.map_or(REPEAT, Duration::from_millis)).await;
            continue;
        }
        let mut progress = publisher.reporter.progress();
        progress.published += 1;
        progress.recognised += u64::from(answer["duplicate"] == true);
        drop(progress);
        *number += 1;
        *is_waiting = false;
    }
}
