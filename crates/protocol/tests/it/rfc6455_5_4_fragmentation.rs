//! RFC 6455 §5.4: fragmentation.

use offhook_testkit::frames::{ping, pong, rest, text};
use offhook_testkit::{Heard, Talk};

#[test]
fn control_frames_come_between_fragments_and_the_message_arrives_whole() {
    let sentence = || [text("Hel").more(), ping("?"), rest("").more(), rest("lo")];
    let expected = vec![Heard::Ping(b"?".into()), Heard::text("Hello")];
    for size in 1..40 {
        let mut talk = Talk::with_server();
        assert_eq!(
            talk.hears_cut(sentence(), size),
            expected,
            "in segments of {size}"
        );
        assert_eq!(talk.says(), [pong("?")]);
    }
}
