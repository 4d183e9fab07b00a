//! Tests through the public interface: sources in, a configuration or all problems out.

mod chat;
mod pages;
mod pusher;
mod sources;
mod wrong;

use std::fs;

use tempfile::TempDir;

use super::*;

/// A directory with an `offhook.toml`, and other sources.
struct Given {
    directory: TempDir,
    sources: Sources,
}

fn file(text: &str) -> Given {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("offhook.toml"), text).expect("written");
    let sources = Sources {
        directory: directory.path().to_owned(),
        ..Sources::default()
    };
    Given { directory, sources }
}

impl Given {
    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.sources.flags.push((key.into(), value.into()));
        self
    }

    #[track_caller]
    fn good(self) -> Loaded {
        load(&self.sources).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// The problems, without the directory's name.
    fn wrong(self) -> String {
        let problems = load(&self.sources).expect_err("something is wrong");
        let directory = format!("{}/", self.directory.path().display());
        problems.to_string().replace(&directory, "")
    }
}
