use super::*;

#[test]
fn the_plain_offer_is_accepted() {
    assert_eq!(
        accept(&full_windows(), "permessage-deflate").as_deref(),
        Some("permessage-deflate")
    );
}

#[test]
fn other_extensions_are_ignored() {
    assert_eq!(
        accept(&full_windows(), "x-webkit-deflate-frame, mux; a=1"),
        None
    );
    assert_eq!(
        accept(&full_windows(), "mux, permessage-deflate").as_deref(),
        Some("permessage-deflate")
    );
}

#[test]
fn the_offer_of_browsers_gets_small_windows_in_both_directions() {
    assert_eq!(
        accept(&pooled(12), "permessage-deflate; client_max_window_bits").as_deref(),
        Some("permessage-deflate; server_max_window_bits=12; client_max_window_bits=12")
    );
}

#[test]
fn client_max_window_bits_is_never_answered_when_it_was_not_offered() {
    // RFC 7692 §7.1.2.2
    assert_eq!(
        accept(&pooled(12), "permessage-deflate").as_deref(),
        Some("permessage-deflate; server_max_window_bits=12")
    );
    assert_eq!(
        accept(&pooled(12).bounded_peer_window(true), "permessage-deflate").as_deref(),
        Some("permessage-deflate; client_no_context_takeover; server_max_window_bits=12")
    );
}

#[test]
fn server_max_window_bits_is_answered_with_the_same_or_a_smaller_value() {
    // RFC 7692 §7.1.2.1
    for (offered, answered) in [(15, 12), (13, 12), (12, 12), (10, 10), (8, 8)] {
        let offer = format!("permessage-deflate; server_max_window_bits={offered}");
        let answer = format!("permessage-deflate; server_max_window_bits={answered}");
        assert_eq!(accept(&pooled(12), &offer), Some(answer));
    }
    let confirmed = "permessage-deflate; server_max_window_bits=15";
    assert_eq!(
        accept(&full_windows(), confirmed).as_deref(),
        Some(confirmed)
    );
}

#[test]
fn the_hint_of_the_client_limits_the_answer() {
    // RFC 7692 §7.1.2.2
    for (hint, answered) in [(15, 12), (12, 12), (9, 9), (8, 8)] {
        let offer = format!("permessage-deflate; client_max_window_bits={hint}");
        let answer = format!(
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits={answered}"
        );
        assert_eq!(accept(&pooled(12), &offer), Some(answer));
    }
}

#[test]
fn no_context_takeover_is_confirmed_when_requested() {
    // RFC 7692 §7.1.1.1
    let offer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(accept(&full_windows(), offer).as_deref(), Some(offer));
}

#[test]
fn no_context_takeover_may_be_answered_without_a_request() {
    // RFC 7692 §7.1.1.1, §7.1.1.2
    let config = full_windows().client_no_context_takeover(true);
    assert_eq!(
        accept(&config, "permessage-deflate").as_deref(),
        Some("permessage-deflate; client_no_context_takeover")
    );
    let config = full_windows()
        .memory(DeflateMemory::Shared)
        .server_max_window_bits(15);
    assert_eq!(
        accept(&config, "permessage-deflate").as_deref(),
        Some("permessage-deflate; server_no_context_takeover")
    );
}

#[test]
fn invalid_offers_are_declined() {
    // RFC 7692 §7.1
    for parameters in INVALID_PARAMETERS {
        let offer = format!("permessage-deflate; {parameters}");
        assert_eq!(accept(&full_windows(), &offer), None, "{offer}");
    }
}

#[test]
fn the_first_acceptable_of_several_offers_is_taken() {
    let offers = "permessage-deflate; server_max_window_bits=7, \
                  permessage-deflate; server_max_window_bits=10, permessage-deflate";
    assert_eq!(
        accept(&full_windows(), offers).as_deref(),
        Some("permessage-deflate; server_max_window_bits=10")
    );
}

#[test]
fn a_quoted_value_is_equivalent_to_its_token() {
    assert_eq!(
        accept(
            &full_windows(),
            "permessage-deflate; server_max_window_bits=\"10\""
        )
        .as_deref(),
        Some("permessage-deflate; server_max_window_bits=10")
    );
}
