//! Talking to the channels of an Offhook server.

use std::{sync::Arc, time::Duration};

use offhook_client::{
    Client, ConnectionEvent, ConnectionEvents, Data, Event, Publication, Recovery, Subscription,
};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

use super::connection::quiet;
use super::keyboard::Typed;
use super::voice::Voice;
use super::{Channels, Dial};
use crate::screen::{BOLD, DIM, hex, shown};
use crate::{failure::Failure, signals::Signals};

/// Subscribes, prints, publishes.
pub(super) async fn talk(
    dial: &Dial,
    typed: mpsc::Receiver<Typed>,
    voice: Arc<Voice>,
) -> Result<String, Failure> {
    let mut signals = Signals::listen()?;
    let mut builder = Client::to(&dial.url);
    if let Some(token) = &dial.channels.token {
        builder = builder.token(token);
    }
    let mut asked = Ok(());
    builder = builder.connection(|connect| {
        dial.ask(connect.clone(), &voice).unwrap_or_else(|failure| {
            asked = Err(failure);
            connect
        })
    });
    asked?;
    let connected = tokio::select! {
        connected = builder.connect() => connected,
        () = signals.next() => return Ok("not connected".to_owned()),
    };
    let client = connected.map_err(|error| Failure::failed(&error))?;
    voice.tell(&format!("{BOLD}connected{BOLD:#} to {}", dial.url));
    let talk = Talk {
        dial,
        voice,
        client,
    };
    let ended = talk.run(typed, signals).await;
    talk.client.close().await;
    ended.map(|()| "closed".to_owned())
}

struct Talk<'a> {
    dial: &'a Dial,
    voice: Arc<Voice>,
    client: Client,
}

/// What the readers of subscriptions tell.
type Told = Result<(), Failure>;

impl Talk<'_> {
    async fn run(&self, typed: mpsc::Receiver<Typed>, mut signals: Signals) -> Told {
        let Channels {
            subscribe,
            publish,
            since,
            presence,
            ..
        } = &self.dial.channels;
        let (heard, mut hearing) = watch::channel(0_u64);
        let (ended, mut endings) = mpsc::channel(subscribe.len().max(1));
        for channel in subscribe {
            let mut subscribe = self.client.subscribe(channel).since(*since);
            if *presence {
                subscribe = subscribe.presence();
            }
            let subscription = subscribe.await.map_err(|error| Failure::failed(&error))?;
            let reader = self.reader(heard.clone());
            let ended = ended.clone();
            tokio::spawn(async move { ended.send(reader.read(subscription).await).await });
        }
        tokio::spawn(tell_of_the_connection(
            self.client.events(),
            Arc::clone(&self.voice),
        ));
        let channel = publish.as_ref().or(subscribe.first());
        let publishing = self.publish_all(channel, typed, hearing.clone());
        tokio::pin!(publishing);
        let count = self.dial.count;
        loop {
            tokio::select! {
                published = &mut publishing => return published,
                Some(ended) = endings.recv() => return ended,
                Ok(()) = hearing.changed() => {
                    if count.is_some_and(|count| *hearing.borrow() >= count) {
                        return Ok(());
                    }
                }
                () = signals.next() => return Ok(()),
            }
        }
    }

    fn reader(&self, heard: watch::Sender<u64>) -> Reader {
        Reader {
            voice: Arc::clone(&self.voice),
            heard,
            left: self.dial.count,
            is_json: self.dial.channels.json,
            names_channels: self.dial.channels.subscribe.len() > 1,
        }
    }

    async fn publish_all(
        &self,
        channel: Option<&String>,
        mut typed: mpsc::Receiver<Typed>,
        hearing: watch::Receiver<u64>,
    ) -> Told {
        while let Some(typed) = typed.recv().await {
            let line = match typed {
                Typed::Line(line) => line,
                Typed::Unreadable(why) => return Err(Failure::Failed(why)),
            };
            let Some(channel) = channel else { continue };
            let published = self.client.publish(channel, data(&line)).await;
            match published {
                Ok(_) => {}
                Err(error) if self.voice.is_conversation() => self.voice.tell(&error.to_string()),
                Err(error) => return Err(Failure::failed(&error)),
            }
        }
        let flushed = self.client.flush().await;
        flushed.map_err(|error| Failure::failed(&error))?;
        if !self.voice.is_conversation() {
            quiet(hearing, self.dial.linger).await;
        }
        Ok(())
    }
}

/// A line that is a JSON object, list or string is published as that, others as their text.
fn data(line: &str) -> Data {
    let is_value = line.trim_start().starts_with(['{', '[', '"']);
    let value = serde_json::from_str::<&RawValue>(line)
        .ok()
        .filter(|_| is_value);
    let json = value.and_then(|value| Data::from_json(value).ok());
    json.unwrap_or_else(|| Data::from(line))
}

/// Prints what a subscription brings.
struct Reader {
    voice: Arc<Voice>,
    heard: watch::Sender<u64>,
    /// How many are still wanted, if not all.
    left: Option<u64>,
    is_json: bool,
    names_channels: bool,
}

impl Reader {
    async fn read(self, mut subscription: Subscription) -> Told {
        let channel = subscription.channel().to_owned();
        loop {
            match subscription.next().await {
                Ok(Some(event)) => self.show(&channel, &event)?,
                Ok(None) => return Ok(()),
                Err(error) => return Err(Failure::failed(&error)),
            }
        }
    }

    fn show(&self, channel: &str, event: &Event) -> Told {
        match event {
            Event::Publication(publication) => {
                let is_wanted = self.left.is_none_or(|left| *self.heard.borrow() < left);
                if is_wanted {
                    self.voice.say(&self.line(channel, publication));
                    self.heard.send_modify(|count| *count += 1);
                }
            }
            Event::Gap(gap) => {
                let count = gap
                    .count()
                    .map_or_else(|| "some".to_owned(), |count| count.to_string());
                let reason = gap.reason.to_string();
                self.voice
                    .tell(&format!("{channel}: {count} missing ({})", shown(&reason)));
            }
            Event::Live { .. } => self.news(channel, "live"),
            Event::CatchingUp => self.news(channel, "catching up"),
            Event::Members(members) => {
                self.news(channel, &format!("{} here", members.total));
            }
            Event::Joined(member) => self.news(channel, &format!("{} came", name(member))),
            Event::Left(member) => self.news(channel, &format!("{} went", name(member))),
            _ => {}
        }
        self.voice
            .broken()
            .map_or(Ok(()), |error| Err(error.into()))
    }

    fn news(&self, channel: &str, text: &str) {
        self.voice.tell(&format!("{DIM}{channel}: {text}{DIM:#}"));
    }

    fn line(&self, channel: &str, publication: &Publication) -> String {
        if self.is_json {
            return json(channel, publication);
        }
        let data = text(&publication.data);
        if !self.voice.is_conversation() {
            return if self.names_channels {
                format!("{channel}\t{data}")
            } else {
                data
            };
        }
        let who = publication
            .user
            .as_deref()
            .or(publication.session.as_deref());
        let who: String = who.unwrap_or("server").chars().take(12).collect();
        format!("{DIM}{channel} {}{DIM:#}  {data}", shown(&who))
    }
}

fn name(member: &offhook_client::Member) -> String {
    let name = member.user.as_deref().unwrap_or(&member.session);
    shown(name).into_owned()
}

/// On one line.
fn text(data: &Data) -> String {
    match data.text() {
        Some(text) => shown(&text).into_owned(),
        None if data.is_json() => String::from_utf8_lossy(data.as_bytes()).into_owned(),
        None => hex(data.as_bytes()),
    }
}

#[derive(Serialize)]
struct Line<'a> {
    channel: &'a str,
    position: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    time: u64,
}

fn json(channel: &str, publication: &Publication) -> String {
    let data = &publication.data;
    let value = serde_json::from_slice(data.as_bytes())
        .ok()
        .filter(|_| data.is_json());
    let line = Line {
        channel,
        position: publication.position.to_string(),
        hex: value
            .is_none()
            .then(|| hex(data.as_bytes()).replace(' ', "")),
        data: value,
        user: publication.user.as_deref(),
        session: publication.session.as_deref(),
        key: publication.key.as_deref(),
        time: publication.time_ms,
    };
    // Texts and numbers can always be written.
    serde_json::to_string(&line).unwrap_or_default()
}

/// Says when the connection is lost, and when it is back.
async fn tell_of_the_connection(mut events: ConnectionEvents, voice: Arc<Voice>) {
    while let Some(event) = events.next().await {
        match event {
            ConnectionEvent::Open {
                recovery: Recovery::Resumed,
                ..
            } => voice.tell("back, resumed"),
            ConnectionEvent::Open {
                recovery: Recovery::Positions,
                ..
            } => voice.tell("back"),
            ConnectionEvent::Moving { after } => {
                voice.tell(&format!(
                    "the server is going away; back {}",
                    after_a(after)
                ));
            }
            ConnectionEvent::Lost { cause, pause } => {
                voice.tell(&format!(
                    "connection lost: {cause}; again {}",
                    after_a(pause)
                ));
            }
            ConnectionEvent::Held { cause, .. } => voice.tell(&format!("not taken yet: {cause}")),
            ConnectionEvent::Open { .. }
            | ConnectionEvent::Connecting { .. }
            | ConnectionEvent::GivenUp { .. }
            | _ => {}
        }
    }
}

fn after_a(pause: Duration) -> String {
    if pause < Duration::from_millis(50) {
        return "at once".to_owned();
    }
    format!("in {:.1} s", pause.as_secs_f64())
}
