//! RFC 6455 §5.1: a client masks every frame, a server none, and each end enforces it.

use offhook_protocol::PeerError;
use offhook_testkit::frames::{binary, close, ping, pong, raw, rest, text};
use offhook_testkit::{Frame, Heard, Talk, fails_whatever_the_cut};

fn one_of_each() -> [Frame; 6] {
    [
        text("a"),
        binary("b"),
        text("").more(),
        close(1000, ""),
        ping("?"),
        pong("!"),
    ]
}

/// "The server MUST close the connection upon receiving a frame that is not masked."
#[test]
fn an_unmasked_frame_from_a_client_fails_the_connection() {
    for frame in one_of_each() {
        let bare = raw(frame.encode(false));
        fails_whatever_the_cut(Talk::with_server, &[bare], &[], PeerError::NotMasked);
    }
}

/// "A client MUST close a connection if it detects a masked frame."
#[test]
fn a_masked_frame_from_a_server_fails_the_connection() {
    for frame in one_of_each() {
        let masked = raw(frame.encode(true));
        fails_whatever_the_cut(Talk::with_client, &[masked], &[], PeerError::Masked);
    }
}

#[test]
fn every_frame_of_a_message_is_checked_for_masking() {
    let bare = raw(rest("lo").encode(false));
    let frames = [text("Hel").more(), bare];
    fails_whatever_the_cut(Talk::with_server, &frames, &[], PeerError::NotMasked);

    let masked = raw(rest("lo").encode(true));
    let frames = [text("one"), text("Hel").more(), masked];
    let one = [Heard::text("one")];
    fails_whatever_the_cut(Talk::with_client, &frames, &one, PeerError::Masked);
}

/// "A client MUST mask all frames that it sends to the server", control frames and fragments
/// too; "a server MUST NOT mask any frames". `Talk::says` checks the mask of each frame.
#[test]
fn clients_mask_everything_and_servers_nothing() {
    for mut talk in [Talk::with_server(), Talk::with_client()] {
        let connection = &mut talk.connection;
        connection.send("text").expect("open");
        connection.send(vec![7; 200_000]).expect("open");
        connection.send_piece("piece", false).expect("open");
        connection.send_piece("s", true).expect("open");
        connection.ping_with(b"?").expect("open");
        connection.pong(b"!").expect("open");
        talk.hears([ping("and you?")]);
        talk.hears([close(1000, "bye")]);
        let said = talk.says();
        assert!(said.len() > 8, "{said:?}");
        assert_eq!(said.last(), Some(&close(1000, "bye")));
    }
}
