use super::*;
use offhook_engine::Epoch;

fn channel() -> ChannelName {
    ChannelName::new("a").unwrap()
}

fn draft(format: Format, publisher: bool, key: bool) -> Draft {
    let publisher = publisher.then(|| Publisher {
        session: SessionId::from_bytes([7; 16]),
        user: "ann".into(),
    });
    Draft {
        channel: channel(),
        data: "data".into(),
        format,
        tags: Tags::new([("colour", "red"), ("size", "")]).unwrap(),
        publisher,
        key: key.then(|| Key::new("key").unwrap()),
        time_ms: 1_700_000_000_123,
    }
}

fn place() -> Place {
    Place::after(Position::new(3, 8), 77)
}

fn encoded(draft: &Draft) -> Vec<u8> {
    // The buffer is reused.
    let mut out = vec![9; 5];
    encode(draft, 77, &mut out);
    out
}

fn decoded(bytes: &[u8]) -> Option<Publication> {
    let Place {
        position, previous, ..
    } = place();
    decode(&channel(), (previous, position), bytes)
}

#[test]
fn every_kind_of_publication_is_read_as_it_was_written() {
    for format in [Format::Json, Format::Text, Format::Binary] {
        for (publisher, key) in [(false, false), (true, false), (false, true), (true, true)] {
            let draft = draft(format, publisher, key);
            let bytes = encoded(&draft);
            assert_eq!(sequence_of(&bytes), Some(77));
            assert!(is_publication(&channel(), &bytes));
            assert_eq!(decoded(&bytes), Some(draft.at(place())));
        }
    }
}

#[test]
fn a_record_without_a_sequence_number_counts_as_the_oldest() {
    let draft = draft(Format::Text, true, true);
    let mut bytes = encoded(&draft);
    bytes[0] = WITHOUT_SEQUENCE;
    bytes.drain(2..10);
    assert_eq!(sequence_of(&bytes), Some(0));
    let place = Place {
        sequence: 0,
        ..place()
    };
    assert_eq!(decoded(&bytes), Some(draft.at(place)));
}

#[test]
fn what_is_no_publication_is_recognized() {
    let good = encoded(&draft(Format::Text, true, true));
    let data = "data".len();
    for length in 0..good.len() - data {
        assert_eq!(decoded(&good[..length]), None, "{length} bytes");
    }
    for (at, byte) in [(0, 0), (0, 3), (1, 3)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(decoded(&bad), None);
        assert!(!is_publication(&channel(), &bad));
    }
    assert_eq!(sequence_of(&[]), None);
    assert_eq!(sequence_of(&good[..9]), None);
    assert_eq!(sequence_of(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
}

#[test]
fn keys_sort_by_channel_and_offset() {
    let key = log_key(0x0102_0304, 0x0506);
    assert_eq!(key, [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 5, 6]);
    assert_eq!(offset_of(&key), Some(0x0506));
    assert_eq!(offset_of(&key[..11]), None);
    assert!(log_key(1, u64::MAX) < log_key(2, 0));
    let key = idempotency_key(1, "ann", &Key::new("k").unwrap());
    assert_eq!(key, b"\0\0\0\x01\0\x03annk");
    assert!(key.starts_with(&of_user(1, "ann")));
    assert_eq!(scope_of(&key), b"annk");
    assert_eq!(scope_of(b"\0\0"), b"");
}

#[test]
fn a_text_that_is_too_long_is_cut_at_a_character() {
    let mut out = Vec::new();
    put_text(&mut out, &"é".repeat(40_000));
    assert_eq!(out.len(), 2 + 65_534);
    assert_eq!(text(&mut out.as_slice()).map(str::len), Some(65_534));
}

#[test]
fn entries_are_read_as_they_were_written() {
    assert_eq!(read_key_entry(&key_entry(5, 6)), Some((5, 6)));
    assert_eq!(read_key_entry(&key_entry(5, 6)[..15]), None);
    let cursor = Cursor {
        position: Position::new(1, 2),
        time_ms: 3,
    };
    assert_eq!(read_cursor_entry(&cursor_entry(cursor)), Some(cursor));
    assert_eq!(read_cursor_entry(&cursor_entry(cursor)[..23]), None);
    let key = removal_key(9);
    assert_eq!(
        read_removal(&key, &removal_entry(&(3..=7))),
        Some((9, 3..=7))
    );
    assert!(removal_keys().contains(&[key[0]]));
    assert!(!removal_keys().contains(&[key[0] + 1]));
    let session = SessionId::from_bytes([5; 16]);
    let saved = Saved {
        bytes: "state".into(),
        ends_ms: 8,
    };
    let key = session_key(session);
    let read = read_session(&key, &session_entry(&saved));
    assert_eq!(read, Some((session, saved)));
    assert!(session_keys().contains(&[key[0]]));
    assert!(!session_keys().contains(&[key[0] + 1]));
}

#[test]
fn a_value_of_a_state_keeps_its_place() {
    let draft = draft(Format::Text, false, false);
    let place = Place {
        position: Position::new(4, 9),
        previous: Position::new(3, 8),
        sequence: 77,
    };
    let entry = value_entry(place, &encoded(&draft));
    assert_eq!(read_value(&channel(), &entry), Some(draft.at(place)));
    assert_eq!(read_value(&channel(), &entry[..20]), None);
    let nowhere = Place {
        position: Position {
            epoch: Epoch(4),
            offset: 0,
        },
        ..place
    };
    let entry = value_entry(nowhere, &encoded(&self::draft(Format::Text, false, false)));
    assert_eq!(read_value(&channel(), &entry), None, "offsets begin at 1");
    assert!(value_key(7, "a").starts_with(&value_key(7, "")));
}
