//! RFC 6455 §10.4 with permessage-deflate: decompression bombs. The output is limited.

use allocation_counter::measure;
use offhook_protocol::deflate::{DeflateConfig, DeflatePool, compress_once};
use offhook_protocol::{Config, Error, Event, Input, LimitError, Limits, ReceiveMode};
use offhook_testkit::frames::{binary, rest, text};
use offhook_testkit::{Frame, Heard, Talk, deflates, fails_whatever_the_cut};

const MIB: usize = 1 << 20;

/// An endless stream of zeros, compressed to a thousandth of its length.
fn zeros(len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let pool = DeflatePool::default();
    let config = DeflateConfig::default().threshold(0).level(9);
    assert!(compress_once(&vec![0; len], 9, &config, &pool, &mut out));
    out
}

fn bomb(len: usize) -> Frame {
    binary(zeros(len)).rsv(0b100)
}

fn server_of(message_size: u64, ratio: Option<u32>) -> Talk {
    let config = DeflateConfig::default().max_ratio(ratio, 1 << 20);
    let limits = Limits {
        message_size,
        ..Limits::default()
    };
    Talk::with_server_of(Config {
        limits,
        ..Config::default()
    })
    .deflating(deflates(&config, &config).1)
}

#[test]
fn a_message_that_inflates_above_the_limit_fails_with_1009_in_every_split() {
    let error = LimitError::MessageTooLong { limit: 1000 };
    let new = || server_of(1000, None);
    fails_whatever_the_cut(new, &[bomb(1001)], &[], error);
    fails_whatever_the_cut(new, &[bomb(MIB)], &[], error);
    let zeros = zeros(100_000);
    let (before, after) = zeros.split_at(40);
    let fragments = [binary(before).rsv(0b100).more(), rest(after)];
    fails_whatever_the_cut(new, &fragments, &[], error);
    assert_eq!(new().hears([bomb(1000)]), [Heard::binary([0; 1000])]);
}

#[test]
fn a_decompression_bomb_uses_no_more_memory_than_the_limit() {
    for size in [usize::MAX, 100] {
        let mut talk = server_of(MIB as u64, None);
        let mut bytes = talk.encode([bomb(16 * MIB)]);
        let mut error = None;
        let used = measure(|| {
            for segment in bytes.chunks_mut(size.min(1 << 30)) {
                let mut input = Input::new(segment, talk.clock.now());
                if let Err(failure) = talk.connection.receive(&mut input) {
                    error.get_or_insert(failure);
                }
            }
        });
        let limit = MIB as u64;
        assert_eq!(error, Some(LimitError::MessageTooLong { limit }.into()));
        assert!(used.bytes_max < 4 * MIB as u64, "{used:?}");
    }
}

#[test]
fn a_message_that_grows_by_more_than_the_ratio_fails() {
    let mut talk = server_of(u64::MAX, Some(200));
    let expected = Error::from(LimitError::ExpansionRatio { limit: 200 });
    assert_eq!(talk.hears([bomb(4 * MIB)]), [Heard::Error(expected)]);
    let mut talk = server_of(u64::MAX, None);
    assert!(talk.hears([bomb(4 * MIB)]) == [Heard::binary(vec![0; 4 * MIB])]);
}

/// In chunk mode a message has no limit, but each chunk is small, and there is one at a time.
#[test]
fn in_chunks_a_long_message_inflates_piece_by_piece_in_constant_memory() {
    let mut talk = server_of(1000, None).chunked();
    let mut bytes = talk.encode([bomb(16 * MIB)]);
    let mut total = 0;
    let mut ended = false;
    let used = measure(|| {
        let mut input = Input::new(&mut bytes, talk.clock.now());
        while let Ok(Some(Event::Chunk(chunk))) = talk.connection.receive(&mut input) {
            assert!(!ended);
            let bytes = chunk.data.as_bytes();
            assert!(bytes.len() <= 64 * 1024);
            total += bytes.len();
            ended = chunk.last;
        }
    });
    assert_eq!((total, ended), (16 * MIB, true));
    assert!(used.bytes_max < 400_000, "{used:?}");
}

/// The input waiting to be inflated is limited too, however much one read returns.
#[test]
fn in_chunks_a_long_read_of_compressed_data_is_inflated_in_steps() {
    let mut payload = Vec::new();
    for block in 0..64_u8 {
        // A stored block (RFC 7692 §7.2.3.3) of 32,768 bytes.
        payload.extend([0x00, 0x00, 0x80, 0xff, 0x7f]);
        payload.extend([block; 32_768]);
    }
    payload.push(0x00);
    let mut talk = server_of(1000, None).chunked();
    let mut bytes = talk.encode([binary(&payload).rsv(0b100)]);
    let mut total = 0;
    let used = measure(|| {
        let mut input = Input::new(&mut bytes, talk.clock.now());
        while let Ok(Some(Event::Chunk(chunk))) = talk.connection.receive(&mut input) {
            total += chunk.data.as_bytes().len();
        }
    });
    assert_eq!(total, 64 * 32_768);
    assert!(used.bytes_max < 400_000, "{used:?}");
}

#[test]
fn compressed_chunks_join_to_the_message_in_every_split_and_text_is_split_between_characters() {
    let sentence = "größer 𝄞 κόσμε ".repeat(50);
    let config = DeflateConfig::default();
    let (of_client, _) = deflates(&config, &config);
    let mut client = Talk::with_client().deflating(of_client);
    client.connection.send(&sentence).expect("open");
    let said = client.says();
    assert!(said[0].is_compressed());
    for size in 1..200 {
        let mut talk = server_of(10, None).chunked();
        let mut whole = String::new();
        let heard = talk.hears_cut(said.clone(), size);
        for (index, event) in heard.iter().enumerate() {
            let Heard::Chunk(bytes, first, last) = event else {
                panic!("{event:?} is no chunk");
            };
            assert_eq!((*first, *last), (index == 0, index + 1 == heard.len()));
            whole.push_str(std::str::from_utf8(bytes).expect("whole characters"));
        }
        assert!(whole == sentence, "in segments of {size}");
    }
}

#[test]
fn a_compressed_message_started_whole_may_continue_in_chunks() {
    let message = zeros(5000);
    for cut in 0..=message.len() {
        let (before, after) = message.split_at(cut);
        let mut talk = server_of(10_000, None);
        let heard = talk.hears([text(before).rsv(0b100).more()]);
        assert_eq!(heard, []);
        talk.connection.set_receive_mode(ReceiveMode::Chunks);
        let mut len = 0;
        for event in talk.hears([rest(after)]) {
            let Heard::Chunk(bytes, first, _) = event else {
                panic!("{event:?} is no chunk");
            };
            assert_eq!(first, len == 0);
            len += bytes.len();
        }
        assert_eq!(len, 5000, "cut at {cut}");
    }
}

/// A message of only empty blocks causes no output, only work: in proportion to its bytes.
#[test]
fn millions_of_empty_blocks_are_an_empty_message() {
    // An empty stored block takes five bytes; the tail of the last one was removed (RFC 7692
    // §7.2.1).
    let mut blocks = [0x00, 0x00, 0x00, 0xff, 0xff].repeat(50_000);
    blocks.push(0x00);
    let mut talk = server_of(10, None);
    assert_eq!(talk.hears([text(&blocks).rsv(0b100)]), [Heard::text("")]);
    let mut talk = server_of(10, None).chunked();
    let heard = talk.hears_cut([text(&blocks).rsv(0b100)], 1000);
    assert_eq!(heard, [Heard::Chunk(vec![], true, true)]);
}

/// No quadratic work, however small the pieces: a constant number of copies of the output.
#[test]
fn inflating_a_message_from_many_pieces_uses_memory_in_proportion() {
    let firsts: [fn(&[u8]) -> Frame; 2] = [|bytes| binary(bytes), |bytes| text(bytes)];
    for first in firsts {
        let message: String = (0..40_000)
            .map(|i| format!("{} ", i * 7919 % 65_537))
            .collect();
        let mut payload = Vec::new();
        let config = DeflateConfig::default();
        let pool = DeflatePool::default();
        assert!(compress_once(
            message.as_bytes(),
            9,
            &config,
            &pool,
            &mut payload
        ));
        for size in [16, 1000] {
            let pieces: Vec<&[u8]> = payload.chunks(size).collect();
            let (begin, others) = pieces.split_first().expect("there are some");
            let mut frames = vec![first(begin).rsv(0b100).more()];
            frames.extend(others.iter().map(|piece| rest(piece).more()));
            frames.push(rest([]));
            let mut talk = server_of(MIB as u64, None);
            let mut bytes = talk.encode(frames);
            let mut whole = None;
            let used = measure(|| {
                let mut input = Input::new(&mut bytes, talk.clock.now());
                while let Ok(Some(Event::Message(message))) = talk.connection.receive(&mut input) {
                    whole = Some(message.into_owned());
                }
            });
            let whole = whole.expect("it came");
            assert!(whole.as_bytes() == message.as_bytes());
            let most = 12 * message.len() + 1000 * pieces.len();
            let most = most as u64;
            assert!(used.bytes_total < most, "{used:?} for {}", message.len());
        }
    }
}
