//! `offhook bench transports`: every transport, measured with this program's own server under packet loss.
//!
//! ```text
//!   publisher ─▶ server ─▶ TUN device: a link that delays, loses and counts packets ─▶ subscribers
//! ```
//!
//! The device needs a network namespace of its own, for which the command starts itself again. Without the right
//! to do so, a relay counts bytes, and nothing is lost.

mod blocking;
mod carrier;
mod figure;
mod link;
mod measure;
mod namespace;
mod page;
mod path;
mod publisher;
mod relay;
mod results;
mod server;
mod table;
#[cfg(target_os = "linux")]
mod tun;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::signal;

use self::carrier::{ALL, Carrier};
use self::measure::Measuring;
use self::namespace::Inside;
use self::path::Path;
use self::results::{Conditions, Results};
use self::server::{Place, Server};
use super::{at_least_one, percent, rate, size};
use crate::dial::time;
use crate::{failure::Failure, screen};

/// Compare all transports under packet loss: latency, bytes, processor time, reconnecting.
///
/// Starts this program's server, and measures one transport after another: polling (GET /poll), long-polling,
/// server-sent events with POST, WebSockets (plain, with permessage-deflate, over TLS, over HTTP/2) and
/// WebTransport, each under every loss. Then one packet at a time is lost on purpose, to see how long messages
/// of other channels wait for it.
///
/// Packets are lost where a network loses them, below TCP and QUIC: client and server talk over a TUN device,
/// whose packets this command delays, loses and counts. That needs Linux, the programs `unshare` (util-linux)
/// and `ip` (iproute2), /dev/net/tun, and the right to create a network namespace: root, or user namespaces for
/// everyone. Your own network is not touched. Without them, everything that needs no loss is measured over
/// loopback, and the command says what is missing.
///
/// All clients are ends of this project and run in this process; the server has one worker and is a process of
/// its own. Latency is the time from publishing to receipt. It contains half a round trip, and for polling half
/// of the interval. Reconnecting counts from the first packet of a new connection until a message that was
/// missed meanwhile has arrived; a client's own delay before it reconnects is not part of it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Transports {
    /// Shares of lost packets, in percent, separated by commas
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_value = "0,1,5", value_parser = loss)]
    loss: Vec<f64>,
    /// The round trip between client and server
    #[arg(long, value_name = "TIME", default_value = "40ms", value_parser = time)]
    round_trip: Duration,
    /// Number of subscribers; each has a connection of its own
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = at_least_one)]
    subscribers: usize,
    /// Messages per second; each goes to every subscriber
    #[arg(short, long, value_name = "N", default_value = "50", value_parser = rate)]
    rate: f64,
    /// Bytes of text in each message
    #[arg(short, long, value_name = "BYTES", default_value = "200", value_parser = size)]
    size: usize,
    /// How long to measure each transport under each loss
    #[arg(short, long, value_name = "TIME", default_value = "2s", value_parser = time)]
    time: Duration,
    /// The interval between polls
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = time)]
    poll: Duration,
    /// The longest time for everything; what is not measured by then is left out
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = time)]
    within: Duration,
    /// A short run, in about a minute, whose figures are rough: 300 ms each, one reconnect
    #[arg(long)]
    quick: bool,
    /// Determines which packets are lost
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Write the result as an HTML page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Measure over loopback without loss, even if packets could be lost
    #[arg(long)]
    loopback: bool,
    /// What this process does in its own network namespace
    #[arg(long, value_enum, hide = true, conflicts_with = "loopback")]
    inside: Option<Inside>,
}

const EXAMPLES: &str = "\
Examples:
  offhook bench transports                           all transports, 0, 1 and 5 % loss, in two minutes
  offhook bench transports --html transports.html    the same, with plots
  offhook bench transports --quick --loss 0,2        a first impression
  offhook bench transports --round-trip 150ms        across an ocean
  offhook bench transports --loopback                without any rights, and without loss

Exit codes: 0 everything was measured; 1 something could not be; 2 mistakes in flags.";

/// What is measured, and how.
#[derive(Clone, Debug)]
struct Plan {
    losses: Vec<f64>,
    round_trip: Duration,
    subscribers: usize,
    rate: f64,
    size: usize,
    time: Duration,
    poll: Duration,
    /// How long to wait for what is missing at the end of a measurement.
    grace: Duration,
    /// How often everyone reconnects under each loss.
    reconnects: usize,
    /// Packets that are lost on purpose for each transport.
    trials: usize,
    deadline: Instant,
}

/// The largest number of connections, all of which are in this process.
const MOST_SUBSCRIBERS: usize = 1_000;
/// The longest message in bytes, so that it fits into one packet.
const LONGEST: usize = 1_000;

impl Transports {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.check()?;
        let why_not = match self.inside {
            Some(Inside::Check) => return self.can_lose(),
            Some(Inside::Run) => None,
            None if self.loopback => Some("--loopback".to_owned()),
            None => match namespace::find() {
                Ok(way) => return over(namespace::run_inside(&way)?),
                Err(why) => Some(why),
            },
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let path = match &why_not {
            None => self.open_link()?,
            Some(why) => {
                screen::tell(&format!("packets can't be lost here: {why}"));
                screen::tell(namespace::NEEDED);
                screen::tell("measuring without loss, over loopback");
                Path::Relay(None)
            }
        };
        let plan = self.plan(&path);
        let results = runtime.block_on(run(&plan, path))?;
        screen::print(&table::text(&results))?;
        if let Some(file) = &self.html {
            let written = std::fs::write(file, page::page(&results));
            written.map_err(|error| {
                Failure::Failed(format!("{} can't be written: {error}", file.display()))
            })?;
        }
        match results.failures.as_slice() {
            [] => Ok(()),
            failures => Err(Failure::Failed(failures.join("\n"))),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        if self.subscribers > MOST_SUBSCRIBERS {
            let text = format!(
                "--subscribers: {}; at most {MOST_SUBSCRIBERS}, all of which are in this process",
                self.subscribers
            );
            return Err(Failure::usage(text));
        }
        if !(1..=LONGEST).contains(&self.size) {
            let text = format!(
                "--size: {} bytes; from 1 to {LONGEST}, so that a message fits into one packet",
                self.size
            );
            return Err(Failure::usage(text));
        }
        if self.poll.is_zero() || self.time.is_zero() {
            return Err(Failure::usage("--poll and --time: more than 0 is needed"));
        }
        Ok(())
    }

    fn plan(&self, path: &Path) -> Plan {
        let (time, reconnects, trials) = match self.quick {
            true => (Duration::from_millis(300).min(self.time), 1, 3),
            false => (self.time, 3, 20),
        };
        let mut losses = self.loss.clone();
        losses.sort_by(f64::total_cmp);
        losses.dedup();
        let is_lossy = path.loses();
        Plan {
            losses: if is_lossy { losses } else { vec![0.0] },
            round_trip: if is_lossy {
                self.round_trip
            } else {
                Duration::ZERO
            },
            subscribers: self.subscribers,
            rate: self.rate,
            size: self.size,
            time,
            poll: self.poll,
            grace: Duration::from_secs(2) + self.poll + self.round_trip * 4,
            reconnects,
            trials,
            deadline: Instant::now() + self.within,
        }
    }

    #[cfg(target_os = "linux")]
    fn open_link(&self) -> Result<Path, Failure> {
        let link = link::Link::new(self.round_trip / 2, self.seed);
        let tun = tun::Tun::open(link).map_err(|error| Failure::failed(&error))?;
        Ok(Path::Tun(tun))
    }

    #[cfg(not(target_os = "linux"))]
    fn open_link(&self) -> Result<Path, Failure> {
        Err(Failure::Failed("TUN devices need Linux".to_owned()))
    }

    /// Whether the device can be created; the error says why not.
    fn can_lose(&self) -> Result<(), Failure> {
        self.open_link().map(drop)
    }
}

/// Ends as the process in the namespace did, which has reported everything.
fn over(status: ExitStatus) -> Result<(), Failure> {
    match status.code() {
        Some(0) => Ok(()),
        code => {
            let code = code.and_then(|code| u8::try_from(code).ok());
            Err(Failure::Logged(code.unwrap_or(1)))
        }
    }
}

fn loss(text: &str) -> Result<f64, String> {
    let share = percent(text).ok().filter(|share| *share <= 50.0);
    share.ok_or_else(|| "expected a percentage from 0 to 50, such as 1 or 0.5".to_owned())
}

/// An error with its causes.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

async fn run(plan: &Plan, mut path: Path) -> Result<Results, Failure> {
    let place = Place::create()?;
    let mut results = Results {
        conditions: Conditions {
            round_trip_ms: plan.round_trip.as_secs_f64() * 1e3,
            subscribers: plan.subscribers,
            rate: plan.rate,
            bytes: plan.size,
            poll_ms: plan.poll.as_secs_f64() * 1e3,
            losses: plan.losses.clone(),
            has_packets: path.loses(),
        },
        ..Results::default()
    };
    let measuring = measure_all(plan, &mut path, &place, &mut results);
    tokio::select! {
        () = measuring => {}
        stopped = signal::ctrl_c() => {
            stopped?;
            return Err(Failure::Failed("stopped before the end".to_owned()));
        }
    }
    Ok(results)
}

/// Measures everything that there is time for. A transport that fails does not keep others from being measured.
async fn measure_all(plan: &Plan, path: &mut Path, place: &Place, results: &mut Results) {
    for carrier in ALL {
        if let Err(why) = measure_one(plan, path, place, carrier, results).await {
            results.failures.push(format!("{}: {why}", carrier.title()));
        }
    }
    if !path.loses() {
        return;
    }
    for carrier in blocking::COMPARED {
        if let Err(why) = measure_blocking(plan, path, place, carrier, results).await {
            results
                .failures
                .push(format!("head-of-line blocking, {}: {why}", carrier.title()));
        }
    }
}

fn has_time(plan: &Plan) -> Result<(), String> {
    match Instant::now() < plan.deadline {
        true => Ok(()),
        false => Err("not measured: the time is over (--within)".to_owned()),
    }
}

async fn measure_one(
    plan: &Plan,
    path: &mut Path,
    place: &Place,
    carrier: Carrier,
    results: &mut Results,
) -> Result<(), String> {
    has_time(plan)?;
    // A fresh one each, so that none pays for what another one has left.
    let server = Server::start(place, path.listen_at()).await;
    let server = server.map_err(|error| error.to_string())?;
    let reach = path
        .lead_to(&server)
        .await
        .map_err(|error| error.to_string())?;
    for loss in plan.losses.iter().copied() {
        has_time(plan)?;
        screen::tell(&format!("{:<20} {loss} % loss", carrier.title()));
        let measuring = Measuring {
            plan,
            path,
            server: &server,
            reach: &reach,
            carrier,
        };
        results.cells.push(measuring.under(loss).await?);
    }
    Ok(())
}

async fn measure_blocking(
    plan: &Plan,
    path: &mut Path,
    place: &Place,
    carrier: Carrier,
    results: &mut Results,
) -> Result<(), String> {
    has_time(plan)?;
    let server = Server::start(place, path.listen_at()).await;
    let server = server.map_err(|error| error.to_string())?;
    let reach = path
        .lead_to(&server)
        .await
        .map_err(|error| error.to_string())?;
    screen::tell(&format!(
        "{:<24} one lost packet at a time",
        carrier.title()
    ));
    let measured = blocking::measure(plan, path, &server, &reach, carrier).await?;
    if measured.trials == 0 {
        return Err("no packet with a message was lost".to_owned());
    }
    results.blocking.push(measured);
    Ok(())
}
