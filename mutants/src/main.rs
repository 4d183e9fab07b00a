//! Tries every mutant that `cargo mutants` lists for a crate, with one build for all of them.
//!
//! `cargo mutants` builds the tests once for each mutant, which takes days for a crate with two
//! thousand of them. This program uses the same list, and writes all mutants into one copy of the
//! source, each behind a switch that an environment variable turns on ([`rewrite`]). It builds the
//! tests of that copy once ([`build`]), records which tests reach which mutants, and then runs for
//! each mutant only the tests that reach it, the most specific first, until one of them fails
//! ([`trial`]).
//!
//! A mutant that cannot be a switch (in a constant, or with a replacement of another type) is
//! listed at the end, to be tried by `cargo mutants` itself. Equivalent mutants are listed in
//! `.cargo/mutants.toml`, so that neither program tries them.

mod build;
mod list;
mod rewrite;
mod trial;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

type Result<T> = std::result::Result<T, String>;

const USAGE: &str = "\
usage: mutants/run PACKAGE [--file TEXT]... [--shard K/N] [--jobs N] [--json FILE]

Tries every mutant of a package of the workspace against its unit and integration tests.

  --also PACKAGE   also run the tests of this package, which uses the mutated one
  --file TEXT      try only mutants in files whose path contains TEXT
  --shard K/N      try only every Nth mutant, starting with the Kth (from 1)
  --jobs N         run this many tests at the same time (2)
  --json FILE      write the result of each mutant to this file
  --again FILE     try only the survivors in a file written with --json

Exits with 1 if a mutant survived. Files are written only below target/mutants/.";

struct Options {
    package: String,
    also: Vec<String>,
    files: Vec<String>,
    shard: (usize, usize),
    jobs: usize,
    json: Option<PathBuf>,
    again: Option<PathBuf>,
}

/// One mutant of a result.
#[derive(Serialize, Deserialize)]
struct Row {
    mutant: String,
    outcome: String,
    survived: bool,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        package: String::new(),
        also: Vec::new(),
        files: Vec::new(),
        shard: (1, 1),
        jobs: 2,
        json: None,
        again: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or(format!("{argument} needs a value\n\n{USAGE}"))
        };
        match argument.as_str() {
            "--also" => options.also.push(value()?),
            "--again" => options.again = Some(value()?.into()),
            "--file" => options.files.push(value()?),
            "--jobs" => options.jobs = number(&value()?)?.max(1),
            "--json" => options.json = Some(value()?.into()),
            "--shard" => {
                let value = value()?;
                let (k, n) = value.split_once('/').ok_or("--shard: expected K/N")?;
                options.shard = (number(k)?, number(n)?);
                if options.shard.0 == 0 || options.shard.0 > options.shard.1 {
                    return Err(format!("--shard {value}: K must be between 1 and N"));
                }
            }
            "--help" | "-h" => return Err(USAGE.into()),
            name if options.package.is_empty() && !name.starts_with('-') => {
                options.package = name.into();
            }
            other => return Err(format!("unknown argument {other}\n\n{USAGE}")),
        }
    }
    if options.package.is_empty() {
        return Err(USAGE.into());
    }
    Ok(options)
}

fn number(text: &str) -> Result<usize> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a number"))
}

/// Returns the number of survivors.
fn run(options: &Options) -> Result<usize> {
    let root = build::workspace()?;
    let mut mutants = list::mutants(&root, &options.package)?;
    if let Some(path) = &options.again {
        let unreadable = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = std::fs::read(path).map_err(|error| unreadable(&error))?;
        let rows: Vec<Row> = serde_json::from_slice(&text).map_err(|error| unreadable(&error))?;
        // The name without the line number, which changes with every edit above it.
        let key = |name: &str| {
            name.split_once(": ").map(|(place, what)| {
                (
                    place.split(':').next().unwrap_or_default().to_owned(),
                    what.to_owned(),
                )
            })
        };
        let survivors: BTreeSet<_> = rows
            .iter()
            .filter(|row| row.survived)
            .map(|row| key(&row.mutant))
            .collect();
        mutants.retain(|mutant| survivors.contains(&key(&mutant.name)));
    }
    let (k, n) = options.shard;
    let mut position = 0;
    mutants.retain(|mutant| {
        let named =
            options.files.is_empty() || options.files.iter().any(|part| mutant.file.contains(part));
        position += usize::from(named);
        named && (position - 1) % n == k - 1
    });
    if mutants.is_empty() {
        return Err(format!(
            "no mutants in {} in {:?}",
            options.package, options.files
        ));
    }
    let tree = build::copy(&root)?;
    let (tests, left) = build::build(&tree, &options.package, &options.also, &mutants)?;
    let switched: Vec<usize> = (0..mutants.len()).filter(|id| !left.contains(id)).collect();
    eprintln!(
        "{} mutants in one build, {} left out",
        switched.len(),
        left.len()
    );
    let outcomes = trial::all(&tree, &tests, &mutants, &switched, options.jobs)?;
    Ok(report(options, &mutants, &outcomes, &left))
}

fn report(
    options: &Options,
    mutants: &[list::Mutant],
    outcomes: &[(usize, trial::Outcome)],
    left: &BTreeSet<usize>,
) -> usize {
    let survivors: Vec<_> = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.survived())
        .collect();
    for (id, outcome) in &survivors {
        println!("{}: {}", outcome.name(), mutants[*id].name);
    }
    if !left.is_empty() {
        println!("\nNot tried, because they do not compile as a switch:");
        for id in left {
            println!("  {}", mutants[*id].name);
        }
    }
    let tried = outcomes.len();
    let caught = tried - survivors.len();
    let share = 100.0 * caught as f64 / tried.max(1) as f64;
    println!(
        "\n{}: {tried} tried, {caught} caught ({share:.1} %), {} survived, {} left out",
        options.package,
        survivors.len(),
        left.len()
    );
    if let Some(path) = &options.json {
        let row = |(id, outcome): &(usize, trial::Outcome)| Row {
            mutant: mutants[*id].name.clone(),
            outcome: outcome.name().into(),
            survived: outcome.survived(),
        };
        let rows: Vec<Row> = outcomes.iter().map(row).collect();
        if let Err(error) =
            std::fs::write(path, serde_json::to_vec_pretty(&rows).expect("plain data"))
        {
            eprintln!("{}: {error}", path.display());
        }
    }
    survivors.len()
}
