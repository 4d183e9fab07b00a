//! `offhook completions` and `offhook man`: generated from the definition of the command line.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::{failure::Failure, screen};

/// Print completions for a shell.
///
/// For bash: `offhook completions bash > ~/.local/share/bash-completion/completions/offhook`;
/// for fish: `offhook completions fish > ~/.config/fish/completions/offhook.fish`;
/// for zsh: into a file `_offhook` in a directory of `$fpath`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, mut command: Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "offhook", &mut script);
        Ok(screen::print(&String::from_utf8_lossy(&script))?)
    }
}

/// Print a manual page.
///
/// View it with `offhook man | man -l -`, or with `offhook man serve | man -l -` for a command.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The command; without one, `offhook` itself
    command: Option<String>,
}

impl Man {
    pub(crate) fn run(self, mut program: Command) -> Result<(), Failure> {
        program.build();
        let command = match &self.command {
            None => program,
            Some(name) => {
                let found = program.find_subcommand(name).cloned();
                found.ok_or_else(|| Failure::usage(format!("unknown command {name}")))?
            }
        };
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        Ok(screen::print(&String::from_utf8_lossy(&page))?)
    }
}
