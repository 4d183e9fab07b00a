use std::sync::Arc;

use offhook_engine::{ChannelName, Flow, Identity, Position, SessionId, SubscriptionSnapshot};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

const SEALED_AT: u64 = 1_000_000;

fn sealer(keys: &[u8]) -> Sealer {
    let keys: Vec<_> = keys.iter().map(|key| ResumeKey([*key; 32])).collect();
    Sealer::new(&keys, DAY)
}

fn sealed() -> SessionSnapshot {
    let channel = ChannelName::new("chat").unwrap();
    let position = Position::new(1_700_000_000_000, 42);
    SessionSnapshot {
        session: SessionId::from_bytes([7; 16]),
        generation: 1,
        identity: Arc::new(Identity::user("ann")),
        subscriptions: vec![SubscriptionSnapshot {
            target: channel.into(),
            id: None,
            position,
            presence: true,
            echo: true,
            vouched: false,
            flow: Flow::Pushed,
            unacknowledged: None,
            share: None,
        }],
        note: Default::default(),
        time_ms: SEALED_AT,
    }
}

fn whole() -> Opened {
    Opened::Whole(sealed())
}

/// A session with so many subscriptions.
fn large(count: u64) -> SessionSnapshot {
    let mut session = sealed();
    session.subscriptions = (0..count)
        .map(|n| SubscriptionSnapshot {
            target: ChannelName::new(&format!("room/{n}")).unwrap().into(),
            ..sealed().subscriptions[0].clone()
        })
        .collect();
    session
}

#[test]
fn the_token_of_a_large_session_is_short_and_the_broker_stores_the_rest() {
    for count in [5_000, 10_000] {
        let session = large(count);
        let Token { text, kept } = sealer(&[1]).seal(&session).unwrap();
        assert!(text.len() < 256, "{}", text.len());
        let kept = SessionSnapshot::from_bytes(&kept.unwrap()).unwrap();
        assert_eq!(kept, session);
        let without = SessionSnapshot {
            subscriptions: Vec::new(),
            ..session
        };
        let opened = sealer(&[1]).open(&text, SEALED_AT).unwrap();
        assert_eq!(opened, Opened::Reference(without));
    }
}

#[test]
fn tokens_below_the_maximum_length_hold_everything_and_none_is_longer() {
    let mut wholes = 0;
    for count in 1..300 {
        let Token { text, kept } = sealer(&[1]).seal(&large(count)).unwrap();
        assert!(text.len() <= LONGEST, "{count}: {}", text.len());
        match sealer(&[1]).open(&text, SEALED_AT).unwrap() {
            Opened::Whole(session) => {
                assert_eq!((session, kept), (large(count), None));
                wholes += 1;
            }
            Opened::Reference(_) => assert!(kept.is_some()),
        }
    }
    // As many as a session may have by default, and not all.
    assert!((128..299).contains(&wholes), "{wholes}");
}

#[test]
fn a_reference_is_not_accepted_as_a_session_or_vice_versa() {
    let whole = sealer(&[1]).seal(&sealed()).unwrap().text;
    let reference = sealer(&[1]).seal(&large(1_000)).unwrap().text;
    for (token, from, to) in [(whole, "v3.", "r3."), (reference, "r3.", "v3.")] {
        let changed = format!("{to}{}", token.strip_prefix(from).unwrap());
        let refusal = sealer(&[1]).open(&changed, SEALED_AT).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::BadToken);
    }
}

#[test]
fn a_token_sealed_by_one_node_is_opened_by_another_with_the_same_key() {
    let token = sealer(&[1]).seal(&sealed()).unwrap().text;
    assert_eq!(sealer(&[1]).open(&token, SEALED_AT).unwrap(), whole());
    assert!(!token.contains("chat"), "{token}");
    assert_ne!(
        sealer(&[1]).seal(&sealed()).unwrap().text,
        token,
        "each has a nonce of its own"
    );
}

#[test]
fn a_token_of_another_key_or_with_one_bit_changed_is_refused() {
    let token = sealer(&[1]).seal(&sealed()).unwrap().text;
    let refused = |token: &str, by: &Sealer| by.open(token, SEALED_AT).unwrap_err();
    assert_eq!(refused(&token, &sealer(&[2])).code, ErrorCode::BadToken);
    let bytes = BASE64URL_NOPAD.decode(&token.as_bytes()[3..]).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let changed = format!("v3.{}", BASE64URL_NOPAD.encode(&changed));
        assert_eq!(refused(&changed, &sealer(&[1])).code, ErrorCode::BadToken);
    }
}

#[test]
fn an_invalid_token_is_refused() {
    for token in ["", "v3.", "v3.AAAA", "v2.AAAA", "v3.!!!!", "nonsense"] {
        let refusal = sealer(&[1]).open(token, 0).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::BadToken, "{token}");
        assert!(refusal.detail.contains("subscribe with positions"));
    }
}

#[test]
fn a_token_expires() {
    let token = sealer(&[1]).seal(&sealed()).unwrap().text;
    let end = SEALED_AT + 24 * 3600 * 1000;
    assert!(sealer(&[1]).open(&token, end - 1).is_ok());
    let refusal = sealer(&[1]).open(&token, end).unwrap_err();
    assert!(refusal.detail.contains("has expired"));
}

#[test]
fn a_token_expires_with_its_identity() {
    let mut sealed = sealed();
    Arc::make_mut(&mut sealed.identity).ends_ms = Some(SEALED_AT + 1_000);
    let token = sealer(&[1]).seal(&sealed).unwrap().text;
    assert!(sealer(&[1]).open(&token, SEALED_AT + 999).is_ok());
    let refusal = sealer(&[1]).open(&token, SEALED_AT + 1_000).unwrap_err();
    assert!(refusal.detail.contains("identity"), "{refusal}");
}

#[test]
fn after_a_key_is_replaced_tokens_of_the_previous_key_stay_valid() {
    let running = sealer(&[1]);
    let old = running.seal(&sealed()).unwrap().text;
    running.set_keys(&[ResumeKey([2; 32]), ResumeKey([1; 32])]);
    assert_eq!(running.open(&old, SEALED_AT).unwrap(), whole());
    let new = running.seal(&sealed()).unwrap().text;
    assert!(
        sealer(&[1]).open(&new, SEALED_AT).is_err(),
        "the first key seals"
    );
    running.set_keys(&[ResumeKey([2; 32])]);
    let refusal = running.open(&old, SEALED_AT).unwrap_err();
    assert!(refusal.detail.contains("key"), "{refusal}");
    assert_eq!(running.open(&new, SEALED_AT).unwrap(), whole());
}
