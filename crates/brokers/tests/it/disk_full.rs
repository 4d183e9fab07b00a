//! A full disk: publishers are told to retry, nothing acknowledged is lost, and it continues by
//! itself when there is room. The test uses a small tmpfs of its own, which needs root.

use std::{fs, io::Write as _, path::Path, process::Command, sync::Arc, time::Duration};

use offhook_brokers::{Broker, Health, Snapshot};
use offhook_engine::*;

use crate::test_worker::{TestWorker, at, draft, kept, open_log};

/// A file system of `megabytes` megabytes, removed when the value is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(megabytes: u32) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "offhook-test"])
            .arg(directory.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(directory)),
            Ok(output) => {
                println!(
                    "NOT RUN: mount: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
                None
            }
            Err(error) => {
                println!("NOT RUN: mount: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "the test's disk stays mounted"
        );
    }
}

/// Publishes in groups until a publish fails, and returns that failure.
fn fill(worker: &mut TestWorker, data: &str, acknowledged: &mut u64) -> BrokerFailure {
    for _ in 0..10_000 {
        let ids: Vec<_> = (0..64)
            .map(|_| worker.send(draft("a", data, None)))
            .collect();
        let mut failed = None;
        for id in ids {
            match worker.answer(id) {
                BrokerEvent::Published { .. } => *acknowledged += 1,
                BrokerEvent::Failed { failure, .. } => failed = Some(failure),
                other => panic!("{other:?}"),
            }
        }
        if let Some(failure) = failed {
            return failure;
        }
    }
    panic!("the disk never got full")
}

#[test]
fn a_full_disk_loses_nothing_acknowledged_and_publishing_continues_once_there_is_space() {
    let Some(disk) = SmallDisk::mount(64) else {
        assert!(std::env::var_os("CI").is_none(), "this test must run in CI");
        return;
    };
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 24 << 20]).unwrap();
    let broker: Arc<dyn Broker> = open_log(&disk.path().join("log"), kept(1_000_000));
    let mut worker = TestWorker::new(&broker);
    let mut follower = TestWorker::with_mailbox(&broker, 1 << 30);
    follower.follow("a");
    let mut acknowledged = 0;
    let data = "x".repeat(1024);

    let failure = fill(&mut worker, &data, &mut acknowledged);
    assert_eq!(failure, BrokerFailure::StorageFull);
    assert_eq!(Refusal::from(failure).code.retry(), Retry::Later);
    let Health::Failing(text) = broker.health() else {
        panic!("{:?}", broker.health())
    };
    assert!(text.contains("free some space"), "{text}");
    println!("full after {acknowledged} acknowledged publications: {text}");

    // It stays full for a while: publishers are refused, nobody hangs, and reads work.
    for second in 1..4 {
        broker.tick(at(second * 1000));
        let id = worker.send(draft("a", &data, None));
        match worker.answer(id) {
            BrokerEvent::Published { .. } => acknowledged += 1,
            BrokerEvent::Failed { .. } => {}
            other => panic!("{other:?}"),
        }
        let newest = worker.history("a", ReadFrom::Last(10), 10).1;
        assert_eq!(newest.len(), 10, "history is read while the disk is full");
        assert_eq!(newest[9].position.offset, acknowledged);
    }

    fs::remove_file(&ballast).unwrap();
    // Health recovers by itself, without anybody publishing.
    let mut ticks = 0;
    while !broker.health().is_good() {
        assert!(ticks < 10_000, "{:?}", broker.health());
        ticks += 1;
        broker.tick(at(4_000 + ticks));
        // May fail while the log is being opened again, but is answered.
        worker.ask_history("a", ReadFrom::Last(1), 1);
    }
    let before = acknowledged;
    let failure = fill(&mut worker, &data, &mut acknowledged);
    assert_eq!(failure, BrokerFailure::StorageFull);
    assert!(acknowledged > before + 1_000, "it continued by itself");
    let told = follower.rest();
    assert!(
        told.contains(&BrokerEvent::Lagged),
        "nobody told the followers to look up what was written and not told"
    );

    broker.tick(at(6_000));
    drop((worker, follower, broker));
    let mut worker = TestWorker::new(&open_log(&disk.path().join("log"), kept(1_000_000)));
    let found = worker.all("a").len() as u64;
    println!("{acknowledged} acknowledged, {found} there");
    assert!(
        found >= acknowledged,
        "{acknowledged} were acknowledged, {found} are there"
    );
}

/// Before, the requester tried again and again to write down why it failed.
#[test]
fn a_snapshot_for_which_the_disk_has_no_room_fails_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount(8) else {
        assert!(std::env::var_os("CI").is_none(), "this test must run in CI");
        return;
    };
    let log = disk.path().join("log");
    TestWorker::new(&open_log(&log, kept(100))).publish("a", "x");
    let mut ballast = fs::File::create(disk.path().join("ballast")).unwrap();
    while ballast.write_all(&[1; 4096]).is_ok() {}
    let failed = Snapshot::take(&log, Duration::from_secs(60)).unwrap_err();
    let text = failed.to_string();
    assert!(text.contains("No space left on device"), "{text}");
    assert!(text.ends_with("check permissions and free space"), "{text}");
    assert_eq!(fs::read_dir(log.join("snapshots")).unwrap().count(), 0);
    assert_eq!(
        TestWorker::new(&open_log(&log, kept(100))).texts("a"),
        ["x"]
    );
}
