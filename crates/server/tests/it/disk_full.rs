//! A full disk: publishers are told to retry, subscribers stay, health reports it, and the server
//! continues by itself when there is room. The test uses a small tmpfs of its own, which needs
//! root.

use std::{fs, path::Path, process::Command};

use serde_json::json;
use tokio::time::timeout;

use crate::hall::{Hall, NEVER, on_disk};

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
            other => {
                println!("NOT RUN: mount: {other:?}");
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

#[tokio::test]
async fn a_full_disk_is_reported_to_publishers_and_healthz_and_subscribers_stay_connected() {
    let Some(disk) = SmallDisk::mount(64) else {
        assert!(std::env::var_os("CI").is_none(), "this test must run in CI");
        return;
    };
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 40 << 20]).unwrap();
    let hall = Hall::open(on_disk(disk.path())).await;
    let mut subscriber = hall.caller().await;
    subscriber.subscribe("chat", json!("now")).await;
    let mut publisher = hall.caller().await;
    assert_eq!(hall.health().await.0, 200);

    let data = "x".repeat(60_000);
    let publish = json!({"type": "publish", "channel": "chat", "data": data});
    let mut acknowledged = 0;
    let refusal = loop {
        let answer = publisher.ask(publish.clone()).await;
        if answer["type"] == "error" {
            break answer;
        }
        acknowledged += 1;
        subscriber.hear_a("message").await;
    };
    assert_eq!(
        (&refusal["code"], &refusal["retry"]),
        (&json!("storage_full"), &json!("later"))
    );
    let (status, health) = hall.health().await;
    assert_eq!((status, &health["status"]), (503, &json!("failing")));
    assert!(
        health["detail"]
            .as_str()
            .unwrap()
            .contains("free some space"),
        "{health}"
    );
    assert_eq!(
        subscriber.ask(json!({"type": "ping"})).await["type"],
        "pong"
    );

    // There is room again: the server continues by itself, without a restart.
    fs::remove_file(&ballast).unwrap();
    let published = async {
        loop {
            let answer = publisher.ask(publish.clone()).await;
            if answer["type"] == "published" {
                break;
            }
            assert_eq!(answer["retry"], "later", "{answer}");
        }
    };
    timeout(NEVER, published)
        .await
        .expect("it can publish again");
    // Nothing acknowledged is missing in between: a refused message has no position. The channel is
    // loaded anew with the log, so the subscriber may read the first one back.
    let mut next = subscriber.hear().await;
    if next["type"] == "catching_up" {
        next = subscriber.hear().await;
    }
    assert_eq!(next["type"], "message", "{next}");
    let offset = next["position"]
        .as_str()
        .unwrap()
        .split('.')
        .nth(1)
        .unwrap();
    assert_eq!(offset, (acknowledged + 1).to_string());
    let good = async { while hall.health().await.0 != 200 {} };
    timeout(NEVER, good).await.expect("the log is good again");
    // The server would wait for a connection that does not read.
    drop((publisher, subscriber));
    hall.close().await;
}
