//! `offhook top`: a live view of a running server.

mod figures;
mod metrics;
mod view;

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::Value;
use tokio::{runtime::Builder, time::sleep_until};

use self::{figures::Figures, metrics::Metrics};
use crate::{
    api::{Api, Server, query},
    dial::time,
    failure::Failure,
    screen,
    signals::Signals,
};

/// Show what a running server does: rates, latencies, memory, slow connections and busy channels.
///
/// In a terminal, the view is redrawn after each interval, until Ctrl-C. In a pipe, one line is
/// printed for each interval. Rates and latencies are those of the interval.
///
/// Asks the server's /metrics and its HTTP API.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Top {
    /// The time between two views, at least 100ms
    #[arg(short, long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    interval: Duration,
    /// Print the view of one interval, and exit
    #[arg(long)]
    once: bool,
    /// The number of connections and channels in the lists, up to 128
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=128))]
    limit: u32,
    /// Print each view as a JSON object on one line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

const EXAMPLES: &str = "\
Examples:
  offhook top                                        the server at localhost:8000
  offhook top --server https://chat.example.com      another one
  offhook top --once                                 one view, for a report
  offhook top --json >> figures.jsonl                one object for each interval

OFFHOOK_ADMIN_KEY has the API key (scope admin).

Exit codes: 0 ended by Ctrl-C, or after one view; 1 the server cannot be asked, or refuses; 2
invalid flags.";

/// The shortest interval. 100 ms: each view costs the server some milliseconds.
const SHORTEST: Duration = Duration::from_millis(100);

fn interval(text: &str) -> Result<Duration, String> {
    time(text).and_then(|interval| match interval < SHORTEST {
        true => Err("the minimum is 100ms".to_owned()),
        false => Ok(interval),
    })
}

/// The answers of a server at one time.
struct Sample {
    at: Instant,
    metrics: Metrics,
    stats: Value,
    top: Value,
}

/// How views are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A page that is drawn over the previous one.
    Live,
    /// A page.
    Page,
    /// A line.
    Line,
    /// A JSON object on a line.
    Json,
}

impl Top {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let done = runtime.block_on(self.watch());
        runtime.shutdown_background();
        done
    }

    const fn form(&self, is_terminal: bool) -> Form {
        match (self.json, self.once, is_terminal) {
            (true, _, _) => Form::Json,
            (false, true, _) => Form::Page,
            (false, false, true) => Form::Live,
            (false, false, false) => Form::Line,
        }
    }

    async fn watch(&self) -> Result<(), Failure> {
        let mut api = self.server.api()?;
        let form = self.form(io::stdout().is_terminal());
        let mut signals = Signals::listen()?;
        let mut before = self.sample(&mut api).await?;
        loop {
            tokio::select! {
                () = sleep_until((before.at + self.interval).into()) => {}
                () = signals.next() => return Ok(()),
            }
            let now = self.sample(&mut api).await?;
            let figures = Figures::between(&before, &now);
            let printed = match form {
                Form::Live => view::live(&figures, screen_size()),
                Form::Page => view::page(&figures),
                Form::Line => view::line(&figures),
                Form::Json => figures.json().to_string() + "\n",
            };
            screen::print(&printed)?;
            if self.once {
                return Ok(());
            }
            before = now;
        }
    }

    async fn sample(&self, api: &mut Api) -> Result<Sample, Failure> {
        let text = api.text("/metrics").await?;
        let limit = self.limit.to_string();
        let top = api
            .json(&format!("top{}", query(&[("limit", &limit)])))
            .await?;
        let stats = api.json("stats").await?;
        Ok(Sample {
            at: Instant::now(),
            metrics: Metrics::parse(&text),
            stats,
            top,
        })
    }
}

/// Rows and columns of the terminal.
#[cfg(unix)]
fn screen_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        Ok(_) | Err(_) => USUAL_SIZE,
    }
}

#[cfg(not(unix))]
fn screen_size() -> (usize, usize) {
    USUAL_SIZE
}

/// The assumed size of a terminal that does not report its size.
const USUAL_SIZE: (usize, usize) = (24, 80);
