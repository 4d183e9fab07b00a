//! RFC 7692 §7.1: the guarantees of each parameter hold on the wire, in every memory mode.

use offhook_protocol::deflate::{DeflateConfig, DeflateMemory};
use offhook_protocol::{Config, Prepared};
use offhook_testkit::{Frame, Heard, Pair, Talk, deflates};

const MEMORIES: [DeflateMemory; 5] = [
    DeflateMemory::Dedicated,
    DeflateMemory::Pooled { window_bits: 9 },
    DeflateMemory::Pooled { window_bits: 12 },
    DeflateMemory::Pooled { window_bits: 15 },
    DeflateMemory::Shared,
];

fn tick(i: u32) -> String {
    format!(
        r#"{{"symbol":"ACME","bid":{}.25,"ask":{}.50,"volume":{}}}"#,
        100 + i,
        101 + i,
        i * 7
    )
}

/// Both directions of both roles, with each other's memory mode.
#[test]
fn every_pair_of_memory_modes_works_together() {
    for of_client in MEMORIES {
        for of_server in MEMORIES {
            let of_client = DeflateConfig::default().memory(of_client).threshold(0);
            let of_server = DeflateConfig::default().memory(of_server).threshold(0);
            let (client, server) = deflates(&of_client, &of_server);
            let mut pair =
                Pair::new(Config::default(), Config::default()).deflating(client, server);
            for i in 0..100 {
                pair.client.connection.send(tick(i)).expect("open");
                pair.server.connection.send(tick(i * 3)).expect("open");
                pair.settle();
                assert_eq!(pair.server.take_heard(), [Heard::Text(tick(i))]);
                assert_eq!(pair.client.take_heard(), [Heard::Text(tick(i * 3))]);
            }
        }
    }
}

fn says_ticks(talk: &mut Talk, count: u32) -> Vec<Frame> {
    (0..count)
        .flat_map(|i| {
            talk.connection.send(tick(i)).expect("open");
            talk.says()
        })
        .collect()
}

/// §7.1.1: "the peer server doesn't use context takeover": each message can be decompressed without
/// the ones before it.
#[test]
fn without_context_takeover_each_message_can_be_read_alone() {
    for memory in MEMORIES {
        let config = DeflateConfig::default()
            .memory(memory)
            .threshold(0)
            .server_no_context_takeover(true)
            .client_no_context_takeover(true);
        let client = || Talk::with_client().deflating(deflates(&config, &config).0);
        let server = || Talk::with_server().deflating(deflates(&config, &config).1);
        for (i, frame) in says_ticks(&mut server(), 5).into_iter().enumerate() {
            assert_eq!(client().hears([frame]), [Heard::Text(tick(i as u32))]);
        }
        for (i, frame) in says_ticks(&mut client(), 5).into_iter().enumerate() {
            assert_eq!(server().hears([frame]), [Heard::Text(tick(i as u32))]);
        }
    }
}

/// With context takeover, later messages are shorter because of it, which is its purpose.
#[test]
fn with_context_takeover_a_message_similar_to_the_last_is_short() {
    for memory in &MEMORIES[..4] {
        let config = DeflateConfig::default().memory(*memory).threshold(0);
        let mut server = Talk::with_server().deflating(deflates(&config, &config).1);
        // A message that shrinks without context, so that it is sent compressed and becomes
        // context.
        server.connection.send(tick(0).repeat(3)).expect("open");
        server.says();
        for frame in says_ticks(&mut server, 10) {
            let len = frame.payload().len();
            assert!(len * 2 < tick(0).len(), "{len} bytes with {memory:?}");
        }
    }
}

/// §7.1.2: whatever window was negotiated, no message of ours refers back further. A decompressor
/// with exactly that window checks this: it fails if the window is exceeded.
#[test]
fn no_message_exceeds_the_agreed_window() {
    for bits in 9..=15 {
        let frugal = DeflateConfig::default()
            .threshold(0)
            .server_max_window_bits(bits)
            .client_max_window_bits(bits);
        for memory in MEMORIES {
            let lavish = DeflateConfig::default().memory(memory).threshold(0);
            let (client, server) = deflates(&frugal, &lavish);
            let mut pair =
                Pair::new(Config::default(), Config::default()).deflating(client, server);
            let mut noise = u32::from(bits);
            let block: Vec<u8> = std::iter::repeat_with(|| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as u8
            })
            .take((1 << bits) + 300)
            .collect();
            // Repetitions just outside of, and just within, the window.
            let message = [&block[..], &block[..], &block[200..1 << 9]].concat();
            for _ in 0..2 {
                pair.server.connection.send(&*message).expect("open");
                pair.client.connection.send(&*message).expect("open");
            }
            pair.settle();
            let expected = [Heard::binary(&message), Heard::binary(&message)];
            assert!(pair.client.take_heard() == expected, "{bits} bits");
            assert!(pair.server.take_heard() == expected, "{bits} bits");
        }
    }
}

/// Prepared messages, compressed once without context, between others that use it.
#[test]
fn prepared_messages_mix_with_others_in_every_memory_mode() {
    for memory in MEMORIES {
        let config = DeflateConfig::default().memory(memory).threshold(0);
        let pool = offhook_protocol::deflate::DeflatePool::default();
        let news = tick(1).repeat(20);
        let prepared = Prepared::with_deflate(&news, &config, &pool);
        let (client, server) = deflates(&config, &config);
        let mut pair = Pair::new(Config::default(), Config::default()).deflating(client, server);
        for i in 0..20 {
            pair.server.connection.send(tick(i)).expect("open");
            pair.server.connection.send(&prepared).expect("open");
            pair.client.connection.send(&prepared).expect("open");
            pair.client.connection.send(tick(i)).expect("open");
            pair.settle();
            let heard = [Heard::Text(tick(i)), Heard::Text(news.clone())];
            assert_eq!(pair.client.take_heard(), heard);
            let [first, second] = heard;
            assert_eq!(pair.server.take_heard(), [second, first]);
        }
    }
}
