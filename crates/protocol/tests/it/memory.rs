//! The cost of a connection: its size, its heap memory, and its allocations, counted.

use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use offhook_protocol::halves::lend;
use offhook_protocol::{Config, Connection, Event, Input, Limits, Message, ReadyState};
use offhook_testkit::frames::{binary, ping, pong, rest, text};
use offhook_testkit::{Clock, Frame, Talk};

const ROLES: [fn() -> Talk; 2] = [Talk::with_server, Talk::with_client];

/// Receives bytes and drops the events, without the copies that the test kit makes.
fn hear(talk: &mut Talk, bytes: &mut [u8]) -> AllocationInfo {
    measure(|| {
        let mut input = Input::new(bytes, talk.clock.now());
        while let Ok(Some(event)) = talk.connection.receive(&mut input) {
            drop(event);
        }
    })
}

fn nothing() -> AllocationInfo {
    AllocationInfo::default()
}

#[test]
fn a_connection_is_at_most_224_bytes() {
    assert!(
        size_of::<Connection>() <= 224,
        "{}",
        size_of::<Connection>()
    );
}

#[test]
fn a_new_connection_owns_no_heap_memory() {
    let clock = Clock::default();
    let config = Arc::new(Config::default());
    let keys = Arc::new(|| [1, 2, 3, 4]);
    let made = measure(|| {
        drop(Connection::server(config.clone(), clock.now()));
        drop(Connection::client(
            config.clone(),
            keys.clone(),
            clock.now(),
        ));
    });
    assert_eq!(made, nothing());
}

#[test]
fn receiving_a_message_complete_in_the_input_allocates_nothing() {
    for role in ROLES {
        for frame in [
            text("small"),
            binary([7; 100_000]),
            text("ü".repeat(5000)),
            pong("!"),
        ] {
            let mut talk = role();
            let mut bytes = talk.encode([frame.clone(), frame]);
            assert_eq!(hear(&mut talk, &mut bytes), nothing());
        }
    }
}

/// Also if a read ends inside a header, which is stored in the connection itself.
#[test]
fn an_incomplete_header_allocates_nothing() {
    for role in ROLES {
        for frame in [binary([7; 10]), binary([7; 200]), binary([7; 70_000])] {
            let bytes = role().encode([frame.clone()]);
            let header_len = bytes.len() - frame.payload().len();
            for cut in 1..=header_len {
                let mut talk = role();
                let mut before = bytes[..cut - 1].to_vec();
                assert_eq!(hear(&mut talk, &mut before), nothing(), "at {cut}");
            }
        }
    }
}

/// Whatever happened before, an idle connection has freed all memory.
#[test]
fn an_idle_connection_owns_no_heap_memory_after_any_traffic() {
    for role in ROLES {
        let mut talk = role();
        let frames = [
            text("in pieces ").more(),
            ping("between"),
            rest("of any size"),
            binary(vec![1; 300_000]),
            ping(""),
            ping([0; 125]),
            ping("the latest"),
        ];
        let mut incoming: Vec<Vec<u8>> = [usize::MAX, 1000, 7]
            .iter()
            .flat_map(|size| {
                let bytes = talk.encode(frames.clone());
                bytes.chunks(*size).map(Vec::from).collect::<Vec<_>>()
            })
            .collect();
        let used = measure(|| {
            for segment in &mut incoming {
                hear(&mut talk, segment);
            }
            for size in [0, 10, 5000, 70_000, 1_000_000] {
                let sent = talk.connection.send(vec![1; size]);
                assert_eq!(sent, Ok(()));
            }
            drop(talk.written());
        });
        assert!(used.count_total > 10, "it did use some");
        assert_eq!((used.count_current, used.bytes_current), (0, 0));
        assert_eq!(talk.connection.ready_state(), ReadyState::Open);
    }
}

#[test]
fn sending_a_small_message_into_a_lent_buffer_allocates_nothing() {
    for role in ROLES {
        let mut talk = role();
        assert_eq!(lend(&mut talk.connection, Vec::with_capacity(1000)), None);
        let used = measure(|| {
            for _ in 0..10 {
                let sent = talk.connection.send("small");
                assert_eq!(sent, Ok(()));
                assert_eq!(talk.connection.ping_with(b"?"), Ok(()));
            }
        });
        assert_eq!(used, nothing());
        assert_eq!(talk.says().len(), 20);
    }
}

#[test]
fn an_echo_through_a_lent_buffer_allocates_nothing() {
    for role in ROLES {
        let mut talk = role();
        let mut bytes = talk.encode(vec![text("echo"); 100]);
        assert_eq!(lend(&mut talk.connection, Vec::with_capacity(10_000)), None);
        let used = measure(|| {
            let mut input = Input::new(&mut bytes, talk.clock.now());
            while let Ok(Some(Event::Message(message))) = talk.connection.receive(&mut input) {
                let sent = talk.connection.send(message);
                assert_eq!(sent, Ok(()));
            }
        });
        assert_eq!(used, nothing());
        assert_eq!(talk.says(), vec![text("echo"); 100]);
    }
}

/// An announced length costs at most 64 KiB before the bytes arrive, however large it is.
#[test]
fn an_announced_length_uses_no_memory() {
    let unlimited = Config {
        limits: Limits {
            message_size: u64::MAX,
            fragments: u32::MAX,
        },
        ..Config::default()
    };
    for role in [Talk::with_server_of, Talk::with_client_of] {
        for promised in [1 << 20, 1 << 31, 1 << 62, u64::MAX >> 1] {
            for frame in [binary("begun"), text("begun"), text("begun").more()] {
                let mut talk = role(unlimited.clone());
                let mut bytes = talk.encode([frame.promising(promised)]);
                let used = hear(&mut talk, &mut bytes);
                assert!(used.bytes_max < 70_000, "{used:?}");
            }
        }
    }
}

/// The memory held is at most a small multiple of the bytes that arrived.
#[test]
fn a_slow_message_uses_memory_in_proportion_to_what_was_received() {
    for frame in [binary(vec![b'x'; 1_000_000]), text("x".repeat(1_000_000))] {
        let mut talk = Talk::with_client();
        let mut bytes = talk.encode([frame]);
        let mut held = 0;
        let mut came = 0;
        for segment in bytes.chunks_mut(1460) {
            came += segment.len() as i64;
            let used = hear(&mut talk, segment);
            held += used.bytes_current;
            assert!(held <= 9 * came + 70_000, "{held} bytes for {came}");
        }
        assert_eq!(held, 0, "the message was dropped");
    }
}

/// No quadratic work: a message of n pieces moves O(n) bytes, whether the pieces are frames or
/// segments of one frame.
#[test]
fn assembling_a_message_from_many_pieces_copies_a_constant_number_of_times() {
    const PIECES: usize = 10_000;
    let fragments = |first: Frame, each: Frame| {
        let mut frames = vec![first.more()];
        frames.resize(PIECES - 1, each.clone().more());
        frames.push(each);
        frames
    };
    let sixteen = "sixteen bytes!!!";
    for frames in [
        fragments(binary(sixteen), rest(sixteen)),
        fragments(text(sixteen), rest(sixteen)),
        vec![binary(sixteen.repeat(PIECES))],
        vec![text(sixteen.repeat(PIECES))],
    ] {
        for size in [22, 17, 100, 5000] {
            let mut talk = Talk::with_server();
            let mut bytes = talk.encode(frames.clone());
            let len = bytes.len() as u64;
            let used = measure(|| {
                for segment in bytes.chunks_mut(size) {
                    hear(&mut talk, segment);
                }
            });
            assert!(used.count_total < 100, "{} allocations", used.count_total);
            assert!(
                used.bytes_total < 5 * len + 140_000,
                "{} for {len}",
                used.bytes_total
            );
        }
    }
}

/// A message of any length in chunks: only an incomplete character is stored.
#[test]
fn chunks_are_received_in_constant_memory() {
    for role in ROLES {
        for frame in [binary([7; 50_000]), text("ü".repeat(25_000))] {
            let mut talk = role().chunked();
            let mut frames = vec![frame.clone().more()];
            frames.resize(40, rest(frame.payload()).more());
            let mut bytes = talk.encode(frames);
            let used = measure(|| {
                for segment in bytes.chunks_mut(4096) {
                    hear(&mut talk, segment);
                }
            });
            assert!(used.bytes_max < 6000, "{used:?}");
            assert!(used.bytes_current < 300, "{used:?}");
        }
    }
}

/// An assembled message is handed over, not copied.
#[test]
fn an_assembled_message_is_owned_by_the_user_alone() {
    let mut talk = Talk::with_server();
    let mut bytes = talk.encode([binary([1; 100_000]).more(), rest([2; 100_000])]);
    let mut kept = None;
    let mut used = measure(|| {
        let mut input = Input::new(&mut bytes, talk.clock.now());
        if let Ok(Some(Event::Message(message))) = talk.connection.receive(&mut input) {
            kept = Some(message.into_owned());
        }
    });
    let Some(Message::Binary(message)) = kept else {
        panic!("a message came");
    };
    used += measure(|| drop(message));
    assert_eq!((used.count_current, used.bytes_current), (0, 0));
}
