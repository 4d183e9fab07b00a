//! RFC 6455 §9.1: extensions in the handshake. Unit tests cover how permessage-deflate interprets
//! its parameters.
#![expect(
    clippy::panic_in_result_fn,
    reason = "the result is what is tested, the assertions are the test's"
)]

use offhook_protocol::deflate::{DeflateConfig, NegotiationError};
use offhook_protocol::handshake::{HandshakeFailure, Negotiated, Rejection, ServerConfig};

use crate::handshake_heads::{Head, NONCE, client, client_request, decide, open};

const NAME: &str = "Sec-WebSocket-Extensions";

fn negotiate(deflate: Option<DeflateConfig>, offer: &str) -> Result<Negotiated, Rejection> {
    let config = ServerConfig {
        deflate,
        ..ServerConfig::default()
    };
    let accepted = decide(config, &Head::request().add(NAME, offer).bytes())?.accept();
    let sent = accepted.response.headers().get_str(NAME).map(str::to_owned);
    assert_eq!(
        sent,
        accepted
            .negotiated
            .deflate
            .map(|deflate| deflate.to_string())
    );
    Ok(accepted.negotiated)
}

#[test]
fn deflate_is_negotiated_if_both_ends_support_it() {
    let offer = "x-unknown, permessage-deflate; client_max_window_bits";
    let agreed = negotiate(Some(DeflateConfig::default()), offer).expect("valid");
    assert!(agreed.deflate.is_some());
    assert_eq!(negotiate(None, offer).expect("valid").deflate, None);
}

#[test]
fn an_unknown_extension_is_ignored() {
    let agreed = negotiate(Some(DeflateConfig::default()), "x-unknown; a=\"b\"").expect("valid");
    assert_eq!(agreed.deflate, None);
}

#[test]
fn an_extension_list_with_invalid_syntax_is_400() {
    for offer in [
        "",
        ",",
        "a b",
        "a;",
        "a; =1",
        "a; b=",
        "a; b=\"",
        "a; b=\"c d\"",
        "(a)",
    ] {
        let rejection = negotiate(Some(DeflateConfig::default()), offer).expect_err(offer);
        assert!(
            matches!(rejection, Rejection::Extensions(_)),
            "{offer:?}: {rejection:?}"
        );
        assert_eq!(rejection.status(), 400);
    }
}

#[test]
fn the_application_may_decline_deflate_for_a_connection() {
    let deflate = Some(DeflateConfig::default());
    let config = ServerConfig {
        deflate,
        ..ServerConfig::default()
    };
    let head = Head::request().add(NAME, "permessage-deflate");
    let mut decision = decide(config, &head.bytes()).expect("valid");
    assert!(decision.negotiated().deflate.is_some());
    decision.decline_deflate();
    let accepted = decision.accept();
    assert_eq!(accepted.negotiated.deflate, None);
    assert!(!accepted.response.headers().contains(NAME));
}

#[test]
fn a_client_fails_on_an_extension_it_did_not_offer() {
    let not_offered = |name: &str| {
        let name = name.to_owned();
        HandshakeFailure::Negotiation(NegotiationError::ExtensionNotOffered { name })
    };
    let answer = |extension| Head::response().add(NAME, extension);
    let found = open(client(), &answer("permessage-deflate")).expect_err("not offered");
    assert_eq!(found, not_offered("permessage-deflate"));
    let with_deflate = client_request()
        .deflate(DeflateConfig::default())
        .start(NONCE)
        .1;
    let found = open(with_deflate, &answer("x-other")).expect_err("not offered");
    assert_eq!(found, not_offered("x-other"));
}

#[test]
fn a_client_fails_on_an_extension_answer_with_invalid_syntax() {
    let found = open(client(), &Head::response().add(NAME, "a b")).expect_err("no grammar");
    assert!(
        matches!(found, HandshakeFailure::Extensions(_)),
        "{found:?}"
    );
}

#[test]
fn a_client_opens_without_deflate_when_the_server_declines_it() {
    let client = client_request()
        .deflate(DeflateConfig::default())
        .start(NONCE)
        .1;
    let opened = open(client, &Head::response()).expect("valid");
    assert_eq!(opened.negotiated, Negotiated::default());
}
