//! RFC 6455 §1.9, §4.1 point 10 and §4.2.2 point 5: the subprotocol, server's side.
#![expect(
    clippy::panic_in_result_fn,
    reason = "the result is what is tested, the assertions are the test's"
)]

use offhook_protocol::handshake::{
    InvalidSubprotocol, Preference, Rejection, ServerConfig, Subprotocols,
};

use crate::handshake_heads::{Head, decide};

fn known() -> Subprotocols {
    Subprotocols::new(["v2", "v1"]).expect("tokens")
}

fn choose(subprotocols: Subprotocols, offers: &[&str]) -> Result<Option<String>, Rejection> {
    let config = ServerConfig {
        subprotocols,
        ..ServerConfig::default()
    };
    let head = offers.iter().fold(Head::request(), |head, offer| {
        head.add("Sec-WebSocket-Protocol", offer)
    });
    let accepted = decide(config, &head.bytes())?.accept();
    let sent = accepted
        .response
        .headers()
        .get_str("Sec-WebSocket-Protocol");
    assert_eq!(sent, accepted.negotiated.protocol.as_deref());
    Ok(accepted.negotiated.protocol)
}

#[test]
fn the_clients_order_decides_unless_the_server_says_otherwise() {
    let ours = known().preference(Preference::Server);
    assert_eq!(choose(known(), &["v0, v1, v2"]), Ok(Some("v1".to_owned())));
    assert_eq!(choose(ours, &["v0, v1, v2"]), Ok(Some("v2".to_owned())));
}

#[test]
fn offers_in_several_lines_are_one_list() {
    assert_eq!(
        choose(known(), &["v0", "v2,", " ,v1"]),
        Ok(Some("v2".to_owned()))
    );
}

#[test]
fn names_are_case_sensitive() {
    assert_eq!(choose(known(), &["V1"]), Ok(None));
}

#[test]
fn without_a_match_there_is_no_subprotocol_or_a_rejection_as_configured() {
    for offers in [&["other"][..], &[]] {
        assert_eq!(choose(known(), offers), Ok(None));
        assert_eq!(
            choose(known().required(), offers),
            Err(Rejection::NoCommonSubprotocol)
        );
    }
    assert_eq!(Rejection::NoCommonSubprotocol.status(), 400);
}

#[test]
fn a_server_without_subprotocols_ignores_offers() {
    assert_eq!(choose(Subprotocols::default(), &["v1"]), Ok(None));
}

#[test]
fn offers_that_are_not_distinct_tokens_are_400() {
    let malformed = Rejection::HeaderInvalid {
        name: "Sec-WebSocket-Protocol",
    };
    let bad: [&[&str]; 8] = [
        &["v1, v1"],
        &["v1", "v2, v1"],
        &["v 1"],
        &["v1; q=1"],
        &["\"v1\""],
        &[""],
        &[", ,"],
        &["v1/2"],
    ];
    for offers in bad {
        assert_eq!(
            choose(known(), offers),
            Err(malformed.clone()),
            "{offers:?}"
        );
        assert_eq!(
            choose(Subprotocols::default(), offers),
            Err(malformed.clone()),
            "{offers:?}"
        );
    }
}

#[test]
fn all_offers_that_fit_into_a_head_are_parsed() {
    let offers: Vec<String> = (0..3000).map(|number| format!("{number:x}")).collect();
    let joined = offers.join(",");
    assert_eq!(choose(known(), &[&joined]), Ok(None));
    let twice = format!("{joined},0");
    assert_eq!(
        choose(known(), &[&twice])
            .expect_err("0 stands twice")
            .status(),
        400
    );
}

#[test]
fn a_list_of_subprotocols_that_are_not_distinct_tokens_is_an_error_of_the_caller() {
    let not_a_token = |name: &str| InvalidSubprotocol::NotAToken(name.to_owned());
    for name in ["", "a b", "a,b", "é", "a\r\n"] {
        assert_eq!(
            Subprotocols::new([name]).expect_err("no token"),
            not_a_token(name)
        );
    }
    let twice = Subprotocols::new(["a", "a"]).expect_err("twice");
    assert_eq!(twice, InvalidSubprotocol::Repeated("a".to_owned()));
}
