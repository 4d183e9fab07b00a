//! Checks on an open connection: pings, the largest message, the closing handshake.

use std::io;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::finding::{Finding, Findings};
use super::socket::{Route, Socket};
use crate::explain::Content;
use crate::failure::Failure;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// How many pings are sent; the fastest shows the latency of the network.
const PINGS: u8 = 3;

pub(super) async fn check(route: &Route, findings: &mut Findings) -> Result<(), Failure> {
    let mut socket = match route.open(&[]).await {
        Ok(answer) if answer.status == 101 => answer.socket,
        Ok(answer) => {
            let text = format!("a second connection gets status {}", answer.status);
            return findings.add(Finding::failed("ping", text).advice(
                "is there a limit of connections per address, or several servers behind a balancer \
                 that do not agree?",
            ));
        }
        Err(error) => return findings.add(Finding::failed("ping", error.to_string())),
    };
    let round_trip = ping(&mut socket, route.limit, findings).await?;
    closing(&mut socket, route.limit, findings).await?;
    for broken in &socket.broken {
        let text = format!("{} ({})", broken.rule, broken.section);
        let advice = "clients fail the connection with 1002 or 1007: `offhook dial --frames` shows \
                      where";
        findings.add(Finding::failed("frames", text).advice(advice))?;
    }
    match round_trip {
        Some(round_trip) => largest(route, round_trip, findings).await,
        // It cannot be told whether a refusal would have followed.
        None => Ok(()),
    }
}

/// The fastest round trip.
async fn ping(
    socket: &mut Socket,
    limit: Duration,
    findings: &mut Findings,
) -> Result<Option<Duration>, Failure> {
    let mut fastest: Option<Duration> = None;
    for number in 0..PINGS {
        let begun = Instant::now();
        let waited = timeout(limit, pong(socket, number)).await;
        let why = match waited {
            Ok(Ok(true)) => {
                let time = begun.elapsed();
                fastest = Some(fastest.map_or(time, |fastest| fastest.min(time)));
                continue;
            }
            Ok(Ok(false)) => "the server closed the connection instead of a pong".to_owned(),
            Ok(Err(error)) => format!("the connection was lost instead of a pong: {error}"),
            Err(_) => format!("no pong in {limit:?}"),
        };
        findings.add(Finding::failed("ping", why).advice(
            "a server answers pings by itself (RFC 6455 §5.5.2); without that, clients and proxies \
             consider the connection dead",
        ))?;
        return Ok(None);
    }
    let milliseconds = fastest.unwrap_or_default().as_secs_f64() * 1e3;
    findings.add(Finding::ok(
        "ping",
        format!("a pong after {milliseconds:.1} ms"),
    ))?;
    Ok(fastest)
}

/// Sends a ping and waits for its pong; `false` if the server closes first.
async fn pong(socket: &mut Socket, number: u8) -> io::Result<bool> {
    let payload = [b'o', b'h', number];
    socket.send(PING, &payload).await?;
    while let Some(frame) = socket.next().await? {
        match frame.header.opcode {
            PONG if frame.payload == payload => return Ok(true),
            PING => socket.send(PONG, &frame.payload).await?,
            CLOSE => return Ok(false),
            _ => {}
        }
    }
    Ok(false)
}

async fn closing(
    socket: &mut Socket,
    limit: Duration,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let close = async {
        socket.send(CLOSE, &1000_u16.to_be_bytes()).await?;
        while let Some(frame) = socket.next().await? {
            if frame.header.opcode == CLOSE {
                return Ok(true);
            }
        }
        Ok::<bool, io::Error>(false)
    };
    match timeout(limit, close).await {
        Ok(Ok(true)) => findings.add(Finding::ok("close", "the closing handshake is answered")),
        Ok(Ok(false) | Err(_)) => findings.add(not_closed("the connection is cut instead")),
        Err(_) => findings.add(not_closed(&format!("no answer in {limit:?}"))),
    }
}

fn not_closed(why: &str) -> Finding {
    Finding::warning(
        "close",
        format!("the closing handshake is not answered: {why}"),
    )
    .advice(
        "browsers report 1006 instead of the code, and clients may report a normal end as a loss",
    )
}

/// The lengths tried: 2^10 to 2^30 bytes.
const SHORTEST: u32 = 10;
const LONGEST: u32 = 30;

/// Finds the largest message by announcing lengths. The payload is never sent.
async fn largest(
    route: &Route,
    round_trip: Duration,
    findings: &mut Findings,
) -> Result<(), Failure> {
    // A refusal takes a round trip and little processing.
    let wait = (round_trip * 4).max(Duration::from_millis(250));
    let (mut taken, mut refused) = (SHORTEST - 1, None);
    let (mut low, mut high) = (SHORTEST, LONGEST);
    while low <= high {
        let middle = low.midpoint(high);
        match announce(route, 1 << middle, wait).await {
            Ok(None) => {
                taken = middle;
                low = middle + 1;
            }
            Ok(Some(how)) => {
                refused = Some((middle, how));
                high = middle - 1;
            }
            Err(why) => return findings.add(Finding::warning("largest", why)),
        }
    }
    let finding = match refused {
        None => Finding::warning("largest", "no limit was found up to 1 GiB").advice(
            "the server judges a message only when it is there, or takes what comes: make sure that \
             strangers can't fill its memory",
        ),
        Some((length, how)) if length == SHORTEST => {
            let text = format!("not even a message of 1 KiB is accepted: {how}");
            Finding::warning("largest", text).advice("is the limit meant to be that low?")
        }
        Some((length, how)) => {
            let (taken, refused) = (size(taken), size(length));
            let text = format!("{taken} is accepted, {refused} is refused: {how}");
            if how == TOO_BIG {
                Finding::ok("largest", text)
            } else {
                Finding::warning("largest", text).advice(
                    "1009 (message too big) would tell clients why, and that the same again is of \
                     no use",
                )
            }
        }
    };
    findings.add(finding)
}

const TOO_BIG: &str = "closed with 1009";

/// How the server refuses a message of this length, if it does.
async fn announce(route: &Route, length: u64, wait: Duration) -> Result<Option<String>, String> {
    let answer = route.open(&[]).await.map_err(|error| error.to_string())?;
    if answer.status != 101 {
        return Err(format!(
            "a further connection gets status {}",
            answer.status
        ));
    }
    let mut socket = answer.socket;
    let refusal = async {
        if socket.announce(length).await.is_err() {
            return "cut without a close".to_owned();
        }
        loop {
            match socket.next().await {
                Ok(Some(frame)) if frame.header.opcode == CLOSE => {
                    return match frame.content {
                        Content::Close {
                            code: Some(code), ..
                        } => {
                            format!("closed with {}", code.get())
                        }
                        Content::Close { code: None, .. }
                        | Content::Data { .. }
                        | Content::Heartbeat
                        | Content::Unknown => "closed without a code".to_owned(),
                    };
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return "cut without a close".to_owned(),
            }
        }
    };
    Ok(timeout(wait, refusal).await.ok())
}

fn size(power: u32) -> String {
    match power {
        0..20 => format!("{} KiB", 1_u64 << power.saturating_sub(10)),
        20..30 => format!("{} MiB", 1_u64 << (power - 20)),
        _ => format!("{} GiB", 1_u64 << (power - 30)),
    }
}

/// Whether a frame carries a message or a part of one.
pub(super) fn is_data(opcode: u8) -> bool {
    opcode <= TEXT + 1
}
