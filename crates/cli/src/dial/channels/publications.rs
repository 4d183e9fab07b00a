//! Prints the events of a subscription: publications, gaps, and members who join and leave.

use std::sync::Arc;

use offhook_client::{Data, Event, Gap, GapReason, Publication, Subscription};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::Ended;
use crate::dial::output::Output;
use crate::failure::Failure;
use crate::screen::{DIM, hex, shown};

/// Prints the events of a subscription.
pub(super) struct Reader {
    pub(super) output: Arc<Output>,
    /// The number of publications received so far.
    pub(super) received: watch::Sender<u64>,
    /// How many more publications to print; `None`: all.
    pub(super) left: Option<u64>,
    pub(super) is_json: bool,
    pub(super) names_channels: bool,
}

impl Reader {
    pub(super) async fn read(self, mut subscription: Subscription) -> Ended {
        let channel = subscription.name().to_owned();
        loop {
            match subscription.next().await {
                Ok(Some(event)) => self.show(&channel, &event)?,
                Ok(None) => return Ok(()),
                Err(error) => return Err(Failure::failed(&error)),
            }
        }
    }

    fn show(&self, channel: &str, event: &Event) -> Ended {
        match event {
            Event::Publication(publication) | Event::Value(publication) => {
                let is_wanted = self.left.is_none_or(|left| *self.received.borrow() < left);
                if is_wanted {
                    self.output.print(&self.line(publication));
                    self.received.send_modify(|count| *count += 1);
                }
            }
            Event::Gap(gap) => {
                self.output.note(&format!("{channel}: {}", missing(gap)));
            }
            Event::Live { .. } => self.event(channel, "live"),
            Event::CatchingUp => self.event(channel, "catching up"),
            Event::Members(members) => {
                self.event(channel, &format!("{} here", members.total));
            }
            Event::Joined(member) => self.event(channel, &format!("{} joined", name(member))),
            Event::Left(member) => self.event(channel, &format!("{} left", name(member))),
            Event::Own { .. } | _ => {}
        }
        self.output
            .broken_pipe()
            .map_or(Ok(()), |error| Err(error.into()))
    }

    fn event(&self, channel: &str, text: &str) {
        self.output.note(&format!("{DIM}{channel}: {text}{DIM:#}"));
    }

    fn line(&self, publication: &Publication) -> String {
        if self.is_json {
            return json(publication);
        }
        let channel = shown(&publication.channel);
        let data = text(&publication.data);
        if !self.output.is_interactive() {
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

pub(super) fn name(member: &offhook_client::Member) -> String {
    let name = member.user.as_deref().unwrap_or(&member.session);
    shown(name).into_owned()
}

/// On one line.
pub(super) fn text(data: &Data) -> String {
    match data.text() {
        Some(text) => shown(&text).into_owned(),
        None if data.is_json() => String::from_utf8_lossy(data.as_bytes()).into_owned(),
        None => hex(data.as_bytes()),
    }
}

#[derive(Serialize)]
struct PrintedPublication<'a> {
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

fn json(publication: &Publication) -> String {
    let data = &publication.data;
    let value = serde_json::from_slice(data.as_bytes())
        .ok()
        .filter(|_| data.is_json());
    let line = PrintedPublication {
        channel: &publication.channel,
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
    // Strings and numbers can always be serialised.
    serde_json::to_string(&line).unwrap_or_default()
}

/// What a gap means, for people.
fn missing(gap: &Gap) -> String {
    match (&gap.reason, gap.agreed) {
        (GapReason::Diverged, Some(agreed)) => format!(
            "messages after {agreed} are no longer part of the channel: the server went on from an older \
             copy (diverged)"
        ),
        (GapReason::State, _) => "these values are the state".to_owned(),
        (reason, _) => {
            let count = gap.count().map(|count| count.to_string());
            let count = count.unwrap_or_else(|| "some".to_owned());
            format!("{count} missing ({})", shown(&reason.to_string()))
        }
    }
}
