//! A hostile peer: floods, announced lengths and invalid bytes, in any split. Its cost is bounded,
//! and it receives one Close with the right code.

use allocation_counter::measure;
use offhook_protocol::{Config, Error, Event, Input, LimitError, ReadyState};
use offhook_testkit::frames::{binary, close, ping, pong, raw, rest, text};
use offhook_testkit::{Frame, Heard, Talk};
use proptest::prelude::*;

const ROLES: [fn() -> Talk; 2] = [Talk::with_server, Talk::with_client];

/// Receives bytes without storing the events; counts the events and returns the error.
fn drain(talk: &mut Talk, bytes: &mut [u8]) -> (usize, Option<Error>) {
    let mut input = Input::new(bytes, talk.clock.now());
    let mut events = 0;
    loop {
        match talk.connection.receive(&mut input) {
            Ok(Some(event)) => {
                assert!(!matches!(event, Event::Close(_)), "none was said");
                events += 1;
            }
            Ok(None) => return (events, None),
            Err(error) => return (events, Some(error)),
        }
    }
}

/// Nothing is written in the meantime: the peer does not read.
#[test]
fn a_flood_of_pings_queues_at_most_seventeen_answers() {
    for role in ROLES {
        let mut talk = role();
        let flood = talk.encode(vec![ping([0x55; 125]); 1000]);
        let used = measure(|| {
            for _ in 0..20 {
                let flood = &mut flood.clone();
                assert_eq!(drain(&mut talk, flood), (1000, None));
            }
        });
        assert!(
            used.bytes_current < 5000,
            "{} bytes held",
            used.bytes_current
        );
        assert!(talk.connection.buffered_amount() <= 16 * 131);
        assert_eq!(talk.says(), vec![pong([0x55; 125]); 17]);
    }
}

#[test]
fn a_flood_of_empty_fragments_ends_at_the_limit_without_using_memory() {
    for role in ROLES {
        for mut talk in [role(), role().chunked()] {
            let limit = Config::default().limits.fragments;
            let mut first = talk.encode([text("").more()]);
            let mut flood = talk.encode(vec![rest("").more(); 10_000]);
            let mut error = drain(&mut talk, &mut first).1;
            let used = measure(|| {
                while error.is_none() {
                    error = drain(&mut talk, &mut flood).1;
                }
            });
            assert_eq!(error, Some(LimitError::TooManyFragments { limit }.into()));
            assert!(used.bytes_max < 1000, "{used:?}");
            assert_eq!(talk.says()[0].payload()[..2], 1008_u16.to_be_bytes());
        }
    }
}

#[test]
fn a_flood_of_empty_messages_uses_no_memory() {
    for role in ROLES {
        let mut talk = role();
        let mut flood = talk.encode(vec![text(""); 10_000]);
        let used = measure(|| assert_eq!(drain(&mut talk, &mut flood), (10_000, None)));
        assert_eq!(used.count_total, 0);
    }
}

#[test]
fn an_incomplete_control_frame_holds_at_most_its_maximum_payload() {
    for role in ROLES {
        let mut talk = role();
        let bytes = talk.encode([ping([1; 125])]);
        let used = measure(|| {
            for byte in &bytes[..bytes.len() - 1] {
                assert_eq!(drain(&mut talk, &mut [*byte]), (0, None));
            }
        });
        assert!(used.bytes_current <= 256, "{used:?}");
    }
}

/// A peer that does not read may make us hold what we send, but not what it sends.
#[test]
fn garbage_after_a_failure_is_ignored() {
    for role in ROLES {
        let mut talk = role();
        talk.hears([text(b"\xff")]);
        let mut garbage: Vec<u8> = (0..100_000_u32).map(|i| (i * 31) as u8).collect();
        let used = measure(|| assert_eq!(drain(&mut talk, &mut garbage), (0, None)));
        assert_eq!(used.count_total, 0);
        assert_eq!(talk.says().len(), 1);
    }
}

/// Valid and invalid frames, as a careless or hostile peer might mix them.
fn any_frame() -> impl Strategy<Value = Frame> {
    let payload = || prop::collection::vec(any::<u8>(), 0..140);
    prop_oneof![
        4 => "\\PC{0,20}".prop_map(text),
        4 => payload().prop_map(binary),
        2 => payload().prop_map(|bytes| binary(bytes).more()),
        2 => payload().prop_map(|bytes| rest(bytes).more()),
        2 => payload().prop_map(rest),
        1 => payload().prop_map(text),
        2 => payload().prop_map(|mut bytes| { bytes.truncate(125); ping(bytes) }),
        1 => payload().prop_map(pong),
        1 => (any::<u16>(), "\\PC{0,20}").prop_map(|(code, reason)| close(code, reason)),
        1 => (0..16_u8, payload()).prop_map(|(op, bytes)| offhook_testkit::frames::opcode(op, bytes)),
        1 => (1..8_u8, payload()).prop_map(|(bits, bytes)| binary(bytes).rsv(bits)),
        1 => (any::<u64>(), payload()).prop_map(|(len, bytes)| binary(bytes).promising(len)),
        1 => payload().prop_map(raw),
    ]
}

/// All events and output, without pongs: how many of them are merged depends on when output is
/// written.
fn conversation(mut talk: Talk, bytes: &[u8], sizes: &[usize]) -> (Vec<Heard>, Vec<Frame>, Talk) {
    let (mut heard, mut said) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |size| (*size).min(rest.len()));
        heard.extend(talk.hears_bytes(&rest[..size]));
        said.extend(talk.says());
        rest = &rest[size..];
    }
    said.retain(|frame| frame.opcode() != 0xa);
    (heard, said, talk)
}

proptest! {
    /// For any input: the split makes no difference; there is at most one error, it is the last
    /// event, and it is sent to the peer in the one Close; nothing is sent after a Close.
    #[test]
    fn any_input_gives_the_same_events_in_any_split_and_at_most_one_close(
        frames in prop::collection::vec(any_frame(), 1..12),
        sizes in prop::collection::vec(1_usize..60, 1..8),
        server in any::<bool>(),
    ) {
        let role = if server { Talk::with_server } else { Talk::with_client };
        let bytes = role().encode(frames);
        let (heard, said, mut talk) = conversation(role(), &bytes, &[]);
        let (heard_cut, said_cut, _) = conversation(role(), &bytes, &sizes);
        // A message over the limit and invalid text in one frame: if the frame is complete, the
        // header is checked first. So every split has the same result.
        prop_assert_eq!(&heard, &heard_cut);
        prop_assert_eq!(&said, &said_cut);

        let errors = heard.iter().filter(|event| matches!(event, Heard::Error(_))).count();
        let ends = heard.iter().filter(|event| matches!(event, Heard::Close(_))).count();
        prop_assert!(errors + ends <= 1, "{:?}", heard);
        prop_assert_eq!(said.len(), errors + ends, "a Close and nothing else");
        match heard.last() {
            Some(Heard::Error(error)) => {
                let expected = [close(error.close_code().get(), error.to_string())];
                prop_assert_eq!(&said[..], &expected[..]);
            }
            Some(Heard::Close(frame)) => {
                prop_assert_eq!(talk.connection.ready_state(), ReadyState::Closing);
                prop_assert!(frame.reason.len() <= 123);
            }
            _ => prop_assert_eq!(talk.connection.ready_state(), ReadyState::Open),
        }
        if errors + ends == 1 {
            prop_assert_eq!(talk.hears([text("late"), ping("late")]), []);
            prop_assert_eq!(talk.says(), []);
        }
    }

    /// Random bytes.
    #[test]
    fn random_bytes_use_memory_at_most_in_proportion_to_their_size(
        mut noise in prop::collection::vec(any::<u8>(), 0..2000),
        server in any::<bool>(),
    ) {
        let mut talk = if server { Talk::with_server() } else { Talk::with_client() };
        let len = noise.len() as i64;
        let used = measure(|| {
            let mut input = Input::new(&mut noise, talk.clock.now());
            while let Ok(Some(_)) = talk.connection.receive(&mut input) {}
        });
        prop_assert!(used.bytes_current < 2 * len + 70_000, "{:?}", used);
    }
}
