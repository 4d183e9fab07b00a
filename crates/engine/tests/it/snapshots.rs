//! The content of a resume token, and the handling of a damaged one.

use std::{sync::Arc, time::Duration};

use offhook_engine::*;
use proptest::prelude::*;

fn snapshot() -> SessionSnapshot {
    let mut identity = Identity::user("ann").with("chat/*", Verbs::ALL);
    identity.info = "{\"name\":\"Ann\"}".into();
    identity.info_is_fixed = true;
    identity.by_certificate = true;
    identity.ends_ms = Some(1_700_000_000_000);
    let grant = Grant::new("news", Verbs::SUBSCRIBE | Verbs::HISTORY);
    identity.add(grant.until(1_600_000_000_000));
    let subscription = |name: &str, offset| SubscriptionSnapshot {
        target: ChannelName::new(name).unwrap().into(),
        id: None,
        position: Position::new(7, offset),
        presence: offset % 2 == 0,
        echo: true,
        vouched: false,
        flow: Flow::Pushed,
        unacknowledged: None,
        share: None,
    };
    let numbered = SubscriptionSnapshot {
        id: Some(SubscriptionId(7)),
        echo: false,
        ..subscription("news", 5)
    };
    let filter = SubscriptionSnapshot {
        target: Filter::new("news/+").unwrap().into(),
        vouched: true,
        ..subscription("x", 6)
    };
    let earlier = |offset| Earlier {
        position: Position::new(7, offset),
        deliveries: 2,
    };
    let acknowledged = SubscriptionSnapshot {
        flow: Flow::Acknowledged { window: 9 },
        unacknowledged: Some(Unacknowledged {
            until: Position::new(7, 20),
            publications: vec![earlier(11), earlier(15)],
        }),
        ..subscription("jobs", 10)
    };
    let shared = SubscriptionSnapshot {
        id: Some(SubscriptionId(8)),
        flow: Flow::Acknowledged { window: 5 },
        share: Some(Share {
            group: Key::new("workers").unwrap(),
            keep: Duration::from_secs(60),
        }),
        ..subscription("jobs", 12)
    };
    SessionSnapshot {
        session: SessionId::from_bytes(*b"0123456789abcdef"),
        generation: 3,
        identity: Arc::new(identity),
        subscriptions: vec![
            subscription("chat/1", 4),
            numbered,
            filter,
            acknowledged,
            shared,
        ],
        note: "a note".into(),
        time_ms: 1_700_000_000_000,
    }
}

#[test]
fn a_snapshot_round_trips() {
    let bytes = snapshot().to_bytes().unwrap();
    assert_eq!(SessionSnapshot::from_bytes(&bytes), Ok(snapshot()));
    for (class, note) in [
        (Some("backend"), "a note"),
        (Some("backend"), ""),
        (None, ""),
    ] {
        let mut identity = Identity::clone(&snapshot().identity);
        identity.class = class.map(Into::into);
        let other = SessionSnapshot {
            identity: Arc::new(identity),
            note: note.into(),
            ..snapshot()
        };
        let bytes = other.to_bytes().unwrap();
        assert_eq!(SessionSnapshot::from_bytes(&bytes), Ok(other));
    }
}

#[test]
fn a_snapshot_without_a_note_has_the_bytes_of_earlier_versions() {
    let mut without = snapshot();
    without.note = Default::default();
    let bytes = without.to_bytes().unwrap();
    assert_eq!(bytes.first(), Some(&3));
    assert_eq!(SessionSnapshot::from_bytes(&bytes), Ok(without));
}

#[test]
fn a_snapshot_with_missing_or_extra_bytes_is_a_bad_token() {
    let bytes = snapshot().to_bytes().unwrap();
    let too_long = [&bytes[..], b"!"].concat();
    let short = (0..bytes.len()).map(|len| &bytes[..len]);
    for broken in short.chain([&too_long[..]]) {
        let refusal = SessionSnapshot::from_bytes(broken).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::BadToken);
    }
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(snapshot) = SessionSnapshot::from_bytes(&bytes) {
            prop_assert!(snapshot.subscriptions.len() < 200);
        }
    }
}

#[test]
fn each_fact_of_an_identity_is_stored_by_itself() {
    for (info_is_fixed, by_certificate) in [(false, false), (true, false), (false, true)] {
        let mut snapshot = snapshot();
        let identity = Arc::make_mut(&mut snapshot.identity);
        (identity.info_is_fixed, identity.by_certificate) = (info_is_fixed, by_certificate);
        let bytes = snapshot.to_bytes().unwrap();
        assert_eq!(SessionSnapshot::from_bytes(&bytes), Ok(snapshot));
    }
}
