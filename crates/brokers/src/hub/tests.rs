use std::time::{Duration, Instant};

use offhook_engine::{Key, Member, SessionId, ShareName, ShareRequest};

use super::*;

const WORKER: WorkerId = WorkerId(1);

fn channel() -> ChannelName {
    ChannelName::new("a").unwrap()
}

/// What a hub holds after these requests.
fn held(requests: impl IntoIterator<Item = BrokerRequest>) -> usize {
    let now = Now {
        instant: Instant::now(),
        unix_ms: 1_000_000,
    };
    let rules = Arc::new(RuleBook::everything(ChannelRules::default()));
    let hub = Hub::new(rules, Epoch(1), 0, usize::MAX, now);
    for request in requests {
        hub.handle(WORKER, request);
    }
    let held = hub.held();
    assert_eq!(held.open_channels > 0, hub.bus().open_channels() > 0);
    held.memory_bytes
}

#[test]
fn everything_in_memory_counts() {
    let id = RequestId(1);
    let session = SessionId::from_bytes([1; 16]);
    let member = Arc::new(Member {
        session,
        user: "ann".into(),
        info: "{}".into(),
    });
    let name = ShareName {
        target: channel().into(),
        group: Key::new("workers").unwrap(),
    };
    let start = ShareRequest::Join {
        id,
        after: Position::new(1, 0),
        keep: Duration::ZERO,
    };
    let all = [
        BrokerRequest::Join {
            channel: channel(),
            member,
            generation: 1,
        },
        BrokerRequest::SaveSession {
            id: None,
            session,
            bytes: "state".into(),
            expiry: Duration::from_secs(60),
        },
        BrokerRequest::Share {
            name,
            request: start,
        },
        BrokerRequest::Follow {
            id,
            channel: channel(),
        },
    ];
    assert_eq!(held([]), 0);
    let each = all.iter().map(|request| held([request.clone()]));
    let each: Vec<usize> = each.collect();
    assert!(each.iter().all(|bytes| *bytes > 100), "{each:?}");
    assert_eq!(held(all), each.iter().sum::<usize>());
}
