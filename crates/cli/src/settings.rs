//! The server's settings as flags, generated from their definitions.

use std::{env, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use offhook_server::config::{Loaded, Problems, Setting, Sources, load, settings};

use crate::failure::Failure;

/// Settings given as flags.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    file: Option<PathBuf>,
    given: Vec<(String, String)>,
}

/// Groups whose flags appear in the short help.
const IN_SHORT_HELP: &[&str] = &["", "tls", "log"];

const FILE: &str = "config";

impl Flags {
    /// Reads the effective configuration: file, environment and flags.
    pub(crate) fn read(&self) -> Result<Loaded, Problems> {
        load(&Sources {
            file: self.file.clone(),
            environment: env::vars_os().collect(),
            flags: self.given.clone(),
            ..Sources::default()
        })
    }

    /// The same, with mistakes reported as the failure of a command.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        self.read().map_err(|problems| {
            let count = problems.iter().count();
            let word = if count == 1 { "mistake" } else { "mistakes" };
            Failure::usage(format!("{count} {word} in the configuration\n{problems}"))
        })
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(FILE)
            .long(FILE)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("The configuration file [default: ./offhook.toml, if it exists]")
            .long_help(
                "The configuration file. By default, the file named by OFFHOOK_CONFIG, or else \
                 offhook.toml in the working directory, if it exists. `offhook config --example` \
                 prints one to start with.",
            );
        command.arg(file).args(settings().iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.file = matches.get_one::<PathBuf>(FILE).cloned();
        for Setting { key, .. } in settings() {
            if let Some(values) = matches.get_many::<String>(&key) {
                let values: Vec<&str> = values.map(String::as_str).collect();
                self.given.push((key, values.join(",")));
            }
        }
        Ok(())
    }
}

fn flag(setting: &Setting) -> Arg {
    let heading = match setting.group() {
        "" => "Settings".to_owned(),
        group => format!("Settings of [{group}]"),
    };
    let default = match &setting.default {
        Some(toml) => toml.replace(['"', '[', ']'], ""),
        None => "every channel, with its history".to_owned(),
    };
    let in_short_help = IN_SHORT_HELP.contains(&setting.group()) && !setting.is_rules;
    let flag = Arg::new(setting.key.clone())
        .long(setting.flag())
        .value_name(setting.placeholder.clone())
        .help_heading(heading)
        .hide_short_help(!in_short_help)
        .help(format!("{} [default: {default}]", setting.about))
        .long_help(format!(
            "{} [default: {default}] [env: {}]",
            setting.about,
            setting.variable()
        ));
    if setting.is_switch {
        return flag
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true");
    }
    let action = if setting.is_list {
        ArgAction::Append
    } else {
        ArgAction::Set
    };
    flag.action(action)
}
