//! Fuzzing two of our own ends: each must receive what the other sends.

use std::time::Duration;

use offhook_protocol::deflate::{DeflateConfig, DeflateMemory, DeflatePool, parse_extensions};
use offhook_protocol::{CloseCode, Config, Deflate, Keepalive, Prepared, ReceiveMode};

use super::Choices;
use crate::pair::End;
use crate::{Heard, Pair, Segments};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Two ends, a link that splits and delays, and the messages each sends; at the end everything sent
/// must have been received.
///
/// # Panics
/// If it was not, or the end was not clean.
pub fn round_trip(data: &[u8]) {
    let mut choices = Choices(data);
    let mut pair = pair(&mut choices);
    let mut sent = Sent::default();
    // As many as fit at the same time.
    for _ in 0..64 {
        if choices.rest().is_empty() {
            break;
        }
        act(&mut pair, &mut sent, &mut choices);
    }
    // A message written in pieces must end before a Close can be sent.
    finish(&mut pair.client, &mut sent.client);
    finish(&mut pair.server, &mut sent.server);
    let now = pair.clock.now();
    pair.client
        .connection
        .close(CloseCode::NORMAL, "", now)
        .expect("a good code");
    pair.run(HOUR);
    assert_eq!(
        messages(&mut pair.server),
        sent.client.whole,
        "from the client"
    );
    assert_eq!(
        messages(&mut pair.client),
        sent.server.whole,
        "from the server"
    );
    for end in [&pair.client, &pair.server] {
        let closed = end.closed().expect("the transport is closed");
        assert_eq!((closed.code, closed.clean), (CloseCode::NORMAL, true));
    }
}

/// What one end has sent, and the part sent of a message in pieces.
#[derive(Default)]
struct SentBy {
    whole: Vec<Vec<u8>>,
    begun: Option<Vec<u8>>,
}

#[derive(Default)]
struct Sent {
    client: SentBy,
    server: SentBy,
}

fn pair(choices: &mut Choices<'_>) -> Pair {
    let config = Config {
        // A narrow link is slow; neither end may give up on it.
        close_timeout: HOUR,
        keepalive: Keepalive {
            interval: None,
            ..Keepalive::default()
        },
        fragment_size: usize::from(choices.byte()) * 64,
        ..Config::default()
    };
    let mut pair = Pair::new(config.clone(), config);
    let memory = match choices.byte() % 4 {
        1 => Some(DeflateMemory::Dedicated),
        2 => Some(DeflateMemory::Pooled { window_bits: 10 }),
        3 => Some(DeflateMemory::Shared),
        _ => None,
    };
    if let Some(memory) = memory {
        let config = DeflateConfig::default()
            .memory(memory)
            .threshold(usize::from(choices.byte()))
            .client_max_window_bits(9 + choices.byte() % 7)
            .client_no_context_takeover(choices.flag());
        let offer = config.offer();
        let offers = parse_extensions([offer.as_bytes()]).expect("our own offer");
        let params = config.accept(&offers).expect("our own offer");
        let pool = DeflatePool::default();
        let client = Deflate::client(&params, &config, &pool);
        pair = pair.deflating(client, Deflate::server(&params, &config, &pool));
    }
    for end in [&mut pair.client, &mut pair.server] {
        let sizes = vec![
            1 + usize::from(choices.byte()),
            1 + usize::from(choices.byte()),
        ];
        end.link.segments = Segments::Sizes(sizes);
        end.link.delay = Duration::from_millis(u64::from(choices.byte() % 8));
        end.link.capacity = 256 + usize::from(choices.short());
        if choices.flag() {
            end.connection.set_receive_mode(ReceiveMode::Chunks);
        }
    }
    pair
}

fn act(pair: &mut Pair, sent: &mut Sent, choices: &mut Choices<'_>) {
    let choice = choices.byte();
    let now = pair.clock.now();
    let (end, sent) = if choice & 1 == 0 {
        (&mut pair.client, &mut sent.client)
    } else {
        (&mut pair.server, &mut sent.server)
    };
    match (choice >> 1) % 6 {
        0 => drop(end.connection.ping(now).expect("open")),
        1 => pair.settle(),
        2 => pair.run(Duration::from_millis(u64::from(choices.byte()))),
        3 => send_piece(end, sent, choices),
        4 if sent.begun.is_none() => {
            let payload = payload(choices);
            end.connection
                .send(&Prepared::new(&payload[..]))
                .expect("open");
            sent.whole.push(payload);
        }
        _ if sent.begun.is_none() => {
            let payload = payload(choices);
            end.connection.send(payload.clone()).expect("open");
            sent.whole.push(payload);
        }
        _ => {}
    }
}

fn send_piece(end: &mut End, sent: &mut SentBy, choices: &mut Choices<'_>) {
    let last = choices.flag();
    let piece = payload(choices);
    end.connection.send_piece(&piece[..], last).expect("open");
    sent.begun.get_or_insert_default().extend(piece);
    if last {
        sent.whole.extend(sent.begun.take());
    }
}

fn finish(end: &mut End, sent: &mut SentBy) {
    if sent.begun.is_some() {
        end.connection.send_piece(&[], true).expect("open");
        sent.whole.extend(sent.begun.take());
    }
}

/// Up to 8 KiB out of two or three choices: repetitive or not.
fn payload(choices: &mut Choices<'_>) -> Vec<u8> {
    let seed = choices.byte();
    let len = match seed % 4 {
        0 => usize::from(choices.byte() % 8),
        3 => usize::from(choices.short() % 8192),
        _ => usize::from(choices.byte()),
    };
    let mut state = u32::from(seed).wrapping_mul(0x9e37_79b9) | 1;
    let step = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        if seed & 0x80 == 0 {
            state as u8
        } else {
            (state % 3) as u8
        }
    };
    std::iter::repeat_with(step).take(len).collect()
}

/// The received messages; an error violates a guarantee.
fn messages(end: &mut End) -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    let mut begun = Vec::new();
    for heard in end.take_heard() {
        match heard {
            Heard::Text(text) => whole.push(text.into_bytes()),
            Heard::Binary(bytes) => whole.push(bytes),
            Heard::Chunk(bytes, first, last) => {
                assert_eq!(
                    first,
                    begun.is_empty() || bytes.is_empty() && begun.is_empty()
                );
                begun.extend(bytes);
                if last {
                    whole.push(std::mem::take(&mut begun));
                }
            }
            Heard::Ping(_) | Heard::Pong(..) | Heard::Close(_) => {}
            Heard::Error(error) => panic!("{error}"),
        }
    }
    whole
}
