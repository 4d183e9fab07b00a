//! Apps of the Pusher protocol: the signatures of its published examples, and forged ones.

use offhook_auth::{App, AppKey, SignedRequest, apps_of};
use proptest::prelude::*;

/// The credentials in Pusher's own documentation.
const ENTRY: &str = "3 278d425bdf160c739803 7ad3773142a6692b25b8";
const BODY: &str = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
const SIGNED: &[(&str, &str)] = &[
    ("auth_key", "278d425bdf160c739803"),
    ("auth_timestamp", "1353088179"),
    ("auth_version", "1.0"),
    ("body_md5", "ec365a775a4cd0599faeb73354201b6f"),
    (
        "auth_signature",
        "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c",
    ),
];
const AT: u64 = 1_353_088_179;

fn app() -> App {
    apps_of(&[ENTRY.parse().unwrap()]).pop().unwrap()
}

fn query(change: &[(&str, Option<&str>)]) -> Vec<(String, String)> {
    let changed = |name: &str| change.iter().find(|(changed, _)| *changed == name);
    let kept = SIGNED.iter().filter_map(|(name, value)| {
        let value = match changed(name) {
            None => *value,
            Some((_, value)) => (*value)?,
        };
        Some(((*name).to_owned(), value.to_owned()))
    });
    kept.collect()
}

fn check(query: &[(String, String)], body: &str, now_s: u64) -> Result<(), String> {
    let request = SignedRequest {
        method: "POST",
        path: "/apps/3/events",
        query,
        body: body.as_bytes(),
    };
    let checked = app().check(&request, now_s, 600);
    checked.map_err(|error| error.to_string())
}

#[test]
fn the_documented_example_of_a_signed_request_is_accepted() {
    assert_eq!(check(&query(&[]), BODY, AT), Ok(()));
    // The order of the parameters does not matter.
    let mut turned = query(&[]);
    turned.reverse();
    assert_eq!(check(&turned, BODY, AT), Ok(()));
}

#[test]
fn the_documented_example_of_a_private_channel_is_accepted() {
    let app = app();
    let auth =
        "278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4";
    assert!(app.is_signed(auth, "1234.1234:private-foobar"));
    // Signatures for another connection and another channel.
    assert!(!app.is_signed(auth, "1234.1235:private-foobar"));
    assert!(!app.is_signed(auth, "1234.1234:private-foobaz"));
}

#[test]
fn a_request_is_refused_if_any_part_of_it_was_changed() {
    let refused =
        |query: &[(String, String)], body: &str, now_s| check(query, body, now_s).unwrap_err();
    let error = refused(&query(&[]), &BODY.replace("some", "same"), AT);
    assert!(error.starts_with("auth_signature"), "{error}");
    // A changed body with its own hash, but with the signature of the original.
    let other = r#"{"name":"foo"}"#;
    let error = refused(
        &query(&[("body_md5", Some("50b6137335559d7afac1144578f8e178"))]),
        other,
        AT,
    );
    assert!(error.starts_with("auth_signature"), "{error}");
    let error = refused(&query(&[("auth_signature", Some("00"))]), BODY, AT);
    assert!(error.starts_with("auth_signature"), "{error}");
    let error = refused(&query(&[("auth_key", Some("another"))]), BODY, AT);
    assert!(error.starts_with("auth_signature"), "{error}");
    for (name, _) in SIGNED {
        let error = refused(&query(&[(name, None)]), BODY, AT);
        assert!(
            error.starts_with(&format!("{name}: expected once")),
            "{error}"
        );
        let mut twice = query(&[]);
        twice.push(((*name).to_owned(), "x".to_owned()));
        let error = refused(&twice, BODY, AT);
        assert!(
            error.starts_with(&format!("{name}: expected once")),
            "{error}"
        );
    }
    let error = refused(&query(&[("auth_version", Some("2.0"))]), BODY, AT);
    assert_eq!(error, "auth_version: expected 1.0");
    let error = refused(&query(&[("auth_timestamp", Some("now"))]), BODY, AT);
    assert!(
        error.starts_with("auth_timestamp: expected seconds"),
        "{error}"
    );
    let mut more = query(&[]);
    more.push(("info".to_owned(), "user_count".to_owned()));
    let error = refused(&more, BODY, AT);
    assert!(error.starts_with("auth_signature"), "{error}");
}

#[test]
fn a_request_is_accepted_only_within_the_window_around_its_time() {
    assert_eq!(check(&query(&[]), BODY, AT + 600), Ok(()));
    assert_eq!(check(&query(&[]), BODY, AT - 600), Ok(()));
    for now in [AT + 601, AT - 601, 0, u64::MAX] {
        let error = check(&query(&[]), BODY, now).unwrap_err();
        assert!(error.starts_with("auth_timestamp: is too far"), "{error}");
    }
}

#[test]
fn entries_with_one_id_are_the_keys_of_one_app() {
    let entries = [
        "1 a secret-of-16-bytes",
        "2 b secret-of-16-bytes x/",
        "1 c another-secret-16",
    ];
    let entries: Vec<AppKey> = entries.iter().map(|entry| entry.parse().unwrap()).collect();
    let apps = apps_of(&entries);
    assert_eq!(apps.len(), 2);
    assert!(apps[0].has_key("a") && apps[0].has_key("c") && !apps[0].has_key("b"));
    assert_eq!((apps[1].id(), apps[1].prefix()), ("2", "x/"));
}

#[test]
fn the_error_for_an_invalid_entry_does_not_show_it() {
    for wrong in [
        "",
        "1",
        "1 key",
        "1 key short",
        "1/2 key secret-of-16-bytes",
        "1 k/y secret-of-16-bytes",
        "1 key secret-of-16-bytes * ",
        "1 key secret-of-16-bytes a b",
    ] {
        let error = wrong.parse::<AppKey>().unwrap_err().to_string();
        assert!(!error.contains("secret-of-16-bytes"), "{error}");
    }
    let entry: AppKey = ENTRY.parse().unwrap();
    assert!(!format!("{entry} {entry:?} {:?}", app()).contains("7ad3773142a6692b25b8"));
}

proptest! {
    #[test]
    fn only_what_a_backend_signs_is_accepted(
        body in "[ -~]{0,40}",
        value in "[a-z,-]{0,20}",
        text in "[ -~]{0,40}",
    ) {
        let entry: AppKey = ENTRY.parse().unwrap();
        prop_assert!(app().is_signed(&entry.sign(&text), &text));
        let more = format!("{text}x");
        prop_assert!(!app().is_signed(&entry.sign(&text), &more));
        let query = entry.sign_request("POST", "/apps/3/events", &[("Info", &value)], body.as_bytes(), AT);
        let query: Vec<(String, String)> = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        prop_assert_eq!(check(&query, &body, AT), Ok(()));
        let more = body + "x";
        prop_assert!(check(&query, &more, AT).is_err());
    }

    #[test]
    fn no_other_text_is_accepted_as_a_signature(auth in ".{0,80}", text in ".{0,40}") {
        prop_assert!(!app().is_signed(&auth, &text));
        let auth = format!("278d425bdf160c739803:{auth}");
        prop_assert!(!app().is_signed(&auth, &text));
    }
}
