use super::*;

#[test]
fn small_windows_are_offered_with_a_fallback() {
    assert_eq!(
        pooled(12).offer(),
        "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12, \
         permessage-deflate; client_max_window_bits=12"
    );
}

#[test]
fn full_windows_need_one_offer() {
    assert_eq!(
        full_windows().offer(),
        "permessage-deflate; client_max_window_bits"
    );
}

#[test]
fn no_context_takeover_is_offered_for_both_directions() {
    let config = full_windows()
        .server_no_context_takeover(true)
        .client_no_context_takeover(true);
    assert_eq!(
        config.offer(),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
         client_max_window_bits"
    );
}

#[test]
fn a_client_that_shares_codecs_offers_no_context_takeover() {
    let offer = DeflateConfig::default()
        .memory(DeflateMemory::Shared)
        .offer();
    assert!(
        offer.starts_with("permessage-deflate; client_no_context_takeover;"),
        "{offer}"
    );
}

#[test]
fn with_a_limited_peer_window_there_is_no_fallback() {
    let offer = pooled(12).bounded_peer_window(true).offer();
    assert_eq!(
        offer,
        "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
    );
}

#[test]
fn window_bits_that_our_compressor_lacks_are_rounded() {
    let config = full_windows()
        .server_max_window_bits(3)
        .client_max_window_bits(99);
    assert_eq!(
        config.bounded_peer_window(true).offer(),
        "permessage-deflate; server_max_window_bits=9; client_max_window_bits"
    );
}
