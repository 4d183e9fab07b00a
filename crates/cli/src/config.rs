//! `offhook config`: what counts, and where it came from.

use clap::Args;
use offhook_server::config::{example, reference};

use crate::{failure::Failure, screen, settings::Flags};

/// Print the configuration that `offhook serve` would use.
///
/// As TOML, each value with its source: default, file and line, environment variable, or flag.
/// Takes the flags of `offhook serve`. All mistakes are reported at once with exit code 2, so this
/// also checks a configuration before it is used.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PrintConfig {
    /// Print a file with every setting and its default in comments instead
    #[arg(long, conflicts_with = "reference")]
    example: bool,
    /// Print the reference of all settings in Markdown instead
    #[arg(long)]
    reference: bool,
    #[command(flatten)]
    flags: Flags,
}

const EXAMPLES: &str = "\
Examples:
  offhook config                              what counts here and now
  offhook config --config /etc/offhook.toml   is this file good?
  offhook config --example > offhook.toml     a file to begin with";

impl PrintConfig {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let page = if self.example {
            example()
        } else if self.reference {
            reference()
        } else {
            self.flags.load()?.effective()
        };
        Ok(screen::print(&page)?)
    }
}
