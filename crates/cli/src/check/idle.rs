//! Measures how long an idle connection stays open.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{sleep, timeout_at};

use super::finding::{Finding, Findings};
use super::socket::{Route, Socket};
use super::talk::{PONG, is_data};
use crate::explain::{Content, Frame};
use crate::failure::Failure;

/// What happened on a connection on which this client sent nothing.
#[derive(Debug, Default)]
struct Watched {
    /// When the server's pings arrived.
    pings: Vec<Duration>,
    messages: u64,
    /// When and how the connection ended.
    ended: Option<(Duration, String)>,
}

/// How many pings are recorded. 1,000: only the interval between two of them matters.
const MOST_PINGS: usize = 1_000;

pub(super) async fn check(
    route: &Route,
    limit: Duration,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let mut socket = match route.open(&[]).await {
        Ok(answer) if answer.status == 101 => answer.socket,
        Ok(answer) => {
            let text = format!("a further connection gets status {}", answer.status);
            return findings.add(Finding::failed("idle", text));
        }
        Err(error) => return findings.add(Finding::failed("idle", error.to_string())),
    };
    let bar = bar(limit, findings.is_json());
    let begun = Instant::now();
    let watched = tokio::select! {
        watched = watch(&mut socket, begun, limit) => watched,
        () = advance(&bar, begun) => Watched::default(),
    };
    bar.finish_and_clear();
    findings.add(finding(&watched, limit))
}

/// On stderr, in a terminal only.
fn bar(limit: Duration, is_quiet: bool) -> ProgressBar {
    let target = if io::stderr().is_terminal() && !is_quiet {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let seconds = limit.as_secs().max(1);
    let bar = ProgressBar::with_draw_target(Some(seconds), target);
    let template =
        "waiting for the idle connection to be cut; Ctrl-C stops\n{wide_bar} {pos}/{len} s";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸ "));
    }
    bar
}

/// Advances the bar. Never returns.
async fn advance(bar: &ProgressBar, begun: Instant) {
    loop {
        bar.set_position(begun.elapsed().as_secs());
        sleep(Duration::from_millis(200)).await;
    }
}

async fn watch(socket: &mut Socket, begun: Instant, limit: Duration) -> Watched {
    let end = tokio::time::Instant::from_std(begun + limit);
    let mut watched = Watched::default();
    while let Ok(next) = timeout_at(end, socket.next()).await {
        let after = begun.elapsed();
        match next {
            Ok(Some(frame)) => {
                if watched.take(after, &frame) {
                    return watched;
                }
                let is_ping = frame.header.opcode == PONG - 1;
                if is_ping && socket.send(PONG, &frame.payload).await.is_err() {
                    watched.ended = Some((after, "cut without a close".to_owned()));
                    return watched;
                }
            }
            Ok(None) => {
                watched.ended = Some((after, "cut without a close (FIN)".to_owned()));
                return watched;
            }
            Err(error) => {
                let is_reset = error.kind() == io::ErrorKind::ConnectionReset;
                let how = if is_reset {
                    "cut without a close (RST)".to_owned()
                } else {
                    format!("lost: {error}")
                };
                watched.ended = Some((after, how));
                return watched;
            }
        }
    }
    watched
}

impl Watched {
    /// Records a frame; `true` if it is the last.
    fn take(&mut self, after: Duration, frame: &Frame) -> bool {
        match &frame.content {
            Content::Close { code, reason } => {
                let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
                let reason = String::from_utf8_lossy(reason);
                let reason = match &*reason {
                    "" => String::new(),
                    reason => format!(": {reason}"),
                };
                self.ended = Some((after, format!("closed with {code}{reason}")));
                return true;
            }
            Content::Heartbeat => {
                if frame.header.opcode == PONG - 1 && self.pings.len() < MOST_PINGS {
                    self.pings.push(after);
                }
            }
            Content::Data { .. } | Content::Unknown => {
                self.messages += u64::from(is_data(frame.header.opcode));
            }
        }
        false
    }

    /// The interval of the server's pings.
    fn interval(&self) -> Option<Duration> {
        match self.pings.as_slice() {
            [] => None,
            [only] => Some(*only),
            [first, .., last] => {
                let gaps = u32::try_from(self.pings.len() - 1).unwrap_or(1);
                Some((*last - *first) / gaps)
            }
        }
    }
}

fn finding(watched: &Watched, limit: Duration) -> Finding {
    let limit = limit.as_secs_f64();
    let pings = watched.interval().map(|interval| {
        let seconds = interval.as_secs_f64();
        format!("the server pings every {seconds:.0} s")
    });
    let Some((after, how)) = &watched.ended else {
        return match pings {
            Some(pings) => Finding::ok("idle", format!("{pings}, and the connection stays open")),
            None => Finding::ok(
                "idle",
                format!("an idle connection stays open for at least {limit:.0} s"),
            )
            .advice(
                "nobody pings: a client that is gone is noticed late, and somewhere a firewall \
                     may cut after some minutes. Let the server ping every 25 s",
            ),
        };
    };
    let after = after.as_secs_f64();
    let text = match &pings {
        Some(pings) => format!("{how} after {after:.1} s, although {pings}"),
        None => format!("{how} after {after:.1} s without a message"),
    };
    let advice = if how.starts_with("closed") {
        "the server wants something from its clients by then: a first message, a ping or a token. If \
         it does not, raise its idle timeout"
    } else {
        "a proxy or the server cuts idle connections: ping more often than that, or raise the \
         timeout (nginx: proxy_read_timeout 1h; at this location)"
    };
    Finding::warning("idle", text).advice(advice)
}
