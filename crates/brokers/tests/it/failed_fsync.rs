//! An fsync fails, and the system forgets that the bytes were never written. Nothing that exists
//! only in this machine's memory may be delivered or acknowledged; the test proves it by a
//! simulated power failure. The test runs itself again as the process whose disk fails.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
};

use offhook_brokers::{Broker, Health, Log, LogOptions};
use offhook_engine::*;

use crate::test_worker::{TestWorker, at, draft, kept, open_log};

const DIRECTORY: &str = "OFFHOOK_TEST_LOG";
const DISK: &str = "OFFHOOK_TEST_DISK";

/// The library between the process and its disk.
fn library() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("failing_disk.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/failing_disk.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-w", "-o"]).arg(&path);
        let built = compiler.arg(source).arg("-ldl").status();
        assert!(built.unwrap().success(), "cc builds {source}");
        (directory, path)
    });
    path
}

/// Runs a test of this file again, as the process whose disk fails.
fn run(test: &str, step: &str, log: &Path, disk: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("failed_fsync::{test}")])
        .args(["--nocapture", "--test-threads=1"])
        .env("LD_PRELOAD", library())
        .env("OFFHOOK_TEST_STEP", step)
        .env(DIRECTORY, log)
        .env(DISK, disk)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains(&format!("{step} done")), "{said}");
    said
}

fn step() -> Option<(String, PathBuf, PathBuf)> {
    let path = |name| Some(PathBuf::from(std::env::var_os(name)?));
    let step = std::env::var("OFFHOOK_TEST_STEP").ok()?;
    Some((step, path(DIRECTORY)?, path(DISK)?))
}

fn journals(log: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(log.join("store")).unwrap().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect()
}

/// Cuts every journal down to what the disk has of it.
fn cut_the_power(log: &Path, disk: &Path) {
    for journal in journals(log) {
        let inode = fs::metadata(&journal).unwrap().ino();
        let durable = fs::read(disk.join(inode.to_string())).unwrap_or_default();
        fs::write(&journal, durable).unwrap();
    }
}

/// Publishes one message, and another whose fsync fails.
fn publish_and_fail(worker: &mut TestWorker, disk: &Path) {
    worker.publish_keyed("a", "one", Some("k1"));
    fs::write(disk.join("fail"), "").unwrap();
    let id = worker.send(draft("a", "two", Some("k2")));
    let BrokerEvent::Failed { failure, .. } = worker.answer(id) else {
        panic!("acknowledged although its fsync failed")
    };
    assert_eq!(failure, BrokerFailure::StorageFailed);
    assert!(!disk.join("fail").exists(), "an fsync failed");
}

fn after_the_power_cut(log: &Path) {
    let mut worker = TestWorker::new(&open_log(log, kept(1_000)));
    assert_eq!(worker.texts("a"), ["one", "two", "three"]);
}

#[test]
fn after_a_failed_fsync_everything_delivered_or_acknowledged_survives_a_power_cut() {
    const NAME: &str =
        "after_a_failed_fsync_everything_delivered_or_acknowledged_survives_a_power_cut";
    if let Some((step, log, disk)) = step() {
        let broker: Arc<dyn Broker> = open_log(&log, kept(1_000));
        let mut worker = TestWorker::new(&broker);
        let mut follower = TestWorker::new(&broker);
        follower.follow("a");
        publish_and_fail(&mut worker, &disk);
        assert!(matches!(broker.health(), Health::Failing(_)));
        assert_eq!(worker.texts("a"), ["one"], "history is served meanwhile");
        let told = follower.rest();
        assert_eq!(
            told.len(),
            1,
            "only what is durable was delivered: {told:?}"
        );

        broker.tick(at(1_000));
        worker.writer_barrier();
        assert_eq!(broker.health(), Health::Good, "without a publish");
        let told = follower.rest();
        assert_eq!(told, [BrokerEvent::Lagged], "followers look up what came");
        worker.publish_keyed("a", "two", Some("k2"));
        worker.publish_keyed("a", "three", Some("k3"));
        assert_eq!(worker.texts("a"), ["one", "two", "three"]);
        println!("{step} done");
        std::process::abort();
    }
    let (log, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(NAME, "all", log.path(), disk.path());
    cut_the_power(log.path(), disk.path());
    after_the_power_cut(log.path());
}

#[test]
fn after_a_failed_fsync_a_restart_makes_durable_what_it_serves() {
    const NAME: &str = "after_a_failed_fsync_a_restart_makes_durable_what_it_serves";
    if let Some((step, log, disk)) = step() {
        let broker: Arc<dyn Broker> = open_log(&log, kept(1_000));
        let mut worker = TestWorker::new(&broker);
        if step == "fail" {
            publish_and_fail(&mut worker, &disk);
        } else {
            worker.publish_keyed("a", "two", Some("k2"));
            worker.publish_keyed("a", "three", Some("k3"));
        }
        println!("{step} done");
        std::process::abort();
    }
    let (log, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(NAME, "fail", log.path(), disk.path());
    let _their_numbers_are_not_given_to_others: Vec<_> = journals(log.path())
        .iter()
        .map(|path| File::open(path).unwrap())
        .collect();
    run(NAME, "go on", log.path(), disk.path());
    cut_the_power(log.path(), disk.path());
    after_the_power_cut(log.path());
}

/// What happened to the entries of directories, in order: whether they changed or became durable,
/// and the directory.
fn entries(disk: &Path) -> Vec<(bool, PathBuf)> {
    let text = fs::read_to_string(disk.join("entries")).unwrap_or_default();
    let line = |line: &str| match line.split_once(' ').unwrap() {
        ("changed", directory) => (true, directory.into()),
        ("synced", directory) => (false, directory.into()),
        other => panic!("{other:?}"),
    };
    text.lines().map(line).collect()
}

#[test]
fn what_is_renamed_or_created_is_durable_in_its_directory_before_anything_is_acknowledged() {
    const NAME: &str =
        "what_is_renamed_or_created_is_durable_in_its_directory_before_anything_is_acknowledged";
    if let Some((step, log, _)) = step() {
        // The log's directory and its parent do not exist yet.
        let log = log.join("deep/log");
        let mut worker = TestWorker::new(&open_log(&log, kept(1_000)));
        worker.publish("a", "one");
        println!("{step} done");
        std::process::abort();
    }
    let (log, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = fs::canonicalize(log.path()).unwrap();
    for step in ["create", "open again"] {
        drop(fs::remove_file(disk.path().join("entries")));
        run(NAME, step, log.path(), disk.path());
        let entries = entries(disk.path());
        // The store has tests of its own for what it does in its directory.
        let is_ours = |directory: &Path| !directory.starts_with(root.join("deep/log/store"));
        let changed = entries
            .iter()
            .enumerate()
            .filter(|(_, (changed, directory))| *changed && is_ours(directory));
        let mut seen = 0;
        for (at, (_, directory)) in changed {
            seen += 1;
            let is_durable = entries[at..]
                .iter()
                .any(|(changed, synced)| !changed && synced == directory);
            assert!(is_durable, "{step}: {directory:?} in {entries:#?}");
        }
        assert!(
            seen > 0 || step != "create",
            "nothing changed: {entries:#?}"
        );
    }
}

#[test]
fn after_a_disk_lost_acknowledged_publications_nothing_is_stored_until_an_operator_acts() {
    const NAME: &str =
        "after_a_disk_lost_acknowledged_publications_nothing_is_stored_until_an_operator_acts";
    if let Some((step, log, disk)) = step() {
        let broker: Arc<dyn Broker> = open_log(&log, kept(1_000));
        let mut worker = TestWorker::new(&broker);
        worker.publish("a", "one");
        let earlier: Vec<_> = journals(&log)
            .into_iter()
            .map(|journal| (fs::read(&journal).unwrap(), journal))
            .collect();
        worker.publish("a", "two");
        fs::write(disk.join("fail"), "").unwrap();
        let id = worker.send(draft("a", "three", None));
        assert!(matches!(worker.answer(id), BrokerEvent::Failed { .. }));
        for (bytes, journal) in earlier {
            fs::remove_file(&journal).unwrap();
            fs::write(&journal, bytes).unwrap();
        }
        for second in 1..=5 {
            broker.tick(at(second * 1_000));
            let id = worker.send(draft("a", "other two", None));
            let BrokerEvent::Failed { failure, .. } = worker.answer(id) else {
                panic!("it was published in second {second}")
            };
            assert_eq!(failure, BrokerFailure::StorageCorrupt);
            let Health::Corrupt(text) = broker.health() else {
                panic!("{:?}", broker.health())
            };
            assert!(text.contains("lost acknowledged publications"), "{text}");
        }
        println!("{step} done");
        std::process::abort();
    }
    let (log, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(NAME, "all", log.path(), disk.path());
    let options = LogOptions::new(log.path());
    let refused = Log::open(options, Arc::new(kept(1_000)), at(0)).err();
    let text = refused.expect("two is lost").to_string();
    assert!(text.contains("storage.accept_loss"), "{text}");
}
