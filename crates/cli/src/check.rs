//! `offhook check`: finds problems of a deployment, for a person or for monitoring.
//!
//! ```text
//!   Target ─▶ reach: DNS, TCP ─▶ encryption ─▶ handshake ─▶ options ─▶ talk ─▶ idle
//!                                                  │ redirect: again from the beginning
//! ```
//!
//! It implements HTTP and frames itself ([`mod@socket`]): a client that tolerates or rejects
//! mistakes would hide them. Each step adds [`Finding`]s; if a step fails, the steps that depend on
//! it are skipped.

mod encryption;
mod finding;
mod handshake;
mod http2;
mod idle;
mod options;
mod reach;
mod socket;
mod talk;
mod target;

use std::time::Duration;

use clap::Args;
use tokio::runtime::Builder;

use self::finding::{Finding, Findings};
use self::handshake::Outcome;
use self::socket::Route;
use self::target::Target;
use crate::dial::{Trust, header, time};
use crate::failure::Failure;

/// Find out what is wrong with a WebSocket server, and what to do about it.
///
/// Checks everything between a browser and the server, in this order: the name, the port, TLS and
/// the certificate, the opening handshake with each of its headers, redirects, origins,
/// subprotocols, compression, pings, the largest message, the closing handshake, HTTP/2, and
/// finally how long an idle connection stays open.
///
/// It sends no messages: the application sees only connections, pings, and the headers of frames
/// whose payload is never sent.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Check {
    /// The server to check: ws://, wss://, http:// or https://
    url: String,
    /// Subprotocols to offer, the preferred one first
    #[arg(short, long, value_name = "NAME")]
    subprotocol: Vec<String>,
    /// A header of the request, such as 'Authorization: Bearer 42'
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// The site whose pages connect [default: the server's own]
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
    /// How long to wait for an idle connection to be cut; 0s skips this step. The default is longer
    /// than the 60 s after which most proxies cut
    #[arg(long, value_name = "TIME", default_value = "70s", value_parser = time)]
    idle: Duration,
    /// How long each step may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    timeout: Duration,
    /// Warnings fail the check, too
    #[arg(long)]
    strict: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    trust: Trust,
}

const EXAMPLES: &str = "\
Examples:
  offhook check wss://example.com/chat                   everything, in about 70 s
  offhook check wss://example.com/chat --idle 0s         the same without the wait
  offhook check wss://example.com/chat --idle 0s --json  for monitoring

Exit codes: 0 it works (there may be warnings), 1 something fails, 2 mistakes in flags.";

/// How many redirects are followed. 5: the default of the library's client.
const MOST_REDIRECTS: usize = 5;

impl Check {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let target = Target::read(&self.url).map_err(Failure::usage)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut findings = Findings::new(&self.url, self.json);
        let done = runtime.block_on(self.check(target, &mut findings));
        // A name lookup may never end.
        runtime.shutdown_background();
        done?;
        findings.finish(self.strict)
    }

    async fn check(&self, mut target: Target, findings: &mut Findings) -> Result<(), Failure> {
        if std::env::vars().any(|(name, value)| is_proxy(&name) && !value.is_empty()) {
            findings.add(Finding::note(
                "proxy",
                "the environment names a proxy; this check goes to the server directly",
            ))?;
        }
        for _ in 0..=MOST_REDIRECTS {
            match self.attempt(&target, findings).await? {
                Some(next) if next == target => {
                    let text = format!("{next} redirects to itself");
                    return findings.add(
                        Finding::failed("redirect", text)
                            .advice("let the server answer there, or redirect to where it does"),
                    );
                }
                Some(next) => target = next,
                None => return Ok(()),
            }
        }
        let text = format!("more than {MOST_REDIRECTS} redirects");
        findings.add(Finding::failed("redirect", text).advice("use the last URL directly"))
    }

    /// Checks one address; returns the target of a redirect, if there is one.
    async fn attempt(
        &self,
        target: &Target,
        findings: &mut Findings,
    ) -> Result<Option<Target>, Failure> {
        let Some(address) = reach::check(target, self.timeout, findings).await? else {
            return Ok(None);
        };
        let mut route = Route::new(self, target.clone(), address)?;
        if !encryption::check(&mut route, &self.trust, findings).await? {
            return Ok(None);
        }
        match handshake::check(&mut route, findings).await? {
            Outcome::Failed => return Ok(None),
            Outcome::Redirected(next) => return Ok(Some(next)),
            Outcome::Open => {}
        }
        options::check(&route, self.origin.as_deref(), findings).await?;
        talk::check(&route, findings).await?;
        http2::check(&route, findings).await?;
        if !self.idle.is_zero() {
            idle::check(&route, self.idle, findings).await?;
        }
        Ok(None)
    }
}

fn is_proxy(name: &str) -> bool {
    ["http_proxy", "https_proxy", "all_proxy"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}
