//! Runs the same conversation with different splits of its bytes.

use offhook_protocol::{CloseCode, CloseFrame, ClosedBy, Error, ReadyState};

use crate::frames::close;
use crate::{Frame, Heard, Talk};

/// Asserts that a connection which receives `frames` reports `heard` and sends `said`, whether the
/// bytes arrive in one segment, in segments of any size, or in two segments split at any point.
///
/// # Panics
/// If it ever reports or sends anything else.
pub fn whatever_the_cut(new: impl Fn() -> Talk, frames: &[Frame], heard: &[Heard], said: &[Frame]) {
    each_cut(&new, frames, |segments| {
        let mut talk = new();
        let told: Vec<Heard> = segments.iter().flat_map(|s| talk.hears_bytes(s)).collect();
        assert_eq!(told, heard, "{}", describe(segments, &talk));
        assert_eq!(talk.says(), said, "{}", describe(segments, &talk));
    });
}

/// Asserts that a connection which receives `frames` reports `heard` and then fails with `error`
/// (RFC 6455 §7.1.7): it sends one Close with the error's code, at the latest when the last byte
/// has arrived, and after that it neither reports nor sends anything.
///
/// # Panics
/// If it does anything else.
pub fn fails_whatever_the_cut(
    new: impl Fn() -> Talk,
    frames: &[Frame],
    heard: &[Heard],
    error: impl Into<Error>,
) {
    let error = error.into();
    let expected = [heard, &[Heard::Error(error.clone())]].concat();
    each_cut(&new, frames, |segments| {
        let mut talk = new();
        let mut told = Vec::new();
        let mut said = Vec::new();
        for segment in segments {
            told.extend(talk.hears_bytes(segment));
            said.extend(talk.says());
        }
        assert_eq!(told, expected, "{}", describe(segments, &talk));
        assert_eq!(
            said,
            [close(error.close_code().get(), error.to_string())],
            "{}",
            describe(segments, &talk)
        );
        assert_has_failed(talk, &error);
    });
}

fn assert_has_failed(mut talk: Talk, error: &Error) {
    assert_eq!(talk.connection.ready_state(), ReadyState::Closing);
    assert!(talk.connection.send("too late").is_err());
    assert_eq!(talk.hears([close(1000, ""), crate::frames::ping("?")]), []);
    assert_eq!(talk.says(), [], "nothing follows the Close");
    assert!(talk.connection.wants_disconnect());
    let closed = talk.closed();
    assert_eq!(closed.code, CloseCode::ABNORMAL);
    assert_eq!(closed.by, ClosedBy::Local);
    assert!(!closed.clean);
    assert_eq!(closed.error.as_ref(), Some(error));
    let sent = CloseFrame {
        code: error.close_code(),
        reason: error.to_string().into(),
    };
    assert_eq!(closed.sent, Some(sent));
}

/// Every split that `whatever_the_cut` tests. Long conversations are split only near their ends,
/// where the headers are.
fn each_cut(new: &impl Fn() -> Talk, frames: &[Frame], check: impl Fn(&[&[u8]])) {
    let bytes = new().encode(frames.iter().cloned());
    check(&[&bytes]);
    let points = (1..bytes.len()).filter(|at| *at < 150 || bytes.len() - at < 50);
    for point in points.clone() {
        let (before, after) = bytes.split_at(point);
        check(&[before, after]);
    }
    for size in points.take(40) {
        check(&bytes.chunks(size).collect::<Vec<_>>());
    }
}

fn describe(segments: &[&[u8]], talk: &Talk) -> String {
    let role = if talk.connection.is_server() {
        "server"
    } else {
        "client"
    };
    let lengths: Vec<usize> = segments.iter().map(|segment| segment.len()).collect();
    format!("a {role} that gets segments of {lengths:?} bytes")
}
