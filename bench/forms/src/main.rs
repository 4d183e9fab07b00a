//! Measures the forms of the native dialect in Rust: the size of a client's `publish`, the time to
//! encode it as the client does and to decode it as the server does. Prints a table as Markdown.
//!
//! MessagePack is measured with `rmp-serde` and a struct of the same fields, borrowed where possible.

use std::{borrow::Cow, collections::BTreeMap, hint::black_box, time::{Duration, Instant}};

use offhook_dialects::native::{
    Request,
    client::{Command, CommandId, Format, Key, Tags, encode_request, encode_request_binary},
    decode, decode_binary,
};
use offhook_engine::ChannelName;
use serde::{Deserialize, Serialize};

const ROUNDS: usize = 5;
const MEASURED: Duration = Duration::from_millis(300);

/// The fields of a `publish`.
#[derive(Serialize, Deserialize)]
struct Publish<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    id: Option<u64>,
    #[serde(borrow)]
    channel: Option<&'a str>,
    #[serde(borrow, with = "serde_bytes")]
    data: Option<&'a [u8]>,
    #[serde(borrow)]
    key: Option<&'a str>,
    #[serde(borrow)]
    tags: Option<BTreeMap<&'a str, &'a str>>,
}

impl Publish<'_> {
    /// As the server's decoder does with the fields of the other forms.
    fn into_request(self) -> Request {
        let tags = self.tags.iter().flatten().map(|(name, value)| (*name, *value));
        Request::Command {
            id: CommandId(self.id.expect("an id")),
            command: Command::Publish {
                channel: ChannelName::new(self.channel.expect("a channel")).expect("a name"),
                data: self.data.expect("data").to_vec().into(),
                format: Format::Binary,
                tags: Tags::new(tags).expect("tags"),
                key: self.key.map(|key| Key::new(key).expect("a key")),
            },
        }
    }
}

/// Nanoseconds of one call: the least of several rounds.
fn time<T>(mut call: impl FnMut() -> T) -> u128 {
    let mut least = u128::MAX;
    for _ in 0..=ROUNDS {
        let begin = Instant::now();
        let mut calls = 0_u128;
        while begin.elapsed() < MEASURED {
            for _ in 0..100 {
                black_box(call());
            }
            calls += 100;
        }
        least = least.min(begin.elapsed().as_nanos() / calls);
    }
    least
}

fn main() {
    println!("| data | form | bytes | encode, ns | decode, ns |\n|---|---|---|---|---|");
    let key = "6c1f3b0e-9d6a-4b1e-8f1f-2a9c55a1b2c3";
    for size in [16_usize, 256, 4_096, 65_536] {
        let data: Vec<u8> = (0..size).map(|index| (index * 167) as u8).collect();
        let request = Request::Command {
            id: CommandId(1_000),
            command: Command::Publish {
                channel: ChannelName::new("rooms/42").expect("a name"),
                data: data.clone().into(),
                format: Format::Binary,
                tags: Tags::new([("lang", "en")]).expect("tags"),
                key: Some(Key::new(key).expect("a key")),
            },
        };
        let json = encode_request(&request);
        let cbor = encode_request_binary(&request);
        let publish = || Publish {
            kind: "publish".into(),
            id: Some(1_000),
            channel: Some("rooms/42"),
            data: Some(&data),
            key: Some(key),
            tags: Some(BTreeMap::from([("lang", "en")])),
        };
        let pack = rmp_serde::to_vec_named(&publish()).expect("a message");
        let unpack = |bytes| rmp_serde::from_slice::<Publish<'_>>(bytes).expect("a message").into_request();
        assert_eq!(decode(&json).as_ref(), Ok(&request));
        assert_eq!(decode_binary(&cbor).as_ref(), Ok(&request));
        assert_eq!(unpack(&pack), request);
        let row = |form, bytes, encode, decode| println!("| {size} bytes | {form} | {bytes} | {encode} | {decode} |");
        row("JSON, base64", json.len(), time(|| encode_request(&request)), time(|| decode(&json)));
        row("CBOR", cbor.len(), time(|| encode_request_binary(&request)), time(|| decode_binary(&cbor)));
        row("MessagePack", pack.len(), time(|| rmp_serde::to_vec_named(&publish())), time(|| unpack(&pack)));
    }
}
