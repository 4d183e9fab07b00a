//! Opening, greeting, losing and giving up connections.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::connection_event::Recovery;

#[test]
fn the_first_message_of_a_connection_is_the_greeting() {
    let mut harness = Harness::new();
    harness.subscribe("chat", Since::Now);
    harness.publish("chat", "a");
    harness.open();
    let hello = harness.sent_one("connect");
    assert_eq!(hello.get("resume"), None);
    assert!(harness.sent().is_empty(), "nothing before the welcome");
    harness.says(json!({"type": "welcome", "id": hello["id"], "session": "me", "resume": "r1"}));
    let kinds: Vec<_> = harness.sent().iter().map(|m| m["type"].clone()).collect();
    assert_eq!(kinds, ["subscribe", "publish"]);
    let ConnectionEvent::Open { recovery, .. } = harness.last_connection() else {
        panic!()
    };
    assert_eq!(*recovery, Recovery::New);
}

#[test]
fn a_lost_connection_is_resumed_by_the_newest_sealed_session() {
    let mut harness = Harness::online("r1");
    harness.says(json!({"type": "token", "resume": "r2"}));
    harness.is_lost();
    let hello = harness.come_online("r3");
    assert_eq!(hello["resume"], "r2");
    assert!(matches!(
        harness.last_connection(),
        ConnectionEvent::Open {
            recovery: Recovery::Resumed,
            ..
        }
    ));
}

#[test]
fn a_refused_sealed_session_is_discarded_and_positions_are_used() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 5);
    harness.says(json!({"type": "token", "resume": "r2"}));
    harness.message("chat", 6);
    harness.is_lost();
    harness.open();
    let hello = harness.sent_one("connect");
    assert_eq!(hello["positions"], json!({"chat": at(6)}));
    harness.says(json!({
        "type": "error", "id": hello["id"], "code": "bad_token", "message": "", "retry": "never",
    }));
    let again = harness.sent_one("connect");
    assert_eq!((again.get("resume"), again.get("positions")), (None, None));
    harness.says(json!({"type": "welcome", "id": again["id"], "session": "new", "resume": "r9"}));
    assert_eq!(harness.sent_one("subscribe")["since"], at(6));
    assert!(matches!(
        harness.last_connection(),
        ConnectionEvent::Open {
            recovery: Recovery::Positions,
            ..
        }
    ));
    assert_eq!(harness.taken(chat), [at(6)]);
}

#[test]
fn with_a_token_source_a_refused_sealed_session_leads_to_a_new_token_immediately() {
    let mut harness = Harness::with(Settings {
        has_token_source: true,
        ..settings()
    });
    let token_wanted = |harness: &mut Harness| {
        harness.core.handle_timeout(harness.now);
        harness.core.step() == Step::Open { token_wanted: true }
    };
    assert!(token_wanted(&mut harness));
    harness.come_online("r1");
    harness.is_lost();
    harness.wait(Duration::from_secs(40));
    assert_eq!(
        harness.core.step(),
        Step::Open {
            token_wanted: false
        }
    );
    harness.open();
    let hello = harness.sent_one("connect");
    harness.says(json!({
        "type": "error", "id": hello["id"], "code": "bad_token", "message": "", "retry": "never",
    }));
    assert!(token_wanted(&mut harness));
    harness
        .core
        .handle_opened(Some("fresh".into()), Form::Json, harness.now);
    let hello = harness.sent_one("connect");
    assert_eq!(
        (hello.get("resume"), &hello["token"]),
        (None, &json!("fresh"))
    );
}

#[test]
fn a_connect_refused_with_retry_never_is_final() {
    let mut harness = Harness::new();
    let chat = harness.subscribe("chat", Since::Now);
    harness.publish("chat", "a");
    harness.open();
    let hello = harness.sent_one("connect");
    harness.says(json!({
        "type": "error", "id": hello["id"], "code": "forbidden", "message": "who?",
        "retry": "never",
    }));
    assert_eq!(harness.core.step(), Step::End);
    assert!(matches!(
        harness.last_connection(),
        ConnectionEvent::GivenUp {
            cause: Error::Refused(_)
        }
    ));
    assert_eq!(harness.taken(chat), ["ended: forbidden: who?"]);
    assert!(matches!(
        &harness.answers[..],
        [(_, Err(Error::Refused(_)))]
    ));
    assert!(matches!(
        harness.core.subscribe(wish("other", false)),
        Err(Error::Refused(_))
    ));
}

#[test]
fn a_busy_server_is_not_retried_before_the_time_it_gave() {
    let mut harness = Harness::new();
    harness.open();
    let hello = harness.sent_one("connect");
    harness.says(json!({
        "type": "error", "id": hello["id"], "code": "too_many_connections", "message": "",
        "retry": "later", "retry_after_ms": 5000,
    }));
    let ConnectionEvent::Lost { pause, .. } = harness.last_connection() else {
        panic!("{:?}", harness.connections)
    };
    assert!(
        *pause >= Duration::from_secs(5) && *pause <= Duration::from_secs(7),
        "{pause:?}"
    );
}

fn refused_connection() -> Error {
    let source = std::io::ErrorKind::ConnectionRefused.into();
    offhook::Error::Connect {
        to: "there".into(),
        source,
    }
    .into()
}

#[test]
fn pauses_are_random_below_a_bound_that_doubles_up_to_the_maximum() {
    let mut harness = Harness::new();
    let mut pauses = Vec::new();
    for _ in 0..300 {
        while harness.core.step() == Step::Wait {
            harness.now = harness
                .core
                .poll_timeout()
                .expect("a time")
                .max(harness.now);
            harness.core.handle_timeout(harness.now);
        }
        harness
            .core
            .handle_failed(refused_connection(), harness.now);
        harness.settle();
        let ConnectionEvent::Lost { pause, .. } = harness.last_connection() else {
            panic!()
        };
        pauses.push(*pause);
    }
    for (pause, bound) in pauses.iter().zip([2, 4, 8, 16]) {
        assert!(
            *pause <= Duration::from_secs(bound),
            "{pause:?} of {bound} s"
        );
    }
    let cap = Duration::from_secs(30);
    assert!(pauses.iter().all(|pause| *pause <= cap));
    assert!(pauses.iter().any(|pause| *pause < cap / 4));
    assert!(pauses.iter().any(|pause| *pause > cap * 3 / 4));
}

#[test]
fn the_number_of_attempts_can_be_limited() {
    let mut backoff = Backoff::default();
    backoff.attempts = Some(2);
    let mut harness = Harness::with(Settings {
        backoff,
        ..settings()
    });
    for _ in 0..2 {
        assert_eq!(harness.core.step(), Step::Wait);
        harness.now = harness
            .core
            .poll_timeout()
            .expect("a time")
            .max(harness.now);
        harness.core.handle_timeout(harness.now);
        harness
            .core
            .handle_failed(refused_connection(), harness.now);
    }
    assert_eq!(harness.core.step(), Step::End);
}

#[test]
fn a_stable_connection_resets_the_pauses() {
    let mut harness = Harness::online("r1");
    for _ in 0..6 {
        harness.is_lost();
        harness.come_online("r1");
    }
    assert_eq!(harness.core.attempt(), 7);
    for _ in 0..4 {
        // The heartbeat is answered.
        harness.wait(Duration::from_secs(10));
        harness.says(json!({"type": "token", "resume": "r1"}));
    }
    harness.is_lost();
    let ConnectionEvent::Lost { pause, .. } = harness.last_connection() else {
        panic!()
    };
    assert!(*pause <= Duration::from_secs(1), "{pause:?}");
}

#[test]
fn a_silent_server_is_pinged_and_then_abandoned() {
    let mut harness = Harness::online("r1");
    harness.wait(Duration::from_secs(24));
    assert!(harness.sent().is_empty());
    harness.wait(Duration::from_secs(1));
    let ping = harness.sent_one("ping");
    harness.wait(Duration::from_secs(19));
    harness.says(json!({"type": "pong", "id": ping["id"]}));
    harness.wait(Duration::from_secs(25));
    harness.sent_one("ping");
    harness.wait(Duration::from_secs(20));
    assert!(matches!(
        harness.last_connection(),
        ConnectionEvent::Lost {
            cause: Error::Silent,
            ..
        }
    ));
}

#[test]
fn a_server_that_sends_no_welcome_is_abandoned() {
    let mut harness = Harness::new();
    harness.open();
    harness.sent_one("connect");
    harness.wait(Duration::from_secs(20));
    assert!(matches!(
        harness.last_connection(),
        ConnectionEvent::Lost {
            cause: Error::Silent,
            ..
        }
    ));
}

#[test]
fn a_stopping_server_is_left_at_the_time_that_it_advised() {
    let mut harness = Harness::online("r1");
    harness.says(json!({"type": "reconnect", "after_ms": 2750}));
    harness.wait(Duration::from_millis(2749));
    assert_eq!(harness.core.step(), Step::Talk);
    harness.wait(Duration::from_millis(1));
    assert_eq!(
        harness.core.step(),
        Step::Open {
            token_wanted: false
        }
    );
    assert!(matches!(
        harness.last_connection(),
        ConnectionEvent::Connecting { .. }
    ));
}

#[test]
fn a_connection_that_is_lost_before_the_advised_time_is_not_replaced_before_it() {
    let mut harness = Harness::online("r1");
    harness.says(json!({"type": "reconnect", "after_ms": 20_000}));
    harness.wait(Duration::from_secs(1));
    harness.is_lost();
    let ConnectionEvent::Lost { pause, .. } = harness.last_connection() else {
        panic!()
    };
    assert_eq!(*pause, Duration::from_secs(19));
}

#[test]
fn a_refusal_because_the_server_goes_away_leads_to_a_new_connection() {
    let mut harness = Harness::online("r1");
    harness.publish("chat", "a");
    let publish = harness.sent_one("publish");
    harness.says(json!({
        "type": "error", "id": publish["id"], "code": "draining", "message": "",
        "retry": "reconnect",
    }));
    assert!(harness.sent().is_empty());
    harness.wait(Duration::from_secs(1));
    harness.come_online("r2");
    assert_eq!(harness.sent_one("publish")["key"], "a");
}

#[test]
fn a_session_replaced_by_another_connection_does_not_reconnect() {
    let mut harness = Harness::online("r1");
    harness.says(json!({"type": "closing", "reason": "replaced"}));
    harness.is_lost();
    assert_eq!(harness.core.step(), Step::End);
    assert!(matches!(
        harness.last_connection(),
        ConnectionEvent::GivenUp { cause: Error::Closing(reason) } if &**reason == "replaced"
    ));
}

#[test]
fn a_session_disconnected_by_the_backend_does_not_reconnect() {
    let mut harness = Harness::online("r1");
    harness.says(json!({"type": "closing", "reason": "disconnected"}));
    harness.is_lost();
    assert_eq!(harness.core.step(), Step::End);
}

#[test]
fn a_connection_closed_as_too_slow_reconnects() {
    let mut harness = Harness::online("r1");
    harness.says(json!({"type": "closing", "reason": "too_slow"}));
    let closed = offhook::protocol::CloseCode::POLICY_VIOLATION;
    let closed = offhook::protocol::Closed {
        code: closed,
        reason: "".into(),
        by: offhook::protocol::ClosedBy::Remote,
        clean: true,
        sent: None,
        error: None,
    };
    let error = offhook::Error::Closed(Box::new(closed));
    assert!(!error.is_retryable(), "by itself it says never");
    harness.core.handle_lost(error.into(), harness.now);
    harness.settle();
    assert!(matches!(
        harness.last_connection(),
        ConnectionEvent::Lost {
            cause: Error::Closing(_),
            ..
        }
    ));
}

#[test]
fn repeated_advice_to_reconnect_does_not_cause_a_busy_loop() {
    let mut harness = Harness::new();
    let began = harness.now;
    for _ in 0..20 {
        harness.come_online("r1");
        harness.says(json!({"type": "reconnect", "after_ms": 0}));
        while harness.core.step() == Step::Talk {
            harness.now = harness
                .core
                .poll_timeout()
                .expect("a time")
                .max(harness.now);
            harness.core.handle_timeout(harness.now);
        }
    }
    assert!(
        harness.now - began > Duration::from_secs(60),
        "{:?}",
        harness.now - began
    );
}
