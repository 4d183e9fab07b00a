//! Holds sessions that are polled (docs/transports.md, "Both ways over requests"), each with one subscription
//! and between two polls, until standard input ends. All are opened over one TCP connection, so that what the
//! server holds for each is the session alone.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// How long the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sessions opened between two progress reports.
const PROGRESS: usize = 1000;

/// Opens the sessions, and prints `open N` while doing so and `ready N` at the end. The end of standard input
/// ends the process.
pub fn run(address: SocketAddr, channel: &str, sessions: usize) -> Result<()> {
    let mut http = Http::connect(address)?;
    let mut opened = Vec::new();
    for number in 1..=sessions {
        let session = open(&mut http, channel).with_context(|| format!("session {number}"))?;
        opened.push(session);
        if number % PROGRESS == 0 {
            println!("open {number}");
        }
    }
    // The server sends the token that contains the subscription half a second later.
    for session in opened {
        settle(&mut http, session)?;
    }
    println!("ready {sessions}");
    for line in std::io::stdin().lock().lines() {
        line?;
    }
    Ok(())
}

/// A session that is polled.
struct Session {
    id: String,
    /// How many messages have arrived.
    after: usize,
    has_token: bool,
}

#[derive(Deserialize)]
struct Begun {
    connection: String,
}

#[derive(Deserialize)]
struct Polled {
    messages: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(rename = "type")]
    kind: String,
}

/// Opens a session, and subscribes.
fn open(http: &mut Http, channel: &str) -> Result<Session> {
    let (status, body) = http.request("POST", "/connection", "")?;
    ensure!(status == 201, "beginning: HTTP {status}: {body}");
    let id = serde_json::from_str::<Begun>(&body)?.connection;
    let messages = format!(
        "{{\"type\":\"connect\",\"id\":1,\"lineage\":true}}\n\
         {{\"type\":\"subscribe\",\"id\":2,\"channel\":\"{channel}\"}}\n"
    );
    let (status, body) = http.request("POST", &format!("/connection/{id}?n=1"), &messages)?;
    ensure!(status == 204, "sending: HTTP {status}: {body}");
    let mut session = Session {
        id,
        after: 0,
        has_token: false,
    };
    while !hear(http, &mut session, "subscribed")? {}
    Ok(session)
}

/// Polls until everything has arrived, and acknowledges it, so that the server holds no messages any more.
fn settle(http: &mut Http, mut session: Session) -> Result<()> {
    while !session.has_token {
        hear(http, &mut session, "token")?;
    }
    let rest = poll(http, &session.id, session.after, 0)?;
    ensure!(rest.messages.is_empty(), "more messages than expected");
    Ok(())
}

/// Polls once. Returns whether a message of this type was among those that have arrived.
fn hear(http: &mut Http, session: &mut Session, kind: &str) -> Result<bool> {
    let polled = poll(http, &session.id, session.after, 10)?;
    ensure!(!polled.messages.is_empty(), "no {kind} within 10 s");
    session.after += polled.messages.len();
    let kinds = || polled.messages.iter().map(|said| said.kind.as_str());
    ensure!(
        kinds().all(|kind| kind != "error"),
        "the server refused to subscribe"
    );
    session.has_token |= kinds().any(|kind| kind == "token");
    Ok(kinds().any(|heard| heard == kind))
}

fn poll(http: &mut Http, id: &str, after: usize, wait: u32) -> Result<Polled> {
    let target = format!("/connection/{id}?after={after}&wait={wait}");
    let (status, body) = http.request("GET", &target, "")?;
    ensure!(status == 200, "polling: HTTP {status}: {body}");
    Ok(serde_json::from_str(&body)?)
}

/// One connection of HTTP/1.1 that stays open.
struct Http {
    stream: BufReader<TcpStream>,
}

impl Http {
    fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// The status and the body of the answer.
    fn request(&mut self, method: &str, target: &str, body: &str) -> Result<(u16, String)> {
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status: u16 = status.context("no status")?;
        let mut length = 0;
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().context("content-length")?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body)?))
    }

    /// A line of the answer's head; empty at its end.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(
            self.stream.read_line(&mut line)? > 0,
            "the server closed the connection"
        );
        Ok(line.trim_end().to_owned())
    }
}
