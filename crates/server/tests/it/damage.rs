//! A log with a damaged block, as clients and health checks see it.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, mpsc::sync_channel},
    thread,
    time::{Duration, Instant},
};

use offhook_brokers::{Broker, Log, LogOptions, Mailbox};
use offhook_engine::{
    BrokerEvent, BrokerRequest, ChannelName, ChannelRules, Draft, Format, History, Now, RequestId,
    RuleBook, Tags,
};
use serde_json::json;

use crate::hall::{Hall, NEVER, on_disk};

const COUNT: u64 = 600;

/// Fills the channel `chat` until tables are written, and flips a bit in each.
fn damaged_log(data: &Path) {
    let path = data.join("log");
    let history = History {
        count: 1_000_000,
        bytes: u64::MAX,
        age: None,
    };
    let rules = ChannelRules {
        history,
        ..ChannelRules::default()
    };
    let now = Now {
        instant: Instant::now(),
        unix_ms: 1_700_000_000_000,
    };
    let rules = Arc::new(RuleBook::everything(rules));
    let log = Log::open(LogOptions::new(&path), rules, now).unwrap();
    let (wake, woken) = sync_channel(1);
    let mailbox = Arc::new(Mailbox::new(1 << 30, move || {
        wake.try_send(()).unwrap_or_default();
    }));
    let worker = log.attach(Arc::clone(&mailbox));
    for n in 0..COUNT {
        let draft = Draft {
            channel: ChannelName::new("chat").unwrap(),
            data: format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(40_000)).into(),
            format: Format::Json,
            tags: Tags::default(),
            publisher: None,
            key: None,
            time_ms: now.unix_ms,
        };
        let id = RequestId(n);
        log.submit(worker, BrokerRequest::Publish { id, draft });
    }
    let mut published = 0;
    while published < COUNT {
        woken.recv_timeout(NEVER).unwrap();
        let events = mailbox.take();
        let is_published = |event: &&BrokerEvent| matches!(event, BrokerEvent::Published { .. });
        published += events.iter().filter(is_published).count() as u64;
    }
    let tables = path.join("store/keyspaces/1/tables");
    // Written in the background.
    let begin = Instant::now();
    while fs::read_dir(&tables).map_or(0, Iterator::count) == 0 && begin.elapsed() < NEVER {
        thread::sleep(Duration::from_millis(10));
    }
    drop(log);
    let tables = fs::read_dir(tables).unwrap();
    let mut damaged = 0;
    for table in tables.flatten() {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(table.path())
            .unwrap();
        let at = file.metadata().unwrap().len() / 3;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        damaged += 1;
    }
    assert!(damaged > 0, "no table was written");
}

#[tokio::test]
async fn a_damaged_block_is_reported_as_a_gap_and_by_healthz_and_live_messages_continue() {
    let directory = tempfile::tempdir().unwrap();
    damaged_log(directory.path());
    let mut config = on_disk(directory.path());
    for rule in &mut config.channels {
        rule.rules.history.age = None;
    }
    let hall = Hall::open(config).await;
    let mut reader = hall.caller().await;
    reader.subscribe("chat", json!("start")).await;
    let mut publisher = hall.caller().await;
    publisher.publish("chat", json!("live")).await;
    let (mut messages, mut missing) = (0, 0);
    loop {
        let heard = reader.hear().await;
        let offset = |position: &serde_json::Value| -> u64 {
            let text = position.as_str().unwrap();
            text.split_once('.').unwrap().1.parse().unwrap()
        };
        match heard["type"].as_str().unwrap() {
            "message" if heard["data"] == "live" => break,
            "message" => messages += 1,
            "gap" => {
                assert_eq!(heard["reason"], "damaged", "{heard}");
                missing += offset(&heard["to"]) - offset(&heard["from"]);
            }
            _ => {}
        }
    }
    assert_eq!(messages + missing, COUNT);
    assert!((1..20).contains(&missing), "{missing}");

    let (status, health) = hall.health().await;
    assert_eq!((status, &health["status"]), (503, &json!("corrupt")));
    let detail = health["detail"].as_str().unwrap();
    assert!(
        detail.contains("channel chat: damaged at offset"),
        "{detail}"
    );
    assert!(detail.contains("restore the log from a backup"), "{detail}");
    publisher.publish("chat", json!("still")).await;
    hall.close().await;
}
