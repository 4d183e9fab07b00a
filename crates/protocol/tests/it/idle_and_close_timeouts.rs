//! The idle timeout and the close deadline, on simulated time.

use std::time::Duration;

use offhook_protocol::{CloseCode, Config, Error, ReadyState, TimeoutError};
use offhook_testkit::frames::{close, ping, pong, text};
use offhook_testkit::{Heard, Pair, Talk};

const SECOND: Duration = Duration::from_secs(1);
const ROLES: [fn(Config) -> Talk; 2] = [Talk::with_server_of, Talk::with_client_of];

fn idle_after(seconds: u32) -> Config {
    Config {
        idle_timeout: Some(SECOND * seconds),
        ..Config::default()
    }
}

fn closing_within(seconds: u32) -> Config {
    Config {
        close_timeout: SECOND * seconds,
        ..Config::default()
    }
}

fn close_now(talk: &mut Talk) {
    let closed = talk.connection.close(1000.into(), "", talk.clock.now());
    assert_eq!(closed, Ok(()));
}

fn idle() -> Error {
    Error::Timeout(TimeoutError::Idle)
}

#[test]
fn a_connection_without_messages_closes_with_1001_after_the_idle_timeout() {
    for role in ROLES {
        let mut talk = role(idle_after(20));
        assert_eq!(talk.pass(19), Ok(()));
        assert_eq!(talk.pass(1), Err(idle()));
        assert_eq!(talk.says(), [close(1001, idle().to_string())]);
        assert_eq!(talk.connection.ready_state(), ReadyState::Closing);
        // This is not a violation: the peer may answer.
        let answer = close(1001, idle().to_string());
        assert_eq!(
            talk.hears([answer]),
            [Heard::close(1001, &idle().to_string())]
        );
        let closed = talk.closed();
        assert!(closed.clean);
        assert_eq!(
            (closed.code, closed.error),
            (CloseCode::GOING_AWAY, Some(idle()))
        );
    }
}

#[test]
fn messages_in_either_direction_restart_the_idle_timeout() {
    for role in ROLES {
        let mut talk = role(idle_after(20));
        for _ in 0..5 {
            assert_eq!(talk.pass(19), Ok(()));
            talk.hears([text("x")]);
            assert_eq!(talk.pass(19), Ok(()));
            talk.connection.send("y").expect("open");
            talk.says();
        }
        assert_eq!(talk.pass(19), Ok(()));
        assert_eq!(talk.pass(2), Err(idle()));
    }
}

/// A connection kept alive by pings is still idle.
#[test]
fn pings_and_pongs_do_not_restart_the_idle_timeout() {
    for role in ROLES {
        let mut talk = role(idle_after(20));
        assert_eq!(talk.pass(10), Ok(()));
        talk.hears([ping("?"), pong("!")]);
        talk.connection.ping(talk.clock.now()).expect("open");
        talk.connection.pong(b"!").expect("open");
        talk.says();
        assert_eq!(talk.pass(10), Err(idle()));
    }
}

#[test]
fn chunks_of_a_long_message_restart_the_idle_timeout() {
    for role in ROLES {
        let mut talk = role(idle_after(20)).chunked();
        talk.hears([text("begun").more()]);
        for _ in 0..10 {
            assert_eq!(talk.pass(19), Ok(()));
            talk.hears([offhook_testkit::frames::rest("x").more()]);
        }
    }
}

#[test]
fn a_slowly_received_long_message_restarts_the_idle_timeout() {
    for role in ROLES {
        let mut talk = role(idle_after(20));
        let bytes = talk.encode([text("slowly, slowly")]);
        let (begun, rest) = bytes.split_at(7);
        talk.hears_bytes(begun);
        for byte in &rest[..5] {
            assert_eq!(talk.pass(19), Ok(()));
            assert_eq!(talk.hears_bytes(&[*byte]), []);
        }
        assert_eq!(talk.pass(20), Err(idle()), "when it stands still it is");
    }
}

#[test]
fn a_slowly_sent_long_message_restarts_the_idle_timeout() {
    for role in ROLES {
        let mut talk = role(idle_after(20));
        talk.connection.send(vec![0; 1_500_000]).expect("open");
        while talk.connection.buffered_amount() > 400_000 {
            assert_eq!(talk.pass(15), Ok(()));
            talk.hears([pong("alive")]);
            talk.writes(70_000);
        }
        talk.written();
        assert_eq!(talk.pass(40), Err(idle()));
    }
}

#[test]
fn two_idle_ends_close_cleanly() {
    let mut pair = Pair::new(idle_after(20), Config::default());
    pair.client.connection.send("hello").expect("open");
    pair.run(SECOND * 60);
    let of_client = pair.client.closed().expect("closed");
    assert_eq!(of_client.error, Some(idle()));
    let of_server = pair.server.closed().expect("closed");
    assert_eq!(
        (of_server.code, of_server.error),
        (CloseCode::GOING_AWAY, None)
    );
    assert!(of_client.clean && of_server.clean);
}

#[test]
fn the_close_deadline_starts_with_the_first_close() {
    for role in ROLES {
        let mut talk = role(closing_within(7));
        close_now(&mut talk);
        let deadline = talk.clock.now() + SECOND * 7;
        assert_eq!(talk.connection.poll_timeout(), Some(deadline));
        talk.says();
        assert_eq!(talk.pass(6), Ok(()));
        talk.hears([text("still busy")]);
        assert!(!talk.connection.wants_disconnect());
        assert_eq!(talk.pass(1), Err(Error::Timeout(TimeoutError::Close)));
        assert!(talk.connection.wants_disconnect());
        assert_eq!(talk.pass(100), Ok(()), "told once");
    }
}

/// The peer's time to answer starts when our Close was written, not when it was requested.
#[test]
fn the_close_deadline_of_a_queued_close_starts_once_it_is_sent() {
    for role in ROLES {
        let mut talk = role(closing_within(7));
        talk.connection.send(vec![0; 600_000]).expect("open");
        close_now(&mut talk);
        while talk.connection.buffered_amount() > 50_000 {
            assert_eq!(talk.pass(6), Ok(()));
            talk.writes(50_000);
        }
        assert_eq!(talk.pass(6), Ok(()));
        talk.written();
        assert_eq!(talk.pass(1), Ok(()), "notices that all has left");
        assert_eq!(talk.pass(6), Ok(()), "the peer has all its time");
        assert_eq!(talk.pass(1), Err(Error::Timeout(TimeoutError::Close)));
    }
}

#[test]
fn a_peer_that_reads_very_slowly_does_not_delay_the_close_deadline() {
    for role in ROLES {
        let mut talk = role(closing_within(7));
        talk.connection.send(vec![0; 600_000]).expect("open");
        close_now(&mut talk);
        for _ in 0..6 {
            talk.writes(100);
            assert_eq!(talk.pass(1), Ok(()));
        }
        assert_eq!(talk.pass(1), Err(Error::Timeout(TimeoutError::Close)));
        assert_eq!(talk.closed().sent, None, "our Close never left");
    }
}

/// A peer that does not read must not keep a failed connection alive.
#[test]
fn the_close_deadline_also_ends_an_unread_answer() {
    for role in ROLES {
        for last_words in [close(1000, ""), text(b"\xff")] {
            let mut talk = role(Config::default());
            talk.hears([last_words]);
            assert!(!talk.connection.wants_disconnect(), "the Close is unsent");
            let deadline = talk.connection.poll_timeout().expect("there is one");
            talk.clock.advance_to(deadline);
            let error = talk.connection.handle_timeout(talk.clock.now());
            assert_eq!(error, Err(Error::Timeout(TimeoutError::Close)));
            assert!(talk.connection.wants_disconnect());
            assert!(!talk.connection.has_output());
            assert_eq!(talk.closed().sent, None);
        }
    }
}

#[test]
fn unrepresentable_times_are_not_deadlines() {
    for role in ROLES {
        let mut talk = role(Config {
            keepalive: offhook_protocol::Keepalive {
                interval: Some(Duration::MAX),
                pong_timeout: Duration::MAX,
            },
            idle_timeout: Some(Duration::MAX),
            close_timeout: Duration::MAX,
            ..Config::default()
        });
        talk.connection.ping(talk.clock.now()).expect("open");
        assert_eq!(talk.connection.poll_timeout(), None);
        assert_eq!(talk.pass(10), Ok(()));
        let now = talk.clock.now();
        talk.connection
            .close(1000.into(), "", now)
            .expect("allowed");
        assert_eq!(talk.connection.poll_timeout(), None);
        assert_eq!(talk.pass(10), Ok(()));
    }
}
