//! `GET /poll`: the publications after a position, immediately if there are any, otherwise as soon
//! as there is one.

use std::time::Duration;

use offhook_dialects::sse::{Parsed, Wanted};
use offhook_engine::{Position, Since};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::{going_away, of_event};
use crate::{
    http::api::{Problem, Query},
    worker::Streaming,
};

/// The longest wait in seconds: proxies end requests that take longer.
const LONGEST_WAIT: u32 = 60;

/// This many bytes are answered without waiting for more: as much as a page of history.
const PAGE: usize = 128 * 1024;

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Wish {
    /// Where the client starts.
    position: Option<Position>,
    /// Whether the client gave a position; otherwise it gets the current one immediately.
    waits: bool,
    wait: Duration,
}

/// The answer to a request, as collected so far.
#[derive(Debug, Default)]
struct Page {
    position: Option<Position>,
    publications: Vec<Box<RawValue>>,
    bytes: usize,
    gap: Option<serde_json::Value>,
    /// Gaps of single channels that a filter matches, which do not change its position.
    gaps: Vec<serde_json::Value>,
    /// Whether all retained publications were read.
    is_live: bool,
    /// Whether more has been published already.
    more: bool,
}

impl Wish {
    pub(super) fn read(query: &Query, wanted: &Wanted) -> Result<Self, Problem> {
        let [(_, since)] = &*wanted.targets else {
            let detail = "channel and filter: exactly one of them can be polled; a stream (/sse) can have \
                          several";
            return Err(Problem::bad(detail));
        };
        let wait = query.number("wait", 0)?;
        if wait > LONGEST_WAIT {
            let detail = format!("wait: is {wait} s; the limit is {LONGEST_WAIT} s");
            return Err(Problem::bad(detail));
        }
        if *since == Since::State {
            let detail = "since: state cannot be polled; use a stream (/sse) or the API";
            return Err(Problem::bad(detail));
        }
        Ok(Self {
            position: match since {
                Since::Position(position) => Some(*position),
                Since::Now | Since::Start | Since::Last(_) | Since::State => None,
            },
            waits: *since != Since::Now || query.get("since")?.is_some(),
            wait: Duration::from_secs(wait.into()),
        })
    }

    /// Collects an answer from a stream of events.
    pub(super) async fn answer(self, mut stream: Streaming) -> Result<String, Problem> {
        let until = Instant::now() + self.wait;
        let mut page = Page {
            position: self.position,
            ..Page::default()
        };
        let mut unread = Vec::new();
        loop {
            let piece = match page.is_live {
                // Retained publications are answered regardless of how long the client waits.
                false => stream.take().await,
                true => match timeout_at(until, stream.take()).await {
                    Ok(piece) => piece,
                    Err(_elapsed) => break,
                },
            };
            let Some(piece) = piece else {
                if page.position.is_none() {
                    return Err(going_away());
                }
                break;
            };
            unread.extend_from_slice(&piece);
            if page.take(&mut unread)? || (page.is_live && (page.has_any() || !self.waits)) {
                break;
            }
        }
        // A client is a member of the channel only while its request waits.
        stream.leave();
        page.write()
    }
}

/// A gap as it is answered.
fn shown(gap: &serde_json::Value) -> serde_json::Value {
    let fields = ["channel", "from", "to", "reason", "agreed"];
    let known = fields.iter().filter_map(|field| {
        // The subscription of a channel is the request's.
        let redundant = *field == "channel" && gap.get("filter").is_none();
        let value = gap.get(field).filter(|_| !redundant)?;
        Some(((*field).to_owned(), value.clone()))
    });
    serde_json::Value::Object(known.collect())
}

impl Page {
    fn has_any(&self) -> bool {
        self.gap.is_some() || !self.gaps.is_empty() || !self.publications.is_empty()
    }

    /// Adds all complete events. Returns whether the page is complete.
    fn take(&mut self, unread: &mut Vec<u8>) -> Result<bool, Problem> {
        let whole = unread.windows(2).rposition(|two| two == b"\n\n");
        let Some(end) = whole.map(|end| end + 2) else {
            return Ok(false);
        };
        let rest = unread.split_off(end);
        let events = std::mem::replace(unread, rest);
        for event in Parsed::all(&String::from_utf8_lossy(&events)) {
            if self.add(&event)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn add(&mut self, event: &Parsed) -> Result<bool, Problem> {
        #[derive(Deserialize)]
        struct Subscribed {
            live: bool,
        }
        match &*event.name {
            "refused" => return Err(of_event(event)),
            "subscribed" => {
                let subscribed = serde_json::from_str::<Subscribed>(&event.data);
                self.is_live = subscribed.is_ok_and(|subscribed| subscribed.live);
            }
            "gap" => {
                let gap: serde_json::Value = serde_json::from_str(&event.data).unwrap_or_default();
                let known = shown(&gap);
                if gap.get("filter").is_some() && gap.get("channel").is_some() {
                    self.gaps.push(known);
                } else if self.publications.is_empty() {
                    self.gap = Some(known);
                } else {
                    // The next request starts before the gap, and reports it.
                    self.more = true;
                    return Ok(true);
                }
            }
            "live" => self.is_live = true,
            "" => {
                self.bytes += event.data.len();
                if self.bytes > PAGE && !self.publications.is_empty() {
                    self.more = true;
                    return Ok(true);
                }
                let data = event.data.clone();
                // The dialect always writes JSON.
                self.publications.extend(RawValue::from_string(data));
            }
            _ => return Ok(false),
        }
        let id = event.id.as_deref().and_then(|id| id.parse().ok());
        self.position = id.or(self.position);
        Ok(false)
    }

    fn write(&self) -> Result<String, Problem> {
        let position = self.position.ok_or_else(going_away)?;
        let publications: Vec<_> = self.publications.iter().map(|p| p.get()).collect();
        let mut text = format!(
            "{{\"epoch\":{},\"offset\":{},\"publications\":[{}]",
            position.epoch.0,
            position.offset,
            publications.join(",")
        );
        if let Some(gap) = &self.gap {
            text.push_str(&format!(",\"gap\":{gap}"));
        }
        if !self.gaps.is_empty() {
            let gaps = serde_json::Value::from(self.gaps.clone());
            text.push_str(&format!(",\"gaps\":{gaps}"));
        }
        if self.more {
            text.push_str(",\"more\":true");
        }
        text.push('}');
        Ok(text)
    }
}
