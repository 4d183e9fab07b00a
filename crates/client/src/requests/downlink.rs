//! Receives messages over requests: the events of a stream, or the answers to polls.

use std::{io, mem, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Method, body::Incoming};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};

use super::http::{self, Http};
use super::{ATTEMPTS, Begun, Closing, pause};

/// How long a poll waits at the server. 25 s: below the 30 s after which the strictest proxies end a
/// request.
const WAIT: Duration = Duration::from_secs(25);

/// The time limit for the first event of a stream. 5 s: detects a proxy that holds back the stream.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// The longest event in bytes. 16 MiB: many times the server's longest message.
const LONGEST_EVENT: usize = 16 * 1024 * 1024;

/// The source of messages.
pub(super) enum Downlink {
    Events { body: Incoming, events: Events },
    Polls { http: Box<Http>, after: u64 },
}

/// Messages that arrived together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) messages: Vec<String>,
    /// The server closed the connection; no message follows.
    pub(super) closed: Option<Closing>,
}

/// The answer to a poll.
#[derive(Deserialize)]
struct Polled<'a> {
    first: u64,
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    closed: Option<Closing>,
}

impl Downlink {
    /// Begins a connection that is polled; `up` sends the request. Also returns its id.
    pub(super) async fn polls(up: &mut Http, down: Http) -> io::Result<(String, Self)> {
        let answer = http::whole(up.begin(Method::POST).await?).await?;
        if answer.status != 201 {
            return Err(answer.refused());
        }
        let begun: Begun = serde_json::from_slice(&answer.body)?;
        let polls = Self::Polls {
            http: Box::new(down),
            after: 0,
        };
        Ok((begun.connection, polls))
    }

    /// Begins a connection with a stream of events. Also returns its id.
    pub(super) async fn events(mut down: Http) -> io::Result<(String, Self)> {
        let body = http::stream_of(down.begin(Method::GET).await?).await?;
        let mut begun = Self::Events {
            body,
            events: Events::default(),
        };
        let id = timeout(OPEN_WITHIN, begun.id()).await;
        let id = id.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Ok((id, begun))
    }

    /// The id in the first event.
    async fn id(&mut self) -> io::Result<String> {
        let Self::Events { body, events } = self else {
            return Err(invalid("polls have no first event"));
        };
        loop {
            match events.next()? {
                Some(Event::Open(id)) => return Ok(id),
                Some(_) => return Err(invalid("the first event is not `open`")),
                None => events.take(&piece(body).await?)?,
            }
        }
    }

    /// Waits for messages of the connection with this id.
    pub(super) async fn next(&mut self, id: &str) -> io::Result<Received> {
        match self {
            Self::Events { body, events } => loop {
                match events.next()? {
                    Some(Event::Message(text)) => {
                        return Ok(Received {
                            messages: vec![text],
                            closed: None,
                        });
                    }
                    Some(Event::Close(closing)) => {
                        return Ok(Received {
                            messages: Vec::new(),
                            closed: Some(closing),
                        });
                    }
                    Some(Event::Open(_) | Event::Other) => {}
                    None => events.take(&piece(body).await?)?,
                }
            },
            Self::Polls { http, after } => poll(http, id, after).await,
        }
    }
}

/// Polls until there is an answer. If an answer is lost, it polls again.
async fn poll(http: &mut Http, id: &str, after: &mut u64) -> io::Result<Received> {
    let target = format!("/{id}?after={after}&wait={}", WAIT.as_secs());
    for attempt in 0..ATTEMPTS {
        let answer = http.request(Method::GET, &target, Bytes::new(), WAIT).await;
        match answer {
            Ok(answer) if answer.status == 200 => return polled(&answer.body, after),
            Ok(answer) if !answer.is_temporary() => return Err(answer.refused()),
            Ok(_) | Err(_) => sleep(pause(attempt)).await,
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// The contents of an answer to a poll, and the number of its last message.
pub(super) fn polled(body: &[u8], after: &mut u64) -> io::Result<Received> {
    let polled: Polled<'_> = serde_json::from_slice(body)?;
    if polled.first != *after + 1 {
        return Err(invalid(
            "the answer to a poll does not continue after the previous one",
        ));
    }
    *after += polled.messages.len() as u64;
    let messages = polled.messages.iter();
    Ok(Received {
        messages: messages.map(|message| message.get().to_owned()).collect(),
        closed: polled.closed,
    })
}

/// The next bytes of a stream. The end of the stream is an error, since it ends the connection.
async fn piece(body: &mut Incoming) -> io::Result<Bytes> {
    loop {
        let frame = body.frame().await;
        let frame = frame.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            return Ok(data);
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// An event of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Open(String),
    Message(String),
    Close(Closing),
    /// A comment, or an event of a newer server.
    Other,
}

/// Splits a stream into events.
#[derive(Debug, Default)]
pub(super) struct Events {
    bytes: Vec<u8>,
    /// The number of bytes that were already searched for the end of an event.
    searched: usize,
}

impl Events {
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.bytes.len() + bytes.len() > LONGEST_EVENT {
            return Err(invalid("an event is longer than 16 MiB"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The next complete event.
    pub(super) fn next(&mut self) -> io::Result<Option<Event>> {
        let from = self.searched.saturating_sub(1);
        let end = self.bytes.get(from..).unwrap_or_default();
        let Some(end) = end.windows(2).position(|two| two == b"\n\n") else {
            self.searched = self.bytes.len();
            return Ok(None);
        };
        let rest = self.bytes.split_off(from + end + 2);
        let event = mem::replace(&mut self.bytes, rest);
        self.searched = 0;
        let event = String::from_utf8(event).map_err(|_| invalid("an event is not UTF-8"))?;
        parsed(&event).map(Some)
    }
}

fn parsed(event: &str) -> io::Result<Event> {
    let mut name = None;
    let mut data = Vec::new();
    for line in event.lines() {
        if let Some(value) = line.strip_prefix("event: ") {
            name = Some(value);
        } else if let Some(value) = line.strip_prefix("data: ") {
            data.push(value);
        }
    }
    let data = data.join("\n");
    Ok(match name {
        Some("open") => Event::Open(serde_json::from_str::<Begun>(&data)?.connection),
        Some("close") => Event::Close(serde_json::from_str(&data)?),
        None if !data.is_empty() => Event::Message(data),
        Some(_) | None => Event::Other,
    })
}
