//! When keys are fetched, and how long they are used.

use offhook_auth::{RefetchLimits, Refetching};

const KEYS: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn limits() -> RefetchLimits {
    RefetchLimits::default()
}

fn fetched(at: u64) -> Refetching {
    let mut keys = Refetching::new(limits());
    assert_eq!(keys.due_ms(), Some(0), "at once");
    keys.begin(at);
    assert_eq!(keys.due_ms(), None, "one at a time");
    keys.fetched(KEYS, at).unwrap();
    assert_eq!(keys.keys().len(), 1);
    keys
}

#[test]
fn keys_are_fetched_again_after_the_refresh_interval() {
    assert_eq!(fetched(1_000).due_ms(), Some(1_000 + limits().refresh_ms));
}

#[test]
fn tokens_with_unknown_keys_cause_at_most_one_fetch_per_pause() {
    let mut keys = fetched(1_000);
    let pause = limits().pause_ms;
    for at in [1_001, 1_002, 2_000] {
        assert!(!keys.want(at), "just fetched: the key is not there");
        assert_eq!(keys.due_ms(), Some(1_000 + pause));
    }
    assert!(keys.want(1_000 + pause), "now a fetch may bring it");
}

#[test]
fn before_the_first_keys_arrive_tokens_are_refused_temporarily() {
    let mut keys = Refetching::new(limits());
    assert!(keys.want(5));
    keys.begin(5);
    assert!(keys.want(6));
    keys.failed(7);
    assert!(!keys.has_keys() && keys.want(8));
    assert_eq!(keys.due_ms(), Some(5 + limits().pause_ms));
}

#[test]
fn keys_stay_valid_for_a_limited_time_while_fetching_fails() {
    let mut keys = fetched(0);
    let keep = limits().keep_ms;
    keys.begin(keep - 1);
    keys.failed(keep - 1);
    assert_eq!(keys.keys().len(), 1);
    keys.begin(keep);
    keys.failed(keep);
    assert!(keys.keys().is_empty() && !keys.has_keys());
}

#[test]
fn an_answer_that_is_not_a_key_set_does_not_replace_the_keys() {
    let mut keys = fetched(0);
    keys.begin(100);
    assert!(keys.fetched(b"<html>502</html>", 100).is_err());
    assert_eq!(keys.keys().len(), 1);
    let many = vec![r#"{"kty":"oct"}"#; 101].join(",");
    keys.begin(200);
    let error = keys.fetched(format!(r#"{{"keys":[{many}]}}"#).as_bytes(), 200);
    assert!(error.unwrap_err().to_string().contains("101 keys"));
    assert_eq!(keys.keys().len(), 1);
}
