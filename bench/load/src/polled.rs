//! Holds sessions that are polled (docs/transports.md, "Both ways over requests"), each with one subscription
//! and between two polls, until standard input ends. All are opened over one TCP connection, so that what the
//! server holds for each is the session alone.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// How long the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sessions opened between two progress reports.
const PROGRESS: usize = 1000;

/// Opens the sessions, and prints `open N` while doing so and `ready N` at the end. The end of standard input
/// ends the process.
pub fn run(address: SocketAddr, channel: &str, sessions: usize) -> Result<()> {
    let mut http = Http::connect(address)?;
    for number in 1..=sessions {
        open(&mut http, channel).with_context(|| format!("session {number}"))?;
        if number % PROGRESS == 0 {
            println!("open {number}");
        }
    }
    println!("ready {sessions}");
    for line in std::io::stdin().lock().lines() {
        line?;
    }
    Ok(())
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

/// Opens a session, subscribes, and polls until the answer has arrived and is acknowledged.
fn open(http: &mut Http, channel: &str) -> Result<()> {
    let (status, body) = http.request("POST", "/connection", "")?;
    ensure!(status == 201, "beginning: HTTP {status}: {body}");
    let id = serde_json::from_str::<Begun>(&body)?.connection;
    let messages = format!(
        "{{\"type\":\"connect\",\"id\":1,\"lineage\":true}}\n\
         {{\"type\":\"subscribe\",\"id\":2,\"channel\":\"{channel}\"}}\n"
    );
    let (status, body) = http.request("POST", &format!("/connection/{id}?n=1"), &messages)?;
    ensure!(status == 204, "sending: HTTP {status}: {body}");
    let (mut after, mut subscribed) = (0, false);
    while !subscribed {
        let polled = poll(http, &id, after, 10)?;
        ensure!(!polled.messages.is_empty(), "no answer to `subscribe`");
        after += polled.messages.len();
        for said in polled.messages {
            match said.kind.as_str() {
                "subscribed" => subscribed = true,
                "error" => bail!("the server refused to subscribe"),
                _ => {}
            }
        }
    }
    // This poll acknowledges what has arrived, so that the server holds no messages any more.
    let rest = poll(http, &id, after, 0)?;
    ensure!(rest.messages.is_empty(), "more messages than expected");
    Ok(())
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
        ensure!(self.stream.read_line(&mut line)? > 0, "the server closed the connection");
        Ok(line.trim_end().to_owned())
    }
}
