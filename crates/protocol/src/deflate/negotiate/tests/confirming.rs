use super::*;

#[test]
fn without_an_answer_there_is_no_compression() {
    assert_eq!(pooled(12).confirm(&[]), Ok(None));
}

#[test]
fn the_answer_determines_the_parameters() {
    let answer = "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; \
                  client_max_window_bits=9";
    let params = confirm(&pooled(12), answer).unwrap().unwrap();
    assert_eq!(
        params.server(),
        DeflateTerms {
            window_bits: 10,
            context_takeover: false
        }
    );
    assert_eq!(
        params.client(),
        DeflateTerms {
            window_bits: 9,
            context_takeover: true
        }
    );
}

#[test]
fn without_limits_the_windows_are_full() {
    let params = confirm(&full_windows(), "permessage-deflate")
        .unwrap()
        .unwrap();
    let full = DeflateTerms {
        window_bits: 15,
        context_takeover: true,
    };
    assert_eq!((params.server(), params.client()), (full, full));
}

#[test]
fn parameters_of_our_own_side_apply_without_being_repeated() {
    // RFC 7692 §7.1.1.2, §7.1.2.2
    let config = pooled(10).client_no_context_takeover(true);
    for answer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits=15",
    ] {
        let params = confirm(&config, answer).unwrap().unwrap();
        assert_eq!(
            params.client(),
            DeflateTerms {
                window_bits: 10,
                context_takeover: false
            }
        );
    }
}

#[test]
fn an_extension_that_was_not_offered_fails() {
    // RFC 6455 §4.1
    for answer in ["mux", "permessage-deflate, mux", "mux, permessage-deflate"] {
        let expected = NegotiationError::ExtensionNotOffered {
            name: "mux".to_owned(),
        };
        assert_eq!(confirm(&pooled(12), answer), Err(expected));
    }
}

#[test]
fn two_accepted_extensions_fail() {
    let answer = "permessage-deflate, permessage-deflate";
    assert_eq!(
        confirm(&pooled(12), answer),
        Err(NegotiationError::AgreedTwice)
    );
}

#[test]
fn invalid_parameters_fail() {
    // RFC 7692 §7.1
    for parameters in INVALID_PARAMETERS {
        let answer = format!("permessage-deflate; {parameters}");
        assert!(confirm(&full_windows(), &answer).is_err(), "{answer}");
    }
}

#[test]
fn client_max_window_bits_needs_a_value_in_an_answer() {
    // RFC 7692 §7.1.2.2
    let expected = NegotiationError::InvalidWindowBits {
        name: CLIENT_MAX_WINDOW_BITS,
        value: None,
    };
    let answer = "permessage-deflate; client_max_window_bits";
    assert_eq!(confirm(&pooled(12), answer), Err(expected));
}

#[test]
fn a_server_window_larger_than_offered_fails() {
    // RFC 7692 §7.1.2.1
    let config = pooled(12).bounded_peer_window(true);
    for (answer, answered) in [
        ("permessage-deflate; server_max_window_bits=13", Some(13)),
        ("permessage-deflate", None),
    ] {
        let expected = NegotiationError::ServerWindowTooLarge {
            offered: 12,
            answered,
        };
        assert_eq!(confirm(&config, answer), Err(expected));
    }
    assert!(confirm(&config, "permessage-deflate; server_max_window_bits=12").is_ok());
}

#[test]
fn an_answer_to_the_fallback_is_accepted() {
    for answer in [
        "permessage-deflate",
        "permessage-deflate; server_max_window_bits=14",
    ] {
        assert!(confirm(&pooled(12), answer).is_ok(), "{answer}");
    }
}

#[test]
fn an_answer_without_the_requested_server_no_context_takeover_fails() {
    // RFC 7692 §7.1.1.1
    let config = pooled(12).server_no_context_takeover(true);
    let expected = Err(NegotiationError::ServerContextKept);
    assert_eq!(confirm(&config, "permessage-deflate"), expected);
    assert!(confirm(&config, "permessage-deflate; server_no_context_takeover").is_ok());
}

#[test]
fn errors_name_the_parameter_and_what_was_found() {
    let error = confirm(&pooled(12), "permessage-deflate; server_max_window_bits=99");
    assert_eq!(
        error.unwrap_err().to_string(),
        "permessage-deflate: server_max_window_bits: expected a number from 8 to 15, \
         found \"99\""
    );
}
