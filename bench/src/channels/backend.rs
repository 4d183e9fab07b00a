//! Measures what the server costs a backend: the rate and latency of publications over the HTTP
//! API, the rate of questions about clients, and the memory of a user with grants.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use load::process;
use serde_json::json;

use super::figures::{Figure, compare};
use super::servers::ChannelServer;
use super::session::{PATIENCE, Session};
use super::{Common, For};
use crate::building::Places;
use crate::results::median;
use crate::running::{Running, free_port};
use crate::words;

/// A key of the HTTP API, and the SHA-256 of it.
const KEY: &str = "ohk_kNmMivQ1m-RX8aRQg3A1y5e-4nn97FCf-JdFGaaVYRM";
const ENTRY: &str = "* sha256:fcdd663ce8dc4f9ad66b2e1eb737b6a3270962b045a0439f2ad2d71c535a1867";
/// The secret of tokens and of requests to the backend.
const SECRET: &str = "a secret of the benchmark that is long enough";
/// Publications in one request.
const BATCH: usize = 100;
/// Connections that publish batches, one request in flight on each.
const PUBLISHERS: usize = 8;
/// Channels that they publish to.
const CHANNELS: usize = 16;
/// Bytes of each publication.
const SIZE: usize = 128;
/// Publications one after another, for the latency.
const SINGLES: usize = 2_000;
/// Clients that connect at the same time, repeatedly.
const ARRIVING: usize = 16;
/// Connections whose memory is measured.
const HELD: usize = 4_000;

/// Measure what the server costs a backend.
#[derive(Args)]
pub(crate) struct Backend {
    #[command(flatten)]
    common: Common,
    /// Run only these scenarios.
    #[arg(long, value_delimiter = ',', value_enum)]
    scenarios: Vec<Scenario>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// 8 connections publish batches of 100 over the HTTP API.
    Batch,
    /// One publisher over the HTTP API, and one over a WebSocket.
    Single,
    /// 16 clients connect repeatedly, and the backend is asked about each.
    Verdicts,
    /// Memory of 4,000 connections with a user and four grants, and of as many without.
    Identity,
}

impl Backend {
    pub(super) fn run(&self) -> Result<()> {
        compare(
            &self.common,
            For::Backend,
            &self.scenarios,
            |places, server, scenario| self.once(places, server, *scenario),
        )
    }

    fn once(
        &self,
        places: &Places,
        server: &ChannelServer,
        scenario: Scenario,
    ) -> Result<Vec<Figure>> {
        let cores = self.common.cores()?;
        let time = Duration::from_secs_f64(self.common.seconds);
        let start = |settings: &[&str]| -> Result<Running> {
            let scratch = places.scratch()?;
            let port = free_port()?;
            let mut line = server.command(port, &scratch)?;
            line.extend(words!["--api-keys", ENTRY]);
            line.extend(settings.iter().map(Into::into));
            let log = scratch.join(format!("{}.log", server.name));
            Running::start(cores[0], &line, port, &log)
        };
        match scenario {
            Scenario::Batch => batches(&start(&[])?, time),
            Scenario::Single => singles(&start(&[])?),
            Scenario::Verdicts => {
                let url = allow_everybody()?;
                let settings = ["--backend-url", &url, "--backend-secrets", SECRET];
                let more = ["--backend-connect"];
                verdicts(&start(&[settings.as_slice(), &more].concat())?, time)
            }
            Scenario::Identity => {
                process::raise_descriptor_limit()?;
                let settings = ["--auth-secrets", SECRET, "--auth-anonymous=true"];
                let token = token(server)?;
                let plain = held(&start(&settings)?, None)?;
                let known = held(&start(&settings)?, Some(&token))?;
                Ok(vec![
                    Figure {
                        name: "a connection without a user, bytes",
                        value: plain,
                    },
                    Figure {
                        name: "a connection of a user with four grants, bytes",
                        value: known,
                    },
                ])
            }
        }
    }
}

/// Microseconds for one publication, with batches.
fn batches(running: &Running, time: Duration) -> Result<Vec<Figure>> {
    let port = running.port;
    let publish = |publisher: usize| -> Result<usize> {
        let mut http = Http::open(port)?;
        let data = "x".repeat(SIZE);
        let items = (0..BATCH).map(|number| {
            let channel = format!("c{}", (publisher + number) % CHANNELS);
            json!({"channel":channel,"data":data})
        });
        let body = json!({"publications":items.collect::<Vec<_>>()}).to_string();
        let begin = Instant::now();
        let mut done = 0;
        while begin.elapsed() < time {
            let answer = http.post("/api/v1/batch", &body)?;
            ensure!(!answer.contains("\"title\""), "{answer}");
            done += BATCH;
        }
        Ok(done)
    };
    let begin = Instant::now();
    let done: Result<Vec<usize>> = thread::scope(|scope| {
        let publish = &publish;
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|number| scope.spawn(move || publish(number)))
            .collect();
        let ended = publishers.into_iter().map(|thread| thread.join());
        ended.map(|done| done.expect("no panic")).collect()
    });
    let done: usize = done?.into_iter().sum();
    let seconds = begin.elapsed().as_secs_f64();
    Ok(vec![Figure {
        name: "a publication in batches of 100 over the HTTP API, 8 connections, µs",
        value: seconds * 1e6 / done as f64,
    }])
}

fn singles(running: &Running) -> Result<Vec<Figure>> {
    let data = "x".repeat(SIZE);
    let mut http = Http::open(running.port)?;
    let body = json!({"channel":"c","data":data}).to_string();
    let mut session = Session::open(running.port)?;
    let question = json!({"type":"publish","channel":"c","data":data});
    let (mut over_http, mut over_websocket) = (Vec::new(), Vec::new());
    // Alternate between both, so that the disk affects them equally.
    for _ in 0..SINGLES {
        let begin = Instant::now();
        let answer = http.post("/api/v1/publish", &body)?;
        over_http.push(begin.elapsed().as_secs_f64() * 1e6);
        ensure!(answer.contains("position"), "{answer}");
        let begin = Instant::now();
        session.ask(&question)?;
        over_websocket.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    Ok(vec![
        Figure {
            name: "a durable publication over a WebSocket, one at a time, median, µs",
            value: median(over_websocket.into_iter()),
        },
        Figure {
            name: "the same over the HTTP API, one kept connection, median, µs",
            value: median(over_http.into_iter()),
        },
    ])
}

/// Microseconds for one client that the backend is asked about, including the TCP handshake.
fn verdicts(running: &Running, time: Duration) -> Result<Vec<Figure>> {
    let port = running.port;
    let arrive = || -> Result<usize> {
        let begin = Instant::now();
        let mut done = 0;
        while begin.elapsed() < time {
            drop(Session::open(port)?);
            done += 1;
        }
        Ok(done)
    };
    let begin = Instant::now();
    let done: Result<Vec<usize>> = thread::scope(|scope| {
        let arriving: Vec<_> = (0..ARRIVING).map(|_| scope.spawn(arrive)).collect();
        let ended = arriving.into_iter().map(|thread| thread.join());
        ended.map(|done| done.expect("no panic")).collect()
    });
    let done: usize = done?.into_iter().sum();
    let seconds = begin.elapsed().as_secs_f64();
    Ok(vec![Figure {
        name: "a client connects, and the backend is asked; 16 at a time, µs",
        value: seconds * 1e6 / done as f64,
    }])
}

/// A token of a user with four grants.
fn token(server: &ChannelServer) -> Result<String> {
    let program = server.program().context("only offhook has tokens")?;
    let mut command = Command::new(program);
    command
        .args(["token", "ann"])
        .env("OFFHOOK_TOKEN_SECRET", SECRET);
    for grant in ["chat/*", "news/*", "private/ann/*", "games/7"] {
        command.args(["--grant", &format!("publish+subscribe {grant}")]);
    }
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

/// Bytes for each of many idle connections with one subscription.
fn held(running: &Running, token: Option<&str>) -> Result<f64> {
    let open = || {
        let mut connect = json!({"type":"connect","lineage":true});
        if let Some(token) = token {
            connect["token"] = token.into();
        }
        let mut session = Session::with(running.port, &connect)?;
        session.ask(&json!({"type":"subscribe","channel":"chat/1"}))?;
        Ok::<_, anyhow::Error>(session)
    };
    let first: Vec<_> = (0..100).map(|_| open()).collect::<Result<_>>()?;
    let before = process::anonymous_kib(running.id())?;
    let held: Vec<_> = (0..HELD).map(|_| open()).collect::<Result<_>>()?;
    let after = process::anonymous_kib(running.id())?;
    drop((first, held));
    Ok((after as f64 - before as f64) * 1024.0 / HELD as f64)
}

/// A connection that is kept, with one request after another.
struct Http {
    stream: BufReader<TcpStream>,
}

impl Http {
    fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// The body of the answer, whatever its status.
    fn post(&mut self, path: &str, body: &str) -> Result<String> {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {KEY}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (_, body) = message(&mut self.stream)?.context("the server closed the connection")?;
        Ok(body)
    }
}

/// A backend that allows everything, on a thread for each connection; returns its URL.
fn allow_everybody() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer_all(stream));
        }
    });
    Ok(url)
}

fn answer_all(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while message(&mut stream)?.is_some() {
        let body = r#"{"allow":true}"#;
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.get_mut().write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// The first line and the body of a message of HTTP/1.1 with a length; `None` at the end.
fn message(stream: &mut BufReader<TcpStream>) -> Result<Option<(String, String)>> {
    let mut first = String::new();
    if stream.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        ensure!(stream.read_line(&mut line)? > 0, "cut off in the head");
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some((first, String::from_utf8(body)?)))
}
