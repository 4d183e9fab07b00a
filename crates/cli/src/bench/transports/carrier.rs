//! The transports that are compared, and a subscriber over each of them.
//!
//! All but polling speak the native dialect over a [`WebSocket`]: a real one, or one in memory behind which the
//! project's own client ends carry the messages over requests or over WebTransport.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use offhook::protocol::deflate::DeflateConfig;
use offhook::{Connect, HttpVersion, Message, Open as _, WebSocket};
use offhook_client::{Requests, SUBPROTOCOL, Transport as OverRequests};
use offhook_webtransport::{Event, Session, WebTransport};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::path::Reach;

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Polling,
    LongPolling,
    Events,
    WebSocket,
    Deflate,
    Tls,
    Http2,
    WebTransport,
    /// WebTransport with a stream for each subscription.
    Streams,
}

/// Those that are compared in everything.
pub(super) const ALL: [Carrier; 8] = [
    Carrier::Polling,
    Carrier::LongPolling,
    Carrier::Events,
    Carrier::WebSocket,
    Carrier::Deflate,
    Carrier::Tls,
    Carrier::Http2,
    Carrier::WebTransport,
];

impl Carrier {
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::LongPolling => "long-polling",
            Self::Events => "SSE + POST",
            Self::WebSocket => "WebSocket",
            Self::Deflate => "WebSocket, deflate",
            Self::Tls => "WebSocket, TLS",
            Self::Http2 => "WebSocket, HTTP/2",
            Self::WebTransport => "WebTransport",
            Self::Streams => "WebTransport, streams",
        }
    }
}

/// A publication that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) channel: String,
    pub(super) position: String,
    /// What was published.
    pub(super) data: Data,
}

/// What publications contain, besides padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Data {
    /// Nanoseconds from the beginning of the run until it was published.
    pub(super) sent: u64,
    pub(super) number: u64,
}

/// A subscriber of some channels.
#[derive(Debug)]
pub(super) enum Subscriber {
    Socket(Box<WebSocket>),
    Streams(Box<Session>),
    Polling(Box<Polling>),
}

impl Subscriber {
    /// Connects and subscribes to channels, from these positions on if there are any. Polling reads one
    /// channel, `interval` apart.
    pub(super) async fn open(
        carrier: Carrier,
        reach: &Reach,
        channels: &[String],
        since: Option<&str>,
        interval: Duration,
    ) -> Result<Self, String> {
        let opened = match carrier {
            Carrier::Polling => {
                let channel = channels.first().map_or("", String::as_str);
                let polling = Polling::open(reach, channel, since, interval).await?;
                return Ok(Self::Polling(Box::new(polling)));
            }
            Carrier::Streams => {
                let session = sessions(reach)?.session().await;
                Self::Streams(Box::new(session.map_err(|error| error.to_string())?))
            }
            Carrier::LongPolling
            | Carrier::Events
            | Carrier::WebSocket
            | Carrier::Deflate
            | Carrier::Tls
            | Carrier::Http2
            | Carrier::WebTransport => Self::Socket(Box::new(socket(carrier, reach).await?)),
        };
        opened.subscribed(channels, since).await
    }

    /// Sends everything that subscribing needs at once, and waits for the answers.
    async fn subscribed(
        mut self,
        channels: &[String],
        since: Option<&str>,
    ) -> Result<Self, String> {
        let streams = matches!(self, Self::Streams(_));
        let mut connect = json!({"type": "connect", "id": 0, "lineage": true});
        if streams {
            connect["streams"] = true.into();
        }
        self.send(&connect.to_string()).await?;
        for (number, channel) in channels.iter().enumerate() {
            let since = since.unwrap_or("now");
            let subscribe =
                json!({"type": "subscribe", "id": number + 1, "channel": channel, "since": since});
            self.send(&subscribe.to_string()).await?;
        }
        let mut answers = 0;
        while answers < channels.len() {
            match Heard::read(&self.text().await?)? {
                Heard::Subscribed => answers += 1,
                Heard::Delivery(_) | Heard::Other => {}
            }
        }
        Ok(self)
    }

    async fn send(&mut self, text: &str) -> Result<(), String> {
        match self {
            Self::Socket(socket) => socket.send(text).await.map_err(|error| error.to_string()),
            Self::Streams(session) => session.send(text).await.map_err(|error| error.to_string()),
            Self::Polling(_) => Ok(()),
        }
    }

    /// The next message.
    async fn text(&mut self) -> Result<String, String> {
        let gone = || "the server closed the connection".to_owned();
        match self {
            Self::Socket(socket) => match socket.recv().await {
                Ok(Some(Message::Text(text))) => Ok(text.to_string()),
                Ok(Some(Message::Binary(_))) => Err("a binary message".to_owned()),
                Ok(None) => Err(gone()),
                Err(error) => Err(error.to_string()),
            },
            Self::Streams(session) => match session.recv().await {
                Ok(Some(Event::Control(text) | Event::Stream(_, text) | Event::Datagram(text))) => {
                    Ok(text)
                }
                Ok(Some(other)) => Err(format!("unexpected: {other:?}")),
                Ok(None) => Err(gone()),
                Err(error) => Err(error.to_string()),
            },
            Self::Polling(_) => Err("polls have no messages".to_owned()),
        }
    }

    /// The next publication.
    pub(super) async fn next(&mut self) -> Result<Delivery, String> {
        if let Self::Polling(polling) = self {
            return polling.next().await;
        }
        loop {
            if let Heard::Delivery(delivery) = Heard::read(&self.text().await?)? {
                return Ok(delivery);
            }
        }
    }
}

fn connect(url: String) -> Connect {
    Connect::to(url)
        .subprotocol(SUBPROTOCOL)
        .require_subprotocol()
        .no_proxy()
        .version(HttpVersion::Http1)
}

fn sessions(reach: &Reach) -> Result<WebTransport, String> {
    let sessions = WebTransport::to(format!("https://{}/ws", reach.udp));
    let sessions = sessions.map_err(|error| error.to_string())?;
    Ok(sessions.tls(reach.trust.clone()))
}

/// Opens a connection that carries the native dialect.
async fn socket(carrier: Carrier, reach: &Reach) -> Result<WebSocket, String> {
    let url = format!("ws://{}/ws", reach.plain);
    let plain = connect(url.clone());
    let tls = || connect(format!("wss://{}/ws", reach.tls)).tls(reach.trust.clone());
    let opened = match carrier {
        Carrier::WebSocket | Carrier::Polling => plain.open().await,
        Carrier::Deflate => plain.deflate(DeflateConfig::default()).open().await,
        Carrier::Tls => tls().open().await,
        Carrier::Http2 => tls().version(HttpVersion::Http2).open().await,
        Carrier::Events => {
            Requests::new(plain, url, OverRequests::Events)
                .open(1)
                .await
        }
        Carrier::LongPolling => Requests::new(plain, url, OverRequests::Polls).open(1).await,
        Carrier::WebTransport | Carrier::Streams => sessions(reach)?.open(1).await,
    };
    opened.map_err(|error| format!("{}: {}", carrier.title(), super::with_causes(&error)))
}

/// What a message means here.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Subscribed,
    Delivery(Delivery),
    Other,
}

/// The fields of a message that are used here.
#[derive(Debug, Deserialize)]
struct Fields {
    #[serde(rename = "type")]
    kind: String,
    channel: Option<String>,
    position: Option<String>,
    data: Option<Data>,
    message: Option<String>,
}

impl Heard {
    fn read(text: &str) -> Result<Self, String> {
        // Only messages have the data of this run; an answer to `publish` or a greeting may have others.
        let fields: Fields = serde_json::from_str(text)
            .map_err(|error| format!("a message of the server is not understood: {error}"))?;
        match (
            fields.kind.as_str(),
            fields.channel,
            fields.position,
            fields.data,
        ) {
            ("subscribed", ..) => Ok(Self::Subscribed),
            ("message", Some(channel), Some(position), Some(data)) => {
                Ok(Self::Delivery(Delivery {
                    channel,
                    position,
                    data,
                }))
            }
            ("gap", ..) => Err("the server announces a gap".to_owned()),
            ("error", ..) => Err(fields.message.unwrap_or_default()),
            _ => Ok(Self::Other),
        }
    }
}

/// Reads a channel with one request after another.
#[derive(Debug)]
pub(super) struct Polling {
    requests: SendRequest<Empty<Bytes>>,
    host: String,
    channel: String,
    /// Where to continue, with a colon.
    at: String,
    interval: Duration,
    next: Instant,
    unread: VecDeque<Delivery>,
}

/// The answer to a poll.
#[derive(Debug, Deserialize)]
struct Polled {
    epoch: u64,
    offset: u64,
    publications: Vec<Published>,
}

#[derive(Debug, Deserialize)]
struct Published {
    channel: String,
    position: String,
    data: Data,
}

impl Polling {
    async fn open(
        reach: &Reach,
        channel: &str,
        since: Option<&str>,
        interval: Duration,
    ) -> Result<Self, String> {
        let stream = connect(format!("ws://{}/", reach.plain)).stream().await;
        let stream = stream.map_err(|error| super::with_causes(&error))?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (requests, connection) = handshake.map_err(|error| error.to_string())?;
        // The task ends with the sender.
        tokio::spawn(async { drop(connection.await) });
        let mut polling = Self {
            requests,
            host: reach.plain.to_string(),
            channel: channel.to_owned(),
            at: String::new(),
            interval,
            next: Instant::now(),
            unread: VecDeque::new(),
        };
        match since {
            Some(position) => polling.at = position.replace('.', ":"),
            None => polling.poll().await?,
        }
        Ok(polling)
    }

    async fn next(&mut self) -> Result<Delivery, String> {
        loop {
            if let Some(delivery) = self.unread.pop_front() {
                return Ok(delivery);
            }
            sleep_until(self.next).await;
            self.poll().await?;
        }
    }

    /// One request. The next one is due an interval after the begin of this one.
    async fn poll(&mut self) -> Result<(), String> {
        self.next = Instant::now() + self.interval;
        let (channel, at) = (&self.channel, &self.at);
        let target = match at.is_empty() {
            true => format!("/poll?channel={channel}"),
            false => format!("/poll?channel={channel}&since={at}"),
        };
        let request = hyper::Request::get(target)
            .header("host", &self.host)
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let lost = |error: hyper::Error| error.to_string();
        self.requests.ready().await.map_err(lost)?;
        let answer = self.requests.send_request(request).await.map_err(lost)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(lost)?.to_bytes();
        if !status.is_success() {
            return Err(format!(
                "/poll: {status}: {}",
                String::from_utf8_lossy(&body)
            ));
        }
        let polled: Polled = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        self.at = format!("{}:{}", polled.epoch, polled.offset);
        let publications = polled.publications.into_iter();
        self.unread.extend(publications.map(|published| Delivery {
            channel: published.channel,
            position: published.position,
            data: published.data,
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_what_they_mean_here() {
        let read = |text| Heard::read(text).expect("it is understood");
        let message = r#"{"type":"message","channel":"a","position":"5.9","data":{"sent":7,"number":3,"text":"x"},"time":1}"#;
        assert_eq!(
            read(message),
            Heard::Delivery(Delivery {
                channel: "a".to_owned(),
                position: "5.9".to_owned(),
                data: Data { sent: 7, number: 3 },
            })
        );
        assert_eq!(
            read(r#"{"type":"subscribed","id":1,"position":"5.9"}"#),
            Heard::Subscribed
        );
        assert_eq!(
            read(r#"{"type":"welcome","id":0,"session":"00"}"#),
            Heard::Other
        );
        let refused = Heard::read(r#"{"type":"error","id":1,"code":"forbidden","message":"no"}"#);
        assert_eq!(refused, Err("no".to_owned()));
        assert!(Heard::read(r#"{"type":"gap","channel":"a"}"#).is_err());
    }
}
