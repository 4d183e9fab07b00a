//! Using the channels of an Offhook server.

mod publications;

use std::{sync::Arc, time::Duration};

use offhook_client::{Client, ConnectionEvent, ConnectionEvents, Data, Recovery};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

use self::publications::{Reader, name, text};
use super::commands::{Entry, unknown};
use super::input::Typed;
use super::lines::quiet;
use super::output::Output;
use super::{Channels, Dial};
use crate::screen::{BOLD, shown};
use crate::{failure::Failure, signals::Signals};

/// Subscribes, prints, publishes.
pub(super) async fn talk(
    dial: &Dial,
    url: &str,
    typed: mpsc::Receiver<Typed>,
    output: Arc<Output>,
) -> Result<String, Failure> {
    let mut signals = Signals::listen()?;
    let mut builder = Client::to(url);
    if let Some(token) = &dial.channels.token {
        builder = builder.token(token);
    }
    let mut asked = Ok(());
    builder = builder.connection(|connect| {
        dial.ask(connect.clone(), &output)
            .unwrap_or_else(|failure| {
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
    output.note(&format!("{BOLD}connected{BOLD:#} to {url}"));
    let talk = Talk {
        dial,
        output,
        client,
    };
    let ended = talk.run(typed, signals).await;
    talk.client.close().await;
    ended.map(|()| "closed".to_owned())
}

struct Talk<'a> {
    dial: &'a Dial,
    output: Arc<Output>,
    client: Client,
}

/// How a subscription or the input ended.
type Ended = Result<(), Failure>;

impl Talk<'_> {
    async fn run(&self, typed: mpsc::Receiver<Typed>, mut signals: Signals) -> Ended {
        let Channels {
            subscribe,
            filter,
            publish,
            since,
            presence,
            ..
        } = &self.dial.channels;
        let (received, mut receiving) = watch::channel(0_u64);
        let (ended, mut endings) = mpsc::channel((subscribe.len() + filter.len()).max(1));
        let channels = subscribe.iter().map(|name| self.client.subscribe(name));
        let filters = filter
            .iter()
            .map(|filter| self.client.subscribe_filter(filter));
        for subscribe in channels.chain(filters) {
            let mut subscribe = subscribe.since(*since);
            if *presence {
                subscribe = subscribe.presence();
            }
            let subscription = subscribe.await.map_err(|error| Failure::failed(&error))?;
            let reader = self.reader(received.clone());
            let ended = ended.clone();
            tokio::spawn(async move { ended.send(reader.read(subscription).await).await });
        }
        tokio::spawn(report_connection(
            self.client.events(),
            Arc::clone(&self.output),
        ));
        let channel = publish.as_ref().or(subscribe.first());
        let publishing = self.publish_all(channel, typed, receiving.clone());
        tokio::pin!(publishing);
        let count = self.dial.count;
        loop {
            tokio::select! {
                published = &mut publishing => return published,
                Some(ended) = endings.recv() => return ended,
                Ok(()) = receiving.changed() => {
                    if count.is_some_and(|count| *receiving.borrow() >= count) {
                        return Ok(());
                    }
                }
                () = signals.next() => return Ok(()),
            }
        }
    }

    fn reader(&self, received: watch::Sender<u64>) -> Reader {
        Reader {
            output: Arc::clone(&self.output),
            received,
            left: self.dial.count,
            is_json: self.dial.channels.json,
            names_channels: self.dial.channels.subscribe.len() > 1
                || !self.dial.channels.filter.is_empty(),
        }
    }

    async fn publish_all(
        &self,
        channel: Option<&String>,
        mut typed: mpsc::Receiver<Typed>,
        received: watch::Receiver<u64>,
    ) -> Ended {
        let mut channel = channel.cloned();
        while let Some(typed) = typed.recv().await {
            match typed {
                Typed::Line(line) if self.output.is_interactive() => {
                    if self.enter(&line, &mut channel).await {
                        return Ok(());
                    }
                }
                Typed::Line(line) => {
                    if let Some(channel) = &channel {
                        let published = self.client.publish(channel, data(&line)).await;
                        published.map_err(|error| Failure::failed(&error))?;
                    }
                }
                Typed::Unreadable(why) => return Err(Failure::Failed(why)),
            }
        }
        let flushed = self.client.flush().await;
        flushed.map_err(|error| Failure::failed(&error))?;
        if self.output.is_interactive() {
            return Ok(());
        }
        // The end of a pipe ends publishing. Subscriptions continue.
        let default = (!self.dial.channels.are_read()).then_some(Duration::ZERO);
        quiet(received, self.dial.linger.or(default)).await;
        Ok(())
    }

    /// A typed line: published, or run as a command. `true` if the user wants to leave.
    async fn enter(&self, line: &str, channel: &mut Option<String>) -> bool {
        let (word, rest) = match Entry::read(line) {
            Entry::Message(text) => {
                self.publish(channel.as_ref(), text).await;
                return false;
            }
            Entry::Command { word, rest } => (word, rest),
        };
        match word {
            "help" => self.output.note(HELP),
            "members" => self.members(channel.as_ref()).await,
            "publish" if rest.is_empty() => {
                self.output
                    .note("error: /publish requires the name of a channel");
            }
            "publish" => {
                self.output
                    .note(&format!("lines are published in {}", shown(rest)));
                *channel = Some(rest.to_owned());
            }
            "close" => return true,
            _ => self.output.note(&unknown(word)),
        }
        false
    }

    async fn publish(&self, channel: Option<&String>, text: &str) {
        let Some(channel) = channel else {
            let why = "error: no channel to publish in; /publish CHANNEL chooses one";
            return self.output.note(why);
        };
        if let Err(error) = self.client.publish(channel, data(text)).await {
            self.output.note(&error.to_string());
        }
    }

    async fn members(&self, channel: Option<&String>) {
        let Some(channel) = channel else {
            return self.output.note("error: no channel was given");
        };
        match self.client.presence(channel).await {
            Ok(members) => {
                let names: Vec<String> = members.members.iter().map(name).collect();
                let total = members.total;
                self.output
                    .note(&format!("{total} here: {}", names.join(", ")));
            }
            Err(error) => self.output.note(&error.to_string()),
        }
    }
}

const HELP: &str = "\
/members               list who is subscribed to the channel
/publish CHANNEL       publish the following lines in this channel
/close                 leave; Ctrl-D does the same
//text                 publish /text
anything else          publish it: a JSON object, list or string as that, any other line as text";

/// A line that is a JSON object, list or string is published as JSON; any other line as text.
fn data(line: &str) -> Data {
    let is_value = line.trim_start().starts_with(['{', '[', '"']);
    let value = serde_json::from_str::<&RawValue>(line)
        .ok()
        .filter(|_| is_value);
    let json = value.and_then(|value| Data::from_json(value).ok());
    json.unwrap_or_else(|| Data::from(line))
}

/// Reports when the connection was lost, and when it is open again.
async fn report_connection(mut events: ConnectionEvents, output: Arc<Output>) {
    while let Some(event) = events.next().await {
        match event {
            ConnectionEvent::Open {
                recovery: Recovery::Resumed,
                ..
            } => output.note("connected again, resumed"),
            ConnectionEvent::Open {
                recovery: Recovery::Positions,
                ..
            } => output.note("connected again"),
            ConnectionEvent::Moving { after } => {
                output.note(&format!(
                    "the server is going away; connecting again {}",
                    self::after(after)
                ));
            }
            ConnectionEvent::Lost { cause, pause } => {
                output.note(&format!(
                    "connection lost: {cause}; connecting again {}",
                    after(pause)
                ));
            }
            ConnectionEvent::Held { cause, .. } => {
                output.note(&format!("not published yet: {cause}"))
            }
            ConnectionEvent::Told { data } => output.note(&format!("told: {}", text(&data))),
            ConnectionEvent::Open { .. }
            | ConnectionEvent::Connecting { .. }
            | ConnectionEvent::GivenUp { .. }
            | _ => {}
        }
    }
}

fn after(pause: Duration) -> String {
    if pause < Duration::from_millis(50) {
        return "at once".to_owned();
    }
    format!("in {:.1} s", pause.as_secs_f64())
}
