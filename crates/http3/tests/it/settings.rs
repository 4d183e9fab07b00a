use offhook_http3::{Code, settings::Settings, varint};
use proptest::prelude::*;

fn written(pairs: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in pairs {
        varint::write(*name, &mut bytes);
        varint::write(*value, &mut bytes);
    }
    bytes
}

#[test]
fn settings_are_read_as_they_were_written() {
    let settings = Settings {
        connect_protocol: true,
        datagrams: true,
        webtransport_sessions: 16,
        field_section: Some(18 * 1024),
    };
    assert_eq!(Settings::decode(&settings.encode()).unwrap(), settings);
    let none = Settings::default();
    assert_eq!(Settings::decode(&none.encode()).unwrap(), none);
}

#[test]
fn unknown_settings_are_ignored() {
    let greased = written(&[(0x21, 7), (0x33, 1)]);
    assert!(Settings::decode(&greased).unwrap().datagrams);
}

#[test]
fn settings_of_http_2_repeated_ones_and_wrong_values_are_errors() {
    for wrong in [&[(0x02, 1)][..], &[(0x33, 1), (0x33, 1)], &[(0x08, 2)]] {
        let error = Settings::decode(&written(wrong)).unwrap_err();
        assert_eq!(error.code, Code::SETTINGS_ERROR, "{wrong:?}");
    }
    let many: Vec<_> = (0..100).map(|n| (0x1000 + n, 0)).collect();
    assert!(Settings::decode(&written(&many)).is_err());
    assert_eq!(
        Settings::decode(&[0x33]).unwrap_err().code,
        Code::FRAME_ERROR
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Settings::decode(&bytes);
    }
}
