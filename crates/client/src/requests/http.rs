//! HTTP/1.1 requests to one server, over a connection that is reopened when it is lost.

use std::{io, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::HOST,
};
use hyper_util::rt::TokioIo;
use offhook::Connect;
use tokio::time::timeout;

/// The time limit for an answer, in addition to the time that the request waits at the server. 10
/// s: the same as for the answer to a handshake.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The longest answer in bytes. 16 MiB: many times the server's longest message.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Requests to one server.
pub(super) struct Http {
    connect: Connect,
    place: Place,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// The path of `/connection`, which is next to the WebSocket's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) path: String,
    /// The query with its question mark, for requests that begin a connection.
    pub(super) query: String,
}

impl Place {
    pub(super) fn of(url: &str) -> Self {
        let (_, rest) = url.split_once("://").unwrap_or(("", url));
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (rest, String::new()),
        };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        Self {
            host: host.to_owned(),
            path: format!("{folder}/connection"),
            query,
        }
    }
}

/// A complete answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Answer {
    /// Whether the same request may succeed later: a proxy gave up, the server is busy, or the
    /// previous request is still being handled.
    pub(super) fn is_temporary(&self) -> bool {
        let is_busy = || self.status == 409 && self.text().contains("\"busy\"");
        matches!(self.status, 408 | 425 | 429 | 500..) || is_busy()
    }

    pub(super) fn refused(&self) -> io::Error {
        refused(self.status, &self.text())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(super) fn refused(status: u16, text: &str) -> io::Error {
    let text: String = text.chars().take(300).collect();
    io::Error::other(format!("the request was refused: HTTP {status}: {text}"))
}

impl Http {
    pub(super) fn new(connect: Connect, url: &str) -> Self {
        Self {
            connect,
            place: Place::of(url),
            sender: None,
        }
    }

    /// Sends a request that begins a connection, and returns the head of the answer.
    pub(super) async fn begin(&mut self, method: Method) -> io::Result<Response<Incoming>> {
        let target = format!("{}{}", self.place.path, self.place.query);
        within(ANSWER_WITHIN, self.ask(method, &target, Bytes::new())).await
    }

    /// Sends a request on a connection that has an id. The request may wait at the server for
    /// `wait`.
    pub(super) async fn request(
        &mut self,
        method: Method,
        target: &str,
        body: Bytes,
        wait: Duration,
    ) -> io::Result<Answer> {
        let target = format!("{}{target}", self.place.path);
        let asked = async { whole(self.ask(method, &target, body).await?).await };
        let answer = within(ANSWER_WITHIN + wait, asked).await;
        if answer.is_err() {
            // The connection cannot be reused, because the answer could still arrive.
            self.sender = None;
        }
        answer
    }

    async fn ask(
        &mut self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> io::Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, &self.place.host)
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            Some(_) | None => self.connect().await?,
        };
        sender.ready().await.map_err(io::Error::other)?;
        let answer = sender.send_request(request).await;
        self.sender = Some(sender);
        answer.map_err(io::Error::other)
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let stream = self.connect.stream().await.map_err(io::Error::other)?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        // The task ends with the sender, or when the connection is lost, which the sender reports.
        tokio::spawn(async { drop(connection.await) });
        Ok(sender)
    }
}

async fn within<T>(limit: Duration, asked: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let answered = timeout(limit, asked).await;
    answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Reads the body of an answer.
pub(super) async fn whole(answer: Response<Incoming>) -> io::Result<Answer> {
    let status = answer.status();
    let mut incoming = answer.into_body();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(io::Error::other)?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if body.len() + data.len() > LONGEST_ANSWER {
            let text = format!("an answer is longer than {LONGEST_ANSWER} bytes");
            return Err(io::Error::other(text));
        }
        body.extend_from_slice(data);
    }
    Ok(Answer {
        status: status.as_u16(),
        body: body.into(),
    })
}

/// An answer with a stream; any other status is an error.
pub(super) async fn stream_of(answer: Response<Incoming>) -> io::Result<Incoming> {
    if answer.status() == StatusCode::OK {
        return Ok(answer.into_body());
    }
    Err(whole(answer).await?.refused())
}
