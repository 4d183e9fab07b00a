//! `load`: measures one WebSocket server. The runner (`offhook-bench`) starts it for each round.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use load::dialects::Dialect;
use load::report::Report;
use load::ring::Shape;
use load::transport::Dialer;
use load::{
    echo, fan_out, handshakes, holding, idle, polled, publishing, reading, slow_connection,
};

/// Measure one WebSocket echo server and print the result as one line of JSON.
///
/// For meaningful figures, pin this program and the server to different cores:
///
///   taskset -c 1 load echo 127.0.0.1:9001 --pid 4711 --connections 64 --size 1024
#[derive(Parser)]
#[command(verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Target {
    /// Address of the server.
    address: SocketAddr,
    /// Process id of the server, to read its processor time and memory.
    #[arg(long)]
    pid: u32,
    /// Connect over TLS, and trust only this certificate (PEM, for `localhost`).
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

#[derive(Args)]
struct Times {
    /// Seconds of the measurement.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Seconds of warm-up, not counted.
    #[arg(long, default_value_t = 0.3)]
    warm_up: f64,
}

#[derive(Args)]
struct Tongue {
    /// Protocol of the server.
    #[arg(long)]
    dialect: Dialect,
    /// Channel, room, subject or topic.
    #[arg(long, default_value = "bench.0")]
    channel: String,
}

#[derive(Args)]
struct Audience {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    times: Times,
    #[command(flatten)]
    tongue: Tongue,
    /// Subscribers.
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// Bytes of each publication.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Publications per second in the part with a fixed rate.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
}

#[derive(Args)]
struct Publishing {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    times: Times,
    /// Protocol of the server.
    #[arg(long)]
    dialect: Dialect,
    /// Connections that publish.
    #[arg(long, default_value_t = 64)]
    publishers: usize,
    /// Channels they publish to, in turn.
    #[arg(long, default_value_t = 16)]
    channels: usize,
    /// Unacknowledged publications of each connection.
    #[arg(long, default_value_t = 16)]
    in_flight: usize,
    /// Bytes of each publication.
    #[arg(long, default_value_t = 128)]
    size: usize,
}

#[derive(Subcommand)]
enum Command {
    /// Messages per second, with a number in flight on each connection.
    Echo {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        times: Times,
        /// Connections.
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Bytes of each message.
        #[arg(long, default_value_t = 20)]
        size: usize,
        /// Messages in flight on each connection.
        #[arg(long, default_value_t = 1)]
        in_flight: usize,
        /// JSON text instead of binary messages.
        #[arg(long)]
        json: bool,
        /// Offer permessage-deflate, and fail if the server declines.
        #[arg(long)]
        deflate: bool,
    },
    /// Complete connections per second: connect, upgrade, echo 20 B, close.
    Handshakes {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        times: Times,
        /// Connections in progress at a time.
        #[arg(long, default_value_t = 64)]
        connections: usize,
    },
    /// From one publisher to many subscribers: with one publication in flight, with eight, and at
    /// a fixed rate.
    FanOut(Audience),
    /// Fan-out without and then with one subscriber that does not read, which catches up
    /// afterwards.
    SlowConnection(Audience),
    /// Acknowledged publications per second.
    Publish(Publishing),
    /// History: pages of a hundred publications, from channels filled beforehand.
    Read {
        #[command(flatten)]
        publishing: Publishing,
        /// Publications in each channel.
        #[arg(long, default_value_t = 5000)]
        kept: u64,
    },
    /// Hold idle connections, each with one subscription, until standard input ends; each line on
    /// it makes all of them exchange a ping.
    Hold {
        /// Address of the server.
        address: SocketAddr,
        #[command(flatten)]
        tongue: Tongue,
        /// Connections.
        #[arg(long)]
        connections: usize,
        /// What every publication contains, if there are any.
        #[arg(long)]
        expects: Option<String>,
        /// Local address to connect from.
        #[arg(long)]
        from: Option<IpAddr>,
    },
    /// Hold sessions that are polled, each with one subscription and between two polls, until standard input
    /// ends.
    HoldPolled {
        /// Address of the server.
        address: SocketAddr,
        /// Channel.
        #[arg(long, default_value = "bench.0")]
        channel: String,
        /// Sessions.
        #[arg(long)]
        connections: usize,
    },
    /// The server's memory for each idle connection.
    Idle {
        #[command(flatten)]
        target: Target,
        /// Connections.
        #[arg(long, default_value_t = 4000)]
        connections: usize,
        /// Offer permessage-deflate, and fail if the server declines.
        #[arg(long)]
        deflate: bool,
    },
}

fn main() -> Result<ExitCode> {
    let (report, code) = match measure(Cli::parse().command) {
        Ok(report) => (report, ExitCode::SUCCESS),
        Err(error) => (
            Report::Failed {
                error: format!("{error:#}"),
            },
            ExitCode::FAILURE,
        ),
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(code)
}

fn measure(command: Command) -> Result<Report> {
    let dialer = |target: &Target| Dialer::new(target.address, target.ca.as_deref());
    let seconds = Duration::from_secs_f64;
    match command {
        Command::Echo {
            target,
            times,
            connections,
            size,
            in_flight,
            json,
            deflate,
        } => {
            let plan = echo::Plan {
                connections,
                in_flight,
                shape: Shape { size, json },
                deflate,
                warm_up: seconds(times.warm_up),
                time: seconds(times.seconds),
                pid: target.pid,
            };
            echo::run(dialer(&target)?, &plan).map(Report::Rate)
        }
        Command::Handshakes {
            target,
            times,
            connections,
        } => {
            let plan = handshakes::Plan {
                connections,
                warm_up: seconds(times.warm_up),
                time: seconds(times.seconds),
                pid: target.pid,
            };
            handshakes::run(dialer(&target)?, &plan).map(Report::Rate)
        }
        Command::FanOut(audience) => {
            let dialer = dialer(&audience.target)?;
            fan_out::run(&dialer, &audience.plan()).map(Report::FanOut)
        }
        Command::SlowConnection(audience) => {
            let dialer = dialer(&audience.target)?;
            slow_connection::run(&dialer, &audience.plan()).map(Report::SlowConnection)
        }
        Command::Publish(publishing) => {
            let dialer = dialer(&publishing.target)?;
            publishing::run(&dialer, &publishing.plan()).map(Report::Rate)
        }
        Command::Read { publishing, kept } => {
            let dialer = dialer(&publishing.target)?;
            reading::run(&dialer, &publishing.plan(), kept).map(Report::Rate)
        }
        Command::Hold {
            address,
            tongue,
            connections,
            expects,
            from,
        } => {
            let plan = holding::Plan {
                dialect: tongue.dialect,
                channel: tongue.channel,
                connections,
                expects,
            };
            let dialer = Dialer::new(address, None)?.from(from);
            holding::run(&dialer, &plan).map(|()| Report::Held)
        }
        Command::HoldPolled {
            address,
            channel,
            connections,
        } => polled::run(address, &channel, connections).map(|()| Report::Held),
        Command::Idle {
            target,
            connections,
            deflate,
        } => {
            let plan = idle::Plan {
                connections,
                deflate,
                pid: target.pid,
            };
            idle::run(dialer(&target)?, &plan).map(Report::Memory)
        }
    }
}

impl Audience {
    fn plan(&self) -> fan_out::Plan {
        fan_out::Plan {
            dialect: self.tongue.dialect,
            channel: self.tongue.channel.clone(),
            subscribers: self.subscribers,
            size: self.size,
            rate: self.rate,
            warm_up: Duration::from_secs_f64(self.times.warm_up),
            time: Duration::from_secs_f64(self.times.seconds),
            pid: self.target.pid,
        }
    }
}

impl Publishing {
    fn plan(&self) -> publishing::Plan {
        publishing::Plan {
            dialect: self.dialect,
            publishers: self.publishers,
            channels: self.channels,
            in_flight: self.in_flight,
            size: self.size,
            warm_up: Duration::from_secs_f64(self.times.warm_up),
            time: Duration::from_secs_f64(self.times.seconds),
            pid: self.target.pid,
        }
    }
}
