//! `offhook config`: the effective configuration and its sources.

use clap::Args;
use offhook_server::config::{example, limits, reference};

use crate::{failure::Failure, screen, settings::Flags};

/// Print the configuration that `offhook serve` would use.
///
/// Prints TOML, with the source of each value: default, file and line, environment variable, or
/// flag. Accepts the flags of `offhook serve`. Reports all mistakes at once and exits with code 2,
/// so it can check a configuration before it is used.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PrintConfig {
    /// Print a file with every setting and its default as comments instead
    #[arg(long, conflicts_with = "reference")]
    example: bool,
    /// Print the reference of all settings as Markdown instead
    #[arg(long)]
    reference: bool,
    /// Print the table of all limits as Markdown instead
    #[arg(long, conflicts_with_all = ["example", "reference"])]
    limits: bool,
    #[command(flatten)]
    flags: Flags,
}

const EXAMPLES: &str = "\
Examples:
  offhook config                              what counts here and now
  offhook config --config /etc/offhook.toml   is this file good?
  offhook config --example > offhook.toml     a file to start with";

impl PrintConfig {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let page = if self.example {
            example()
        } else if self.reference {
            reference()
        } else if self.limits {
            limits()
        } else {
            self.flags.load()?.effective()
        };
        Ok(screen::print(&page)?)
    }
}
