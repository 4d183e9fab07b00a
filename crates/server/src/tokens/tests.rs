use std::sync::Arc;

use offhook_engine::{ChannelName, Flow, Identity, Position, SessionId, SubscriptionSnapshot};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn sealer(key: u8) -> Sealer {
    Sealer::new(&ResumeKey([key; 32]), DAY)
}

fn session() -> SessionSnapshot {
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
        }],
        time_ms: 1_000_000,
    }
}

#[test]
fn what_one_node_seals_another_with_the_same_key_opens() {
    let token = sealer(1).seal(&session()).unwrap();
    assert_eq!(sealer(1).open(&token, 1_000_000).unwrap(), session());
    assert!(!token.contains("chat"), "{token}");
    assert_ne!(
        sealer(1).seal(&session()).unwrap(),
        token,
        "each has a nonce of its own"
    );
}

#[test]
fn a_token_of_another_key_or_with_one_bit_changed_is_refused() {
    let token = sealer(1).seal(&session()).unwrap();
    let refused = |token: &str, by: &Sealer| by.open(token, 1_000_000).unwrap_err();
    assert_eq!(refused(&token, &sealer(2)).code, ErrorCode::BadToken);
    let bytes = BASE64URL_NOPAD.decode(&token.as_bytes()[3..]).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let changed = format!("v1.{}", BASE64URL_NOPAD.encode(&changed));
        assert_eq!(refused(&changed, &sealer(1)).code, ErrorCode::BadToken);
    }
}

#[test]
fn what_is_no_token_at_all_is_refused() {
    for token in ["", "v1.", "v1.AAAA", "v2.AAAA", "v1.!!!!", "nonsense"] {
        let refusal = sealer(1).open(token, 0).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::BadToken, "{token}");
        assert!(refusal.detail.contains("subscribe with positions"));
    }
}

#[test]
fn a_token_expires() {
    let token = sealer(1).seal(&session()).unwrap();
    let last_moment = 1_000_000 + 24 * 3600 * 1000;
    assert!(sealer(1).open(&token, last_moment).is_ok());
    let refusal = sealer(1).open(&token, last_moment + 1).unwrap_err();
    assert!(refusal.detail.contains("expired"));
}
