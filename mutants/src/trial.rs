//! Runs tests: first each test without a mutant, to see which mutants it reaches; then, for each
//! mutant, the tests that reach it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::build::Program;
use crate::list::Mutant;

/// A mutant also counts as caught if its tests exceed their processor time without the mutant,
/// multiplied by the first value, plus the second: they may never end.
const MORE: (u32, Duration) = (3, Duration::from_secs(3));

/// The same limit for the time that one test takes, for tests that wait. It is much higher, because
/// other programs slow down the tests, and lower than the minute after which a test itself gives up:
/// many mutants leave a test waiting for an answer.
const PATIENCE: (u32, Duration) = (20, Duration::from_secs(6));

/// How many of the most specific tests run in the first process. 4: they catch most mutants.
const FIRST: usize = 4;

/// Disables recording without enabling a mutant.
const NO_MUTANT: &str = "4294967295";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Caught,
    /// The tests ran for much longer than without the mutant.
    TimedOut,
    /// All tests that reach it passed.
    Missed,
    /// No test reaches it.
    Unreached,
}

impl Outcome {
    pub fn survived(self) -> bool {
        matches!(self, Self::Missed | Self::Unreached)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::TimedOut => "timed out",
            Self::Missed => "MISSED",
            Self::Unreached => "UNREACHED",
        }
    }
}

struct Test {
    program: usize,
    name: String,
    took: Duration,
    reaches: usize,
}

pub fn all(
    tree: &Path,
    programs: &[Program],
    mutants: &[Mutant],
    switched: &[usize],
    jobs: usize,
) -> Result<Vec<(usize, Outcome)>> {
    let started = Instant::now();
    let scratch = tree.with_file_name("reached");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
    let mut listed = Vec::new();
    for (number, program) in programs.iter().enumerate() {
        listed.extend(names(program)?.into_iter().map(|name| (number, name)));
    }
    let runs = each(jobs, &listed, |index, (number, name)| {
        reached(&programs[*number], name, &scratch.join(index.to_string()))
    });
    let mut tests = Vec::new();
    let mut reaching: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for ((program, name), run) in listed.into_iter().zip(runs) {
        let Some((took, ids)) = run? else {
            eprintln!("omitted, since it fails with switches even if no mutant is enabled: {name}");
            continue;
        };
        for id in &ids {
            reaching.entry(*id).or_default().push(tests.len());
        }
        tests.push(Test {
            program,
            name,
            took,
            reaches: ids.len(),
        });
    }
    eprintln!("{} tests ran in {:?}", tests.len(), started.elapsed());

    let done = AtomicUsize::new(0);
    let outcomes = each(jobs, switched, |_, id| {
        let mut order = reaching.get(id).cloned().unwrap_or_default();
        order.sort_by_key(|test| (tests[*test].took.as_millis() / 50, tests[*test].reaches));
        let outcome = attempt(programs, &tests, &order, *id);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if outcome.survived() {
            eprintln!("{}: {}", outcome.name(), mutants[*id].name);
        }
        if done.is_multiple_of(100) {
            eprintln!("{done} of {} after {:?}", switched.len(), started.elapsed());
        }
        (*id, outcome)
    });
    Ok(outcomes)
}

fn attempt(programs: &[Program], tests: &[Test], order: &[usize], mutant: usize) -> Outcome {
    if order.is_empty() {
        return Outcome::Unreached;
    }
    let (first, rest) = order.split_at(order.len().min(FIRST));
    for batch in [first, rest] {
        for (number, program) in programs.iter().enumerate() {
            let here: Vec<_> = batch
                .iter()
                .map(|test| &tests[*test])
                .filter(|test| test.program == number)
                .collect();
            if here.is_empty() {
                continue;
            }
            let took: Duration = here.iter().map(|test| test.took).sum();
            let mut command = command(program, Some(took * MORE.0 + MORE.1));
            command
                .env("OFFHOOK_MUTANT", mutant.to_string())
                .arg("--exact")
                .args(here.iter().map(|test| &test.name));
            let longest = here.iter().map(|test| test.took).max().unwrap_or_default();
            match wait(command, longest * PATIENCE.0 + PATIENCE.1) {
                Some(true) => {}
                Some(false) => return Outcome::Caught,
                None => return Outcome::TimedOut,
            }
        }
    }
    Outcome::Missed
}

/// A command that runs a program with a limit of processor time, rounded up to seconds.
fn command(program: &Program, time: Option<Duration>) -> Command {
    let mut command = Command::new("sh");
    let limit = time.map_or("unlimited".to_owned(), |time| {
        (time.as_secs() + 1).to_string()
    });
    command
        .args(["-c", r#"ulimit -t "$0" && exec "$@""#, &limit])
        .arg(&program.path);
    command
        .current_dir(&program.folder)
        .args(["--test-threads", "1"])
        .env("PROPTEST_RNG_SEED", "6455")
        .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Whether all tests of the command succeeded; `None` if one of them took too long. It ends with the
/// first test that fails: the others might wait for a minute each.
fn wait(mut command: Command, limit: Duration) -> Option<bool> {
    let mut child = command.stdout(Stdio::piped()).spawn().ok()?;
    let output = child.stdout.take()?;
    let (told, lines) = mpsc::sync_channel(1);
    // Ends with the child.
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { break };
            if told.send(line.ends_with(b"FAILED")).is_err() {
                break;
            }
        }
    });
    loop {
        match lines.recv_timeout(limit) {
            Ok(false) => {}
            Ok(true) => {
                end(&mut child);
                return Some(false);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                end(&mut child);
                return None;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Some(child.wait().ok()?.success());
            }
        }
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn names(program: &Program) -> Result<Vec<String>> {
    let output = Command::new(&program.path)
        .current_dir(&program.folder)
        .args(["--list", "--format", "terse"])
        .output()
        .map_err(|error| format!("{}: {error}", program.path.display()))?;
    let lines = String::from_utf8_lossy(&output.stdout);
    Ok(lines
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(str::to_owned)
        .collect())
}

/// How long a test takes without a mutant, and the mutants that it reaches; `None` if it fails with
/// switches, because it counts allocations, for example.
fn reached(program: &Program, name: &str, file: &Path) -> Result<Option<(Duration, Vec<usize>)>> {
    let run = |variable: &str, value: &std::ffi::OsStr| {
        let mut command = command(program, None);
        let status = command
            .env(variable, value)
            .args(["--exact", name])
            .status();
        status
            .map(|status| status.success())
            .map_err(|error| format!("{}: {error}", program.path.display()))
    };
    let started = Instant::now();
    let recorded = run("OFFHOOK_MUTANTS_REACHED", file.as_os_str())?;
    let took = started.elapsed();
    if !recorded && !run("OFFHOOK_MUTANT", NO_MUTANT.as_ref())? {
        return Ok(None);
    }
    let bytes = fs::read(file).unwrap_or_default();
    let numbers = bytes
        .chunks_exact(4)
        .map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    Ok(Some((
        took,
        numbers.map(|number| number as usize).collect(),
    )))
}

/// Calls a function for each item concurrently, and returns the results in the order of the items.
fn each<T: Sync, R: Send>(
    jobs: usize,
    items: &[T],
    call: impl Fn(usize, &T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    let result = call(index, item);
                    results.lock().expect("nobody panics").push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("nobody panics");
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
