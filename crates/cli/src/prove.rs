//! `offhook prove`: injects faults for a minute, and counts lost messages.

use std::{
    env, io,
    io::IsTerminal as _,
    path::{self, PathBuf},
    time::Duration,
};

use clap::{Args, value_parser};
use offhook_proof::{Dialect, Plan, Stage, Status, Transport, client_process, fresh_seed, prove};
use tokio::{runtime::Builder, signal, time::Instant};

use crate::{
    failure::Failure,
    open_files,
    screen::{self, BOLD, DIM},
};

/// Prove that nothing is lost: cut, freeze, kill and restore everything, and count.
///
/// Starts this program's server on a new log, with publishers and subscribers in other processes.
/// Native clients publish JSON and bytes in turn.
/// While they run, the proof injects faults, as determined by the seed: connections are cut and
/// frozen; processes and the server are frozen; the server is killed, restarted, backed up and
/// restored from an older backup; its clock is stepped, and its fsyncs fail. The server has a small
/// budget for memory, and publishers exceed its rates. In the end, every subscriber must have
/// received everything that was acknowledged, once and in one order; what a backup does not contain
/// must have been announced; every channel must have exactly its members; and the server must have
/// freed its memory.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Prove {
    /// How long faults are injected.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = value_parser!(u64).range(1..))]
    seconds: u64,
    /// Number of subscribers; each has a connection, and follows two channels.
    #[arg(long, value_name = "COUNT", default_value_t = 300)]
    subscribers: usize,
    /// Number of publishers; each has a connection, and publishes to one channel.
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    publishers: usize,
    /// Number of channels.
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    channels: usize,
    /// Number of processes over which subscribers are distributed.
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    processes: usize,
    /// Publications per second of each publisher.
    #[arg(long, value_name = "COUNT", default_value_t = 25.0)]
    rate: f64,
    /// The transport: `websocket`, `sse` (server-sent events, with requests for sending), `poll`
    /// (long-polling), `webtransport` or `mixed` (each connection of a client uses another one of these than
    /// the connection before).
    #[arg(long, value_name = "TRANSPORT", default_value = "websocket")]
    transport: Transport,
    /// What the clients speak: `native`, `socketio` (with connection state recovery) or `mqtt` (5.0 and
    /// 3.1.1, with persistent sessions). With the last two, the server is not restored from a backup.
    #[arg(long, value_name = "DIALECT", default_value = "native", value_parser = ["native", "socketio", "mqtt"])]
    dialect: String,
    /// The QoS of MQTT's messages: 1 or 2.
    #[arg(long, value_name = "QOS", default_value_t = 2)]
    qos: u8,
    /// Directory for the server's data: use it to test a particular disk [default: the system's
    /// directory for temporary files].
    #[arg(long, value_name = "DIR")]
    place: Option<PathBuf>,
    /// Inject the same faults at the same times as another run with this seed.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// A configuration file for the server, to see its effect: for example, a channel that retains
    /// too little causes gaps.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run as one of the client processes.
    #[arg(long, hide = true)]
    client_process: bool,
}

const EXAMPLES: &str = "\
Examples:
  offhook prove                          a minute, 300 subscribers
  offhook prove --seconds 3600 --place . an hour, on the disk of this directory
  offhook prove --transport poll         over long polls
  offhook prove --transport mixed        over all transports, and changes between them
  offhook prove --dialect mqtt --qos 1   clients of MQTT, with QoS 1
  offhook prove --seed 42                what happened to somebody else, again

Exit codes: 0 nothing was lost, repeated or reordered; 1 something was, or it could not be run to its
end, and the server's data are kept; 2 mistakes in flags.";

/// How long nothing may arrive at the end before the proof gives up: longer than the longest delay
/// between connection attempts.
const PATIENCE: Duration = Duration::from_secs(60);

impl Prove {
    pub(crate) fn run(self) -> Result<(), Failure> {
        open_files::raise();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        if self.client_process {
            return runtime.block_on(client_process()).map_err(Failure::from);
        }
        let plan = self.plan()?;
        plan.check().map_err(Failure::usage)?;
        runtime.block_on(run(&plan))
    }

    fn plan(self) -> Result<Plan, Failure> {
        Ok(Plan {
            program: env::current_exe()?,
            config: self.config.map(path::absolute).transpose()?,
            place: self.place.unwrap_or_else(env::temp_dir),
            subscribers: self.subscribers,
            publishers: self.publishers,
            channels: self.channels,
            processes: self.processes,
            rate: self.rate,
            length: Duration::from_secs(self.seconds),
            patience: PATIENCE,
            dialect: match &*self.dialect {
                "socketio" => Dialect::SocketIo,
                "mqtt" => Dialect::Mqtt { qos: self.qos },
                _ => Dialect::Native,
            },
            transport: self.transport,
            seed: self.seed.unwrap_or_else(fresh_seed),
        })
    }
}

async fn run(plan: &Plan) -> Result<(), Failure> {
    screen::tell(&format!(
        "{BOLD}{} subscribers, {} publishers, {} s of faults{BOLD:#}  {DIM}--seed {}{DIM:#}",
        plan.subscribers,
        plan.publishers,
        plan.length.as_secs(),
        plan.seed,
    ));
    let mut show = Show::new(plan);
    let proof = prove(plan, |status| show.show(&status));
    let report = tokio::select! {
        report = proof => report,
        stopped = signal::ctrl_c() => {
            show.end();
            stopped?;
            return Err(Failure::failed(&io::Error::other("stopped before the end")));
        }
    };
    show.end();
    let report = report.map_err(|error| Failure::failed(&error))?;
    screen::print(&format!("\n{report}"))?;
    if report.is_clean() {
        return Ok(());
    }
    let kept = format!(
        "the server's log and data are kept in {}",
        plan.place.display()
    );
    let broken = io::Error::other("the guarantee was violated: see above");
    Err(Failure::failed(&broken).hint(kept))
}

/// One line that is rewritten again and again in a terminal; otherwise an occasional line.
struct Show {
    is_terminal: bool,
    length: Duration,
    next: Instant,
}

impl Show {
    fn new(plan: &Plan) -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            length: plan.length,
            next: Instant::now(),
        }
    }

    fn show(&mut self, status: &Status) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        let (every, begin, end) = if self.is_terminal {
            (Duration::from_millis(100), "\r\x1b[K", "")
        } else {
            (Duration::from_secs(10), "", "\n")
        };
        self.next = now + every;
        screen::tell_in_place(&format!("{begin}{}{end}", self.line(status)));
    }

    fn line(&self, status: &Status) -> String {
        let (progress, broken) = (&status.progress, &status.broken);
        let stage = match status.stage {
            Stage::Starting => "starting".to_owned(),
            Stage::Faults => format!(
                "{:>3}/{} s",
                status.elapsed.as_secs(),
                self.length.as_secs()
            ),
            Stage::Settling => "settling".to_owned(),
        };
        format!(
            "{stage:10} {:>4} connections  {} published  {} delivered  {DIM}{} kills, {} connections cut, \
             {} frozen, {} processes frozen; {} resumed, {} by position{DIM:#}",
            status.connections,
            progress.published,
            progress.delivered,
            broken.kills,
            broken.cut,
            broken.frozen_connections,
            broken.frozen_processes,
            progress.resumed,
            progress.by_position,
        )
    }

    /// Ends the line that is being rewritten.
    fn end(&self) {
        if self.is_terminal {
            screen::tell("");
        }
    }
}
