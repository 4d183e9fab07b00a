//! Keepalive and round trips: pings after silence and a deadline for the answer, on simulated time
//! and at both ends.

use std::time::Duration;

use offhook_protocol::{Config, Error, Keepalive, ReadyState, TimeoutError};
use offhook_testkit::frames::{binary, ping, pong, rest, text};
use offhook_testkit::{Frame, Heard, Pair, Talk};

const SECOND: Duration = Duration::from_secs(1);
const ROLES: [fn(Config) -> Talk; 2] = [Talk::with_server_of, Talk::with_client_of];

fn every(interval: u64, pong_timeout: u64) -> Config {
    Config {
        keepalive: Keepalive {
            interval: Some(SECOND * interval as u32),
            pong_timeout: SECOND * pong_timeout as u32,
        },
        ..Config::default()
    }
}

fn silent() -> Config {
    Config {
        keepalive: Keepalive {
            interval: None,
            ..Keepalive::default()
        },
        ..Config::default()
    }
}

fn one_ping(talk: &mut Talk) -> Frame {
    let said = talk.says();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].opcode(), 0x9);
    said[0].clone()
}

#[test]
fn a_ping_is_sent_after_an_interval_of_silence_and_not_before() {
    for role in ROLES {
        let mut talk = role(every(30, 20));
        let deadline = talk.connection.poll_timeout();
        assert_eq!(deadline, Some(talk.clock.now() + SECOND * 30));
        talk.pass(29).expect("too early");
        assert_eq!(talk.says(), []);
        talk.pass(1).expect("a ping is no error");
        one_ping(&mut talk);
        talk.pass(19).expect("the answer has time");
        assert_eq!(talk.says(), [], "one ping at a time");
    }
}

#[test]
fn any_byte_from_the_peer_delays_the_next_ping() {
    for role in ROLES {
        for sign in [text("x"), pong("!"), ping("?"), binary("half").more()] {
            let mut talk = role(every(30, 20));
            talk.pass(29).expect("open");
            talk.hears([sign]);
            talk.says();
            talk.pass(29).expect("open");
            assert_eq!(talk.says(), []);
            talk.pass(1).expect("open");
            one_ping(&mut talk);
        }
        let mut talk = role(every(30, 20));
        talk.pass(29).expect("open");
        let half_a_header = talk.encode([text("x")])[..1].to_vec();
        talk.hears_bytes(&half_a_header);
        talk.pass(29).expect("open");
        assert_eq!(talk.says(), []);
    }
}

#[test]
fn an_empty_read_does_not_delay_the_next_ping() {
    for role in ROLES {
        let mut talk = role(every(30, 20));
        talk.pass(29).expect("open");
        talk.hears_bytes(&[]);
        talk.pass(1).expect("open");
        one_ping(&mut talk);
        talk.hears_bytes(&[]);
        assert_eq!(talk.pass(20), Err(Error::Timeout(TimeoutError::Pong)));
    }
}

#[test]
fn a_peer_that_answers_is_pinged_again_after_each_interval() {
    for role in ROLES {
        let mut talk = role(every(30, 20));
        for _ in 0..100 {
            talk.pass(30).expect("open");
            let payload = one_ping(&mut talk).payload().to_vec();
            let heard = talk.hears([pong(&payload)]);
            assert_eq!(heard, [Heard::Pong(payload, true)]);
        }
    }
}

/// Any input is a sign of life: a peer that is busy sending may not have read our ping yet.
#[test]
fn a_peer_that_sends_without_answering_pings_is_alive() {
    for role in ROLES {
        let mut talk = role(every(30, 20));
        talk.hears([text("Hel").more()]);
        for _ in 0..10 {
            talk.pass(30).expect("open");
            one_ping(&mut talk);
            talk.pass(19).expect("open");
            talk.hears([rest("l").more()]);
        }
    }
}

#[test]
fn a_silent_peer_is_abandoned_once_at_the_deadline() {
    for role in ROLES {
        let mut talk = role(every(30, 20));
        talk.pass(30).expect("a ping");
        let deadline = talk.connection.poll_timeout();
        assert_eq!(deadline, Some(talk.clock.now() + SECOND * 20));
        assert_eq!(talk.pass(19), Ok(()));
        assert_eq!(talk.pass(1), Err(Error::Timeout(TimeoutError::Pong)));
        assert_eq!(talk.connection.ready_state(), ReadyState::Closing);
        assert!(talk.connection.wants_disconnect());
        assert_eq!(talk.connection.poll_timeout(), None);
        assert_eq!(talk.pass(100), Ok(()), "told once");
    }
}

/// Measuring round trips every few seconds must not disable the keepalive.
#[test]
fn pings_sent_by_the_user_do_not_delay_the_deadline() {
    for role in ROLES {
        let mut talk = role(every(30, 20));
        let now = talk.clock.now();
        talk.connection.ping(now).expect("open");
        for _ in 0..4 {
            assert_eq!(talk.pass(4), Ok(()));
            talk.connection.ping(talk.clock.now()).expect("open");
        }
        assert_eq!(talk.pass(3), Ok(()));
        assert_eq!(talk.pass(1), Err(Error::Timeout(TimeoutError::Pong)));
    }
}

/// An idle peer on a slow link receives the ping late: its time starts when the ping was written.
#[test]
fn the_deadline_of_a_ping_queued_behind_a_long_message_starts_once_it_is_sent() {
    for role in ROLES {
        let mut talk = role(every(30, 20));
        talk.connection.send(vec![0; 200_000]).expect("open");
        talk.pass(30).expect("a ping");
        let mut written = Vec::new();
        for _ in 0..9 {
            talk.pass(19).expect("it comes nearer to leaving");
            written.extend(talk.writes(20_000));
        }
        talk.pass(19).expect("nearer still");
        written.extend(talk.written());
        let frames = Frame::decode_all(&written);
        assert_eq!(frames.last().map(|(frame, _)| frame.opcode()), Some(0x9));
        talk.pass(19).expect("the answer has time");
        assert_eq!(talk.pass(2), Err(Error::Timeout(TimeoutError::Pong)));
    }
}

#[test]
fn a_ping_that_cannot_be_written_has_the_same_deadline() {
    for role in ROLES {
        let mut talk = role(every(30, 20));
        talk.connection.send(vec![0; 200_000]).expect("open");
        talk.pass(30).expect("a ping");
        assert_eq!(talk.pass(19), Ok(()));
        assert_eq!(talk.pass(1), Err(Error::Timeout(TimeoutError::Pong)));
    }
}

/// Output after the ping says nothing about the peer: it may be in our own system's buffers.
#[test]
fn output_after_the_ping_does_not_delay_the_deadline() {
    for role in ROLES {
        let mut talk = role(every(30, 20));
        talk.pass(30).expect("a ping");
        one_ping(&mut talk);
        for _ in 0..19 {
            talk.connection.send("more").expect("open");
            talk.says();
            assert_eq!(talk.pass(1), Ok(()));
        }
        assert_eq!(talk.pass(1), Err(Error::Timeout(TimeoutError::Pong)));
    }
}

/// Without a keepalive, the user decides what a missing pong means.
#[test]
fn without_a_keepalive_there_is_no_deadline() {
    for role in ROLES {
        let mut talk = role(silent());
        assert_eq!(talk.connection.poll_timeout(), None);
        talk.connection.ping(talk.clock.now()).expect("open");
        assert_eq!(talk.connection.poll_timeout(), None);
        one_ping(&mut talk);
        assert_eq!(talk.pass(1000), Ok(()));
        assert_eq!(talk.says(), []);
    }
    for role in ROLES {
        let mut talk = role(Config {
            idle_timeout: Some(SECOND * 60),
            ..silent()
        });
        talk.connection.ping(talk.clock.now()).expect("open");
        assert_eq!(talk.pass(60), Err(Error::Timeout(TimeoutError::Idle)));
    }
}

#[test]
fn no_ping_follows_our_close() {
    for role in ROLES {
        let mut talk = role(Config {
            close_timeout: SECOND * 1000,
            ..every(3, 2)
        });
        let now = talk.clock.now();
        talk.connection
            .close(1000.into(), "", now)
            .expect("allowed");
        talk.says();
        talk.pass(500).expect("the peer has time");
        assert_eq!(talk.says(), []);
    }
}

#[test]
fn two_ends_with_keepalives_stay_connected_for_days_with_little_traffic() {
    let mut pair = Pair::new(every(30, 20), every(40, 20));
    pair.client.link.delay = SECOND / 10;
    pair.server.link.delay = SECOND / 10;
    pair.run(SECOND * 86_400);
    for end in [&pair.client, &pair.server] {
        assert_eq!(end.connection.ready_state(), ReadyState::Open);
        assert_eq!(end.connection.buffered_amount(), 0);
        assert!(end.heard.len() <= 86_400 / 30 + 1, "{}", end.heard.len());
    }
    assert_eq!(pair.client.connection.rtt(), Some(SECOND / 5));
}

#[test]
fn the_round_trip_is_the_time_from_ping_to_pong() {
    for role in ROLES {
        let mut talk = role(silent());
        assert_eq!(talk.connection.rtt(), None);
        talk.pass(1).expect("open");
        talk.connection.ping(talk.clock.now()).expect("open");
        let first = one_ping(&mut talk).payload().to_vec();
        talk.clock.advance(Duration::from_millis(120));
        assert_eq!(
            talk.hears([pong(&first)]),
            [Heard::Pong(first.clone(), true)]
        );
        assert_eq!(talk.connection.rtt(), Some(Duration::from_millis(120)));
        let again = talk.hears([pong(&first)]);
        assert_eq!(
            again,
            [Heard::Pong(first, false)],
            "each ping is answered once"
        );
    }
}

/// §5.5.3: the peer may answer only the latest of several pings; the pong identifies it.
#[test]
fn a_pong_is_matched_to_its_ping() {
    for role in ROLES {
        let mut talk = role(silent());
        let mut pings = Vec::new();
        for _ in 0..3 {
            talk.connection.ping(talk.clock.now()).expect("open");
            pings.push(one_ping(&mut talk).payload().to_vec());
            talk.clock.advance(Duration::from_millis(10));
        }
        assert_eq!(
            talk.hears([pong(&pings[1])]),
            [Heard::Pong(pings[1].clone(), true)]
        );
        assert_eq!(talk.connection.rtt(), Some(Duration::from_millis(20)));
        let late = talk.hears([pong(&pings[0])]);
        assert_eq!(late, [Heard::Pong(pings[0].clone(), false)]);
        talk.hears([pong(&pings[2])]);
        assert_eq!(talk.connection.rtt(), Some(Duration::from_millis(10)));
    }
}

/// §5.5.3: "A Pong frame MAY be sent unsolicited." Other implementations send counters and clocks
/// of eight bytes.
#[test]
fn an_unsolicited_pong_is_not_taken_for_an_answer() {
    for role in ROLES {
        let mut talk = role(silent());
        talk.pass(100).expect("open");
        talk.connection.ping(talk.clock.now()).expect("open");
        let asked = one_ping(&mut talk).payload().to_vec();
        for micros in [0, 1, 2, 99_999_999, 100_000_000_u64] {
            for payload in [micros.to_be_bytes(), micros.to_le_bytes()] {
                let heard = talk.hears([pong(payload)]);
                assert_eq!(heard, [Heard::Pong(payload.into(), false)], "{micros}");
            }
        }
        assert_eq!(talk.connection.rtt(), None);
        assert_eq!(
            talk.hears([pong(&asked)]),
            [Heard::Pong(asked.clone(), true)]
        );
        let again = talk.hears([pong(&asked)]);
        assert_eq!(again, [Heard::Pong(asked, false)], "nothing was asked");
    }
}

#[test]
fn pings_at_the_same_moment_are_distinguished() {
    for role in ROLES {
        let mut talk = role(silent());
        let now = talk.clock.now();
        talk.connection.ping(now).expect("open");
        talk.connection.ping(now).expect("open");
        let said = talk.says();
        assert_ne!(said[0].payload(), said[1].payload());
    }
}
