//! The handshake with any bytes, in any split, with any configuration.

use std::sync::Arc;

use offhook_protocol::deflate::DeflateConfig;
use offhook_protocol::handshake::{
    ClientHandshake, ClientRequest, ClientStep, ConnectOutcome, HandshakeFailure, Negotiated,
    Preference, Rejection, Scheme, ServerConfig, ServerDecision, ServerHandshake, ServerStep,
    Subprotocols,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use crate::handshake_heads::{Head, client};

/// The comparable outcome of a side, and the number of bytes it consumed.
#[derive(Debug, PartialEq)]
enum End {
    Waits,
    Decides(String),
    Rejects(Rejection),
    Opens(Negotiated),
    Refuses(u16, Vec<u8>),
    Fails(HandshakeFailure),
}

fn serve<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (End, usize) {
    let mut handshake = ServerHandshake::new(Arc::new(ServerConfig::default()));
    let mut taken = 0;
    for piece in pieces {
        handshake = match handshake.receive(piece) {
            Ok(ServerStep::Incomplete(waiting)) => waiting,
            Ok(ServerStep::Request { decision, consumed }) => {
                return (
                    End::Decides(format!("{:?}", decision.request())),
                    taken + consumed,
                );
            }
            Err(rejection) => return (End::Rejects(rejection), 0),
        };
        taken += piece.len();
    }
    (End::Waits, taken)
}

fn connect<'a>(
    mut handshake: ClientHandshake,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (End, usize) {
    let mut taken = 0;
    let mut pieces = pieces.into_iter();
    while let Some(piece) = pieces.next() {
        handshake = match handshake.receive(piece) {
            Ok(ClientStep::Incomplete(waiting)) => waiting,
            Ok(ClientStep::Open { opened, consumed }) => {
                return (End::Opens(opened.negotiated), taken + consumed);
            }
            Ok(ClientStep::Refused(mut refused)) => {
                pieces.for_each(|rest| refused.receive_body(rest));
                return (End::Refuses(refused.status(), refused.body().to_vec()), 0);
            }
            Err(failure) => return (End::Fails(failure), 0),
        };
        taken += piece.len();
    }
    (End::Waits, taken)
}

/// Splits bytes at these places.
fn split<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

/// A nearly valid head: a few bytes replaced, removed or inserted.
fn damaged(head: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop_oneof![
        any::<u8>(),
        proptest::sample::select(b"\r\n\t :;,=\"\0#/x1".to_vec()),
    ];
    vec((any::<Index>(), 0..3_u8, bytes), 0..4).prop_map(move |edits| {
        let mut head = head.clone();
        for (place, how, byte) in edits {
            let place = place.index(head.len());
            match how {
                0 => head[place] = byte,
                1 => head.insert(place, byte),
                _ => drop(head.remove(place)),
            }
        }
        head
    })
}

fn request_bytes() -> impl Strategy<Value = Vec<u8>> {
    let full = Head::request()
        .add("Origin", "http://server.example.com")
        .add("Sec-WebSocket-Protocol", "a, b")
        .add(
            "Sec-WebSocket-Extensions",
            "permessage-deflate; client_max_window_bits=10, x",
        );
    let mut with_frame = full.bytes();
    with_frame.extend_from_slice(b"\x81\x80\r\n\r\n");
    prop_oneof![vec(any::<u8>(), 0..300), damaged(with_frame)]
}

fn response_bytes() -> impl Strategy<Value = Vec<u8>> {
    let open = [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        Head::response().bytes().as_slice(),
    ]
    .concat();
    let chunked = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n";
    let length = b"HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nno way";
    prop_oneof![
        vec(any::<u8>(), 0..300),
        damaged(open),
        damaged(chunked.to_vec()),
        damaged(length.to_vec()),
    ]
}

proptest! {
    #[test]
    fn a_server_handles_any_bytes_the_same_in_any_split(
        bytes in request_bytes(),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let whole = serve([bytes.as_slice()]);
        prop_assert_eq!(&serve(split(&bytes, &cuts)), &whole);
        prop_assert_eq!(&serve(bytes.chunks(1)), &whole);
    }

    #[test]
    fn a_client_handles_any_bytes_the_same_in_any_split(
        bytes in response_bytes(),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let whole = connect(client(), [bytes.as_slice()]);
        prop_assert_eq!(&connect(client(), split(&bytes, &cuts)), &whole);
        prop_assert_eq!(&connect(client(), bytes.chunks(1)), &whole);
    }

    #[test]
    fn a_client_and_a_server_agree_over_both_carriers(
        known in subsequence(vec!["a", "b", "c", "d"], 0..=4).prop_shuffle(),
        offered in subsequence(vec!["a", "b", "c", "d"], 0..=4).prop_shuffle(),
        server_first in any::<bool>(),
        deflates in any::<(bool, bool)>(),
        key in any::<[u8; 16]>(),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let preference = if server_first { Preference::Server } else { Preference::Client };
        let config = Arc::new(ServerConfig {
            subprotocols: Subprotocols::new(known.iter().copied()).unwrap().preference(preference),
            deflate: deflates.0.then(DeflateConfig::default),
            ..ServerConfig::default()
        });
        let mut request = ClientRequest::new("a.example:8080", "/x?y").unwrap();
        request = request.origin("http://a.example:8080").unwrap();
        for name in &offered {
            request = request.subprotocol(name).unwrap();
        }
        if deflates.1 {
            request = request.deflate(DeflateConfig::default());
        }

        let first = |list: &[&str], others: &[&str]| {
            list.iter().find(|name| others.contains(name)).map(|name| (*name).to_owned())
        };
        let expected =
            if server_first { first(&known, &offered) } else { first(&offered, &known) };

        let connect_client = request.clone().extended_connect(Scheme::Http);
        let by_connect = ServerDecision::from_extended_connect(
            &config, connect_client.request(), connect_client.headers().iter(),
        ).unwrap().accept();
        let outcome = connect_client.answered(200, by_connect.response.headers().iter()).unwrap();
        let ConnectOutcome::Open(by_connect_opened) = outcome else { panic!("refused") };

        let (to_server, client) = request.start(key);
        let step = ServerHandshake::new(config).receive(&to_server).unwrap();
        let ServerStep::Request { decision, .. } = step else { panic!("incomplete") };
        let accepted = decision.accept();
        let to_client = accepted.response.into_bytes();
        let opened = connect(client, split(&to_client, &cuts));

        prop_assert_eq!(&accepted.negotiated.protocol, &expected);
        prop_assert_eq!(accepted.negotiated.deflate.is_some(), deflates.0 && deflates.1);
        prop_assert_eq!(&by_connect.negotiated, &accepted.negotiated);
        prop_assert_eq!(&by_connect_opened.negotiated, &accepted.negotiated);
        prop_assert_eq!(opened, (End::Opens(accepted.negotiated), to_client.len()));
    }

    #[test]
    fn an_answer_to_one_key_is_not_accepted_for_another(one in any::<[u8; 16]>(), other in any::<[u8; 16]>()) {
        prop_assume!(one != other);
        let answer_to = |key| {
            let request = ClientRequest::new("a", "/").unwrap().start(key).0;
            let step = ServerHandshake::new(Arc::default()).receive(&request).unwrap();
            let ServerStep::Request { decision, .. } = step else { panic!("incomplete") };
            decision.accept().response.into_bytes()
        };
        let client = ClientRequest::new("a", "/").unwrap().start(one).1;
        let (end, _) = connect(client, [answer_to(other).as_slice()]);
        prop_assert_eq!(end, End::Fails(HandshakeFailure::WrongAccept));
    }
}
