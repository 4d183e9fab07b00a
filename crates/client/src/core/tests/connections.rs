//! Opening, greeting, losing and giving up connections.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::connection_event::Recovery;

#[test]
fn the_first_message_of_a_connection_is_the_greeting() {
    let mut desk = Desk::new();
    desk.subscribe("chat", Since::Now);
    desk.publish("chat", "a");
    desk.open();
    let hello = desk.sent_one("connect");
    assert_eq!(hello.get("resume"), None);
    assert!(desk.sent().is_empty(), "nothing before the welcome");
    desk.says(json!({"type": "welcome", "id": hello["id"], "session": "me", "resume": "r1"}));
    let kinds: Vec<_> = desk.sent().iter().map(|m| m["type"].clone()).collect();
    assert_eq!(kinds, ["subscribe", "publish"]);
    let ConnectionEvent::Open { recovery, .. } = desk.last_connection() else {
        panic!()
    };
    assert_eq!(*recovery, Recovery::New);
}

#[test]
fn a_lost_connection_is_resumed_by_the_newest_sealed_session() {
    let mut desk = Desk::online("r1");
    desk.says(json!({"type": "token", "resume": "r2"}));
    desk.is_lost();
    let hello = desk.come_online("r3");
    assert_eq!(hello["resume"], "r2");
    assert!(matches!(
        desk.last_connection(),
        ConnectionEvent::Open {
            recovery: Recovery::Resumed,
            ..
        }
    ));
}

#[test]
fn a_refused_sealed_session_is_forgotten_and_positions_count() {
    let mut desk = Desk::online("r1");
    let chat = desk.following("chat", 5);
    desk.says(json!({"type": "token", "resume": "r2"}));
    desk.message("chat", 6);
    desk.is_lost();
    desk.open();
    let hello = desk.sent_one("connect");
    assert_eq!(hello["positions"], json!({"chat": at(6)}));
    desk.says(json!({
        "type": "error", "id": hello["id"], "code": "bad_token", "message": "", "retry": "never",
    }));
    let again = desk.sent_one("connect");
    assert_eq!((again.get("resume"), again.get("positions")), (None, None));
    desk.says(json!({"type": "welcome", "id": again["id"], "session": "new", "resume": "r9"}));
    assert_eq!(desk.sent_one("subscribe")["since"], at(6));
    assert!(matches!(
        desk.last_connection(),
        ConnectionEvent::Open {
            recovery: Recovery::Positions,
            ..
        }
    ));
    assert_eq!(desk.taken(chat), [at(6)]);
}

#[test]
fn with_a_token_source_a_refused_sealed_session_leads_to_a_fresh_token_at_once() {
    let mut desk = Desk::with(Settings {
        has_token_source: true,
        ..settings()
    });
    let token_wanted = |desk: &mut Desk| {
        desk.core.handle_timeout(desk.now);
        desk.core.step() == Step::Open { token_wanted: true }
    };
    assert!(token_wanted(&mut desk));
    desk.come_online("r1");
    desk.is_lost();
    desk.wait(Duration::from_secs(40));
    assert_eq!(
        desk.core.step(),
        Step::Open {
            token_wanted: false
        }
    );
    desk.open();
    let hello = desk.sent_one("connect");
    desk.says(json!({
        "type": "error", "id": hello["id"], "code": "bad_token", "message": "", "retry": "never",
    }));
    assert!(token_wanted(&mut desk));
    desk.core.handle_opened(Some("fresh".into()), desk.now);
    let hello = desk.sent_one("connect");
    assert_eq!(
        (hello.get("resume"), &hello["token"]),
        (None, &json!("fresh"))
    );
}

#[test]
fn a_refused_greeting_without_sealed_session_is_for_good_if_the_server_says_never() {
    let mut desk = Desk::new();
    let chat = desk.subscribe("chat", Since::Now);
    desk.publish("chat", "a");
    desk.open();
    let hello = desk.sent_one("connect");
    desk.says(json!({
        "type": "error", "id": hello["id"], "code": "forbidden", "message": "who?",
        "retry": "never",
    }));
    assert_eq!(desk.core.step(), Step::End);
    assert!(matches!(
        desk.last_connection(),
        ConnectionEvent::GivenUp {
            cause: Error::Refused(_)
        }
    ));
    assert_eq!(desk.taken(chat), ["ended: forbidden: who?"]);
    assert!(matches!(&desk.answers[..], [(_, Err(Error::Refused(_)))]));
    assert!(matches!(
        desk.core.subscribe(channel("other"), Since::Now, false),
        Err(Error::Refused(_))
    ));
}

#[test]
fn a_busy_server_is_asked_again_not_before_it_wants_to_be() {
    let mut desk = Desk::new();
    desk.open();
    let hello = desk.sent_one("connect");
    desk.says(json!({
        "type": "error", "id": hello["id"], "code": "too_many_connections", "message": "",
        "retry": "later", "retry_after_ms": 5000,
    }));
    let ConnectionEvent::Lost { pause, .. } = desk.last_connection() else {
        panic!("{:?}", desk.connections)
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
fn pauses_are_random_parts_of_a_bound_that_doubles_up_to_the_cap() {
    let mut desk = Desk::new();
    let mut pauses = Vec::new();
    for _ in 0..300 {
        while desk.core.step() == Step::Wait {
            desk.now = desk.core.poll_timeout().expect("a time").max(desk.now);
            desk.core.handle_timeout(desk.now);
        }
        desk.core.handle_failed(refused_connection(), desk.now);
        desk.settle();
        let ConnectionEvent::Lost { pause, .. } = desk.last_connection() else {
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
fn attempts_can_be_bounded() {
    let mut backoff = Backoff::default();
    backoff.attempts = Some(2);
    let mut desk = Desk::with(Settings {
        backoff,
        ..settings()
    });
    for _ in 0..2 {
        assert_eq!(desk.core.step(), Step::Wait);
        desk.now = desk.core.poll_timeout().expect("a time").max(desk.now);
        desk.core.handle_timeout(desk.now);
        desk.core.handle_failed(refused_connection(), desk.now);
    }
    assert_eq!(desk.core.step(), Step::End);
}

#[test]
fn a_stable_connection_makes_the_pauses_begin_anew() {
    let mut desk = Desk::online("r1");
    for _ in 0..6 {
        desk.is_lost();
        desk.come_online("r1");
    }
    assert_eq!(desk.core.attempt(), 7);
    for _ in 0..4 {
        // Somebody answers the heartbeat.
        desk.wait(Duration::from_secs(10));
        desk.says(json!({"type": "token", "resume": "r1"}));
    }
    desk.is_lost();
    let ConnectionEvent::Lost { pause, .. } = desk.last_connection() else {
        panic!()
    };
    assert!(*pause <= Duration::from_secs(1), "{pause:?}");
}

#[test]
fn a_silent_server_is_asked_for_a_sign_of_life_and_then_given_up() {
    let mut desk = Desk::online("r1");
    desk.wait(Duration::from_secs(24));
    assert!(desk.sent().is_empty());
    desk.wait(Duration::from_secs(1));
    let ping = desk.sent_one("ping");
    desk.wait(Duration::from_secs(19));
    desk.says(json!({"type": "pong", "id": ping["id"]}));
    desk.wait(Duration::from_secs(25));
    desk.sent_one("ping");
    desk.wait(Duration::from_secs(20));
    assert!(matches!(
        desk.last_connection(),
        ConnectionEvent::Lost {
            cause: Error::Silent,
            ..
        }
    ));
}

#[test]
fn a_server_that_does_not_say_welcome_is_given_up() {
    let mut desk = Desk::new();
    desk.open();
    desk.sent_one("connect");
    desk.wait(Duration::from_secs(20));
    assert!(matches!(
        desk.last_connection(),
        ConnectionEvent::Lost {
            cause: Error::Silent,
            ..
        }
    ));
}

#[test]
fn a_server_that_goes_away_is_left_when_it_said_and_not_after_a_pause_of_our_own() {
    let mut desk = Desk::online("r1");
    desk.says(json!({"type": "reconnect", "after_ms": 2750}));
    desk.wait(Duration::from_millis(2749));
    assert_eq!(desk.core.step(), Step::Talk);
    desk.wait(Duration::from_millis(1));
    assert_eq!(
        desk.core.step(),
        Step::Open {
            token_wanted: false
        }
    );
    assert!(matches!(
        desk.last_connection(),
        ConnectionEvent::Connecting { .. }
    ));
}

#[test]
fn a_connection_that_is_lost_before_the_advised_time_is_not_replaced_before_it() {
    let mut desk = Desk::online("r1");
    desk.says(json!({"type": "reconnect", "after_ms": 20_000}));
    desk.wait(Duration::from_secs(1));
    desk.is_lost();
    let ConnectionEvent::Lost { pause, .. } = desk.last_connection() else {
        panic!()
    };
    assert_eq!(*pause, Duration::from_secs(19));
}

#[test]
fn a_refusal_because_the_server_goes_away_leads_to_a_new_connection() {
    let mut desk = Desk::online("r1");
    desk.publish("chat", "a");
    let publish = desk.sent_one("publish");
    desk.says(json!({
        "type": "error", "id": publish["id"], "code": "draining", "message": "",
        "retry": "reconnect",
    }));
    assert!(desk.sent().is_empty());
    desk.wait(Duration::from_secs(1));
    desk.come_online("r2");
    assert_eq!(desk.sent_one("publish")["key"], "a");
}

#[test]
fn a_session_that_came_back_elsewhere_does_not_come_back_here() {
    let mut desk = Desk::online("r1");
    desk.says(json!({"type": "closing", "reason": "replaced"}));
    desk.is_lost();
    assert_eq!(desk.core.step(), Step::End);
    assert!(matches!(
        desk.last_connection(),
        ConnectionEvent::GivenUp { cause: Error::Closing(reason) } if &**reason == "replaced"
    ));
}

#[test]
fn a_connection_that_was_too_slow_comes_back() {
    let mut desk = Desk::online("r1");
    desk.says(json!({"type": "closing", "reason": "too_slow"}));
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
    desk.core.handle_lost(error.into(), desk.now);
    desk.settle();
    assert!(matches!(
        desk.last_connection(),
        ConnectionEvent::Lost {
            cause: Error::Closing(_),
            ..
        }
    ));
}

#[test]
fn a_server_that_sends_us_on_from_every_connection_does_not_make_us_run() {
    let mut desk = Desk::new();
    let began = desk.now;
    for _ in 0..20 {
        desk.come_online("r1");
        desk.says(json!({"type": "reconnect", "after_ms": 0}));
        while desk.core.step() == Step::Talk {
            desk.now = desk.core.poll_timeout().expect("a time").max(desk.now);
            desk.core.handle_timeout(desk.now);
        }
    }
    assert!(
        desk.now - began > Duration::from_secs(60),
        "{:?}",
        desk.now - began
    );
}
