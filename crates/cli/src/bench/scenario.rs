//! Several runs from a file: the flags of `offhook bench`, in TOML.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use clap::Parser;
use toml::{Table, Value};

use super::Bench;
use crate::failure::Failure;

/// One run of a scenario.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) name: String,
    pub(super) bench: Bench,
}

/// The largest file: 1 MiB.
const LONGEST: u64 = 1 << 20;

/// The most runs in a scenario. 100: they run one after another.
const MOST_RUNS: usize = 100;

/// Flags for the whole scenario, not for a single run.
const NOT_OF_A_RUN: [&str; 6] = [
    "scenario",
    "json",
    "html",
    "baseline",
    "compare",
    "tolerance",
];

/// The flags of one run, parsed with the command line's own definition.
#[derive(Debug, Parser)]
#[command(name = "run", disable_help_flag = true, no_binary_name = true)]
struct Flags {
    #[command(flatten)]
    bench: Bench,
}

/// Reads a scenario.
pub(super) fn read(path: &Path) -> Result<Vec<Run>, Failure> {
    let name = path.display();
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
        .map_err(|error| Failure::Failed(format!("{name} can't be read: {error}")))?;
    if text.len() as u64 > LONGEST {
        return Err(Failure::usage(format!(
            "{name} is longer than {LONGEST} bytes"
        )));
    }
    parse(&text).map_err(|why| Failure::usage(format!("{name}: {why}")))
}

/// The runs of a text: each `[[run]]`, combined with the keys above the first one.
pub(super) fn parse(text: &str) -> Result<Vec<Run>, String> {
    let mut shared: Table = text
        .parse()
        .map_err(|error: toml::de::Error| error.to_string())?;
    let runs = match shared.remove("run") {
        None => return Err("expected a [[run]] for each run".to_owned()),
        Some(Value::Array(runs)) if runs.len() <= MOST_RUNS => runs,
        Some(Value::Array(runs)) => {
            return Err(format!("{} runs; the limit is {MOST_RUNS}", runs.len()));
        }
        Some(_) => return Err("run: expected [[run]], with two brackets".to_owned()),
    };
    let numbered = (1..).zip(runs);
    numbered
        .map(|(number, run)| {
            let Value::Table(own) = run else {
                return Err(format!("run {number}: expected [[run]]"));
            };
            let mut all = shared.clone();
            all.extend(own);
            let name = match all.remove("name") {
                Some(Value::String(name)) => name,
                Some(_) => return Err(format!("run {number}: name: expected a text")),
                None => format!("run {number}"),
            };
            let bench = bench(all).map_err(|why| format!("{name}: {why}"))?;
            Ok(Run { name, bench })
        })
        .collect()
}

fn bench(mut settings: Table) -> Result<Bench, String> {
    let mut words = Vec::new();
    let url = settings.remove("url");
    for (key, value) in settings {
        if NOT_OF_A_RUN.contains(&key.as_str()) {
            return Err(format!(
                "{key}: applies to the whole scenario, not to a run"
            ));
        }
        flags(&key, &value, &mut words)?;
    }
    match url {
        Some(Value::String(url)) => words.extend(["--".to_owned(), url]),
        Some(_) => return Err("url: expected a text".to_owned()),
        None => return Err("url: expected the URL of the server".to_owned()),
    }
    let read = Flags::try_parse_from(words);
    read.map(|flags| flags.bench).map_err(|error| {
        let text = error.to_string();
        let text = text.split("\n\nUsage:").next().unwrap_or_default();
        text.trim_start_matches("error: ").trim().to_owned()
    })
}

fn flags(key: &str, value: &Value, words: &mut Vec<String>) -> Result<(), String> {
    let flag = format!("--{}", key.replace('_', "-"));
    match value {
        Value::String(text) => words.push(format!("{flag}={text}")),
        Value::Integer(number) => words.push(format!("{flag}={number}")),
        Value::Float(number) => words.push(format!("{flag}={number}")),
        Value::Boolean(true) => words.push(flag),
        Value::Boolean(false) => {}
        Value::Array(values) => {
            for value in values {
                if value.is_array() {
                    return Err(format!("{key}: a list inside a list is not allowed"));
                }
                flags(key, value, words)?;
            }
        }
        Value::Datetime(_) | Value::Table(_) => {
            return Err(format!(
                "{key}: expected a text, a number, true, or a list of them"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn runs_have_the_common_settings_and_their_own() {
        let text = "url = \"ws://a/\"\nconnections = 5\ntime = \"2s\"\n[[run]]\nname = \"slow\"\n\
                    rate = 10.5\nthreshold = [\"p99 < 1s\", \"faults <= 1\"]\n[[run]]\n\
                    connections = 7\nin_flight = 2\nbinary = true\n";
        let runs = parse(text).expect("a scenario");
        let [first, second] = runs.as_slice() else {
            panic!("{runs:?}");
        };
        assert_eq!(
            (first.name.as_str(), second.name.as_str()),
            ("slow", "run 2")
        );
        assert_eq!((first.bench.connections, first.bench.rate), (5, Some(10.5)));
        assert_eq!(first.bench.threshold.len(), 2);
        assert_eq!(
            (second.bench.connections, second.bench.in_flight),
            (7, Some(2))
        );
        assert!(second.bench.binary);
    }

    #[test]
    fn errors_name_the_run_they_are_in() {
        for (text, expected) in [
            ("url = \"ws://a/\"", "expected a [[run]]"),
            ("[[run]]\nname = \"a\"", "a: url"),
            (
                "url = \"ws://a/\"\n[[run]]\nname = \"a\"\nconections = 5",
                "a: unexpected argument '--conections'",
            ),
            (
                "url = \"ws://a/\"\n[[run]]\nconnections = 0",
                "run 1: invalid value '0'",
            ),
            (
                "url = \"ws://a/\"\n[[run]]\njson = true",
                "applies to the whole scenario",
            ),
            (
                "url = \"ws://a/\"\n[[run]]\nthreshold = \"fast\"",
                "expected METRIC OPERATOR VALUE",
            ),
            ("url = \"ws://a/\"\nrun = 3", "two brackets"),
            ("[[run]", "TOML parse error"),
        ] {
            let why = parse(text).expect_err("no scenario");
            assert!(why.contains(expected), "{text}: {why}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,200}", key in "[a-z_]{1,12}", value in "[-a-z0-9\"\\[\\]. ]{0,20}") {
            let _ = parse(&text);
            let _ = parse(&format!("url = \"ws://a/\"\n[[run]]\n{key} = {value}"));
        }
    }
}
