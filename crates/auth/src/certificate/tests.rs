use proptest::prelude::*;

use super::*;

fn made(names: &[&str]) -> (rcgen::CertificateParams, rcgen::KeyPair) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let params = rcgen::CertificateParams::new(names).expect("names");
    (params, rcgen::KeyPair::generate().expect("a key"))
}

#[test]
fn names_and_times_of_a_certificate_are_parsed() {
    let (mut params, key) = made(&["a.example", "127.0.0.1", "::1"]);
    params.not_before = rcgen::date_time_ymd(2024, 2, 29);
    params.not_after = rcgen::date_time_ymd(2051, 1, 1);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "the subject");
    let ia5 = |text: &str| text.try_into().expect("ASCII");
    let others = [
        rcgen::SanType::Rfc822Name(ia5("ann@example.com")),
        rcgen::SanType::URI(ia5("spiffe://example.com/ann")),
    ];
    params.subject_alt_names.extend(others);
    let made = params.self_signed(&key).expect("signed");
    let read = Certificate::read(made.der()).expect("it is one");
    let expected = Certificate {
        subject: "the subject".to_owned(),
        issuer: "the subject".to_owned(),
        common_name: vec!["the subject".to_owned()],
        names: vec!["a.example".into(), "127.0.0.1".into(), "::1".into()],
        dns_names: vec!["a.example".into()],
        emails: vec!["ann@example.com".into()],
        uris: vec!["spiffe://example.com/ann".into()],
        not_before: 1_709_164_800,
        not_after: 2_556_144_000,
        is_self_signed: true,
    };
    assert_eq!(read, expected);
    assert_eq!(date(read.not_before), "2024-02-29");
    assert_eq!(date(read.not_after), "2051-01-01");
    assert!(read.is_valid_at(read.not_after) && !read.is_valid_at(read.not_after + 1));
}

#[test]
fn the_names_of_an_authority_are_truncated_at_a_limit() {
    let names: Vec<String> = (0..300).map(|n| format!("n{n}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (params, key) = made(&names);
    let made = params.self_signed(&key).expect("signed");
    let read = Certificate::read(made.der()).expect("it is one");
    assert_eq!(read.names.len(), MOST_NAMES);
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Certificate::read(&bytes);
    }

    #[test]
    fn a_damaged_certificate_is_parsed_without_a_panic(at in 0_usize..1000, byte: u8, cut in 0_usize..1000) {
        let (params, key) = made(&["a.example"]);
        let mut der = params.self_signed(&key).expect("signed").der().to_vec();
        let length = der.len();
        der[at % length] = byte;
        der.truncate(cut % (length + 1));
        let _ = Certificate::read(&der);
    }

    #[test]
    fn a_date_round_trips(days in -100_000_i64..1_000_000) {
        let text = date(days * 86_400);
        let parts: Vec<i64> = text.split('-').map(|part| part.parse().expect("a number")).collect();
        prop_assert_eq!(days_since_1970(parts[0], parts[1], parts[2]), Some(days));
    }
}
