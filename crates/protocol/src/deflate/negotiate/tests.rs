use super::*;
use crate::deflate::parse_extensions;

fn accept(config: &DeflateConfig, offers: &str) -> Option<String> {
    let offers = parse_extensions([offers.as_bytes()]).unwrap();
    config.accept(&offers).map(|params| params.to_string())
}

fn confirm(
    config: &DeflateConfig,
    answer: &str,
) -> Result<Option<DeflateParams>, NegotiationError> {
    config.confirm(&parse_extensions([answer.as_bytes()]).unwrap())
}

fn full_windows() -> DeflateConfig {
    DeflateConfig::default().memory(DeflateMemory::Dedicated)
}

fn pooled(window_bits: u8) -> DeflateConfig {
    DeflateConfig::default().memory(DeflateMemory::Pooled { window_bits })
}

mod offering {
    use super::*;

    #[test]
    fn small_windows_are_asked_for_with_a_fallback() {
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
    fn no_context_takeover_is_offered_both_ways() {
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
    fn a_client_that_shares_codecs_says_that_it_keeps_no_context() {
        let offer = DeflateConfig::default()
            .memory(DeflateMemory::Shared)
            .offer();
        assert!(
            offer.starts_with("permessage-deflate; client_no_context_takeover;"),
            "{offer}"
        );
    }

    #[test]
    fn a_bounded_peer_window_leaves_no_fallback() {
        let offer = pooled(12).bounded_peer_window(true).offer();
        assert_eq!(
            offer,
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
        );
    }

    #[test]
    fn window_bits_beyond_our_compressor_are_taken_to_the_nearest() {
        let config = full_windows()
            .server_max_window_bits(3)
            .client_max_window_bits(99);
        assert_eq!(
            config.bounded_peer_window(true).offer(),
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits"
        );
    }
}

mod accepting {
    use super::*;

    #[test]
    fn the_plain_offer_is_accepted() {
        assert_eq!(
            accept(&full_windows(), "permessage-deflate").as_deref(),
            Some("permessage-deflate")
        );
    }

    #[test]
    fn other_extensions_are_passed_over() {
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
    fn the_browsers_offer_gets_small_windows_both_ways() {
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
    fn the_clients_hint_bounds_the_answer() {
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
    fn no_context_takeover_is_confirmed_when_asked_for() {
        // RFC 7692 §7.1.1.1
        let offer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert_eq!(accept(&full_windows(), offer).as_deref(), Some(offer));
    }

    #[test]
    fn no_context_takeover_may_be_answered_unasked() {
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
    fn a_quoted_value_counts_as_the_token_it_holds() {
        assert_eq!(
            accept(
                &full_windows(),
                "permessage-deflate; server_max_window_bits=\"10\""
            )
            .as_deref(),
            Some("permessage-deflate; server_max_window_bits=10")
        );
    }
}

const INVALID_PARAMETERS: [&str; 17] = [
    "unknown",
    "unknown=1",
    "Server_No_Context_Takeover",
    "server_no_context_takeover=1",
    "client_no_context_takeover=true",
    "server_no_context_takeover; server_no_context_takeover",
    "client_no_context_takeover; client_no_context_takeover",
    "server_max_window_bits",
    "server_max_window_bits=7",
    "server_max_window_bits=16",
    "server_max_window_bits=010",
    "server_max_window_bits=+9",
    "server_max_window_bits=10; server_max_window_bits=10",
    "client_max_window_bits=7",
    "client_max_window_bits=16",
    "client_max_window_bits=08",
    "client_max_window_bits=9; client_max_window_bits=9",
];

mod confirming {
    use super::*;

    #[test]
    fn no_answer_is_no_compression() {
        assert_eq!(pooled(12).confirm(&[]), Ok(None));
    }

    #[test]
    fn the_answer_gives_the_terms() {
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
    fn what_our_offer_said_of_ourselves_holds_without_being_repeated() {
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
    fn agreeing_twice_fails() {
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
    fn an_answer_to_the_fallback_is_fine() {
        for answer in [
            "permessage-deflate",
            "permessage-deflate; server_max_window_bits=14",
        ] {
            assert!(confirm(&pooled(12), answer).is_ok(), "{answer}");
        }
    }

    #[test]
    fn a_server_that_keeps_its_context_although_asked_not_to_fails() {
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
}

proptest::proptest! {
    #[test]
    fn whatever_we_accept_of_our_own_offers_we_confirm(
        (client, server) in (config(), config())
    ) {
        let offer = client.offer();
        let answer = accept(&server, &offer).unwrap();
        let confirmed = confirm(&client, &answer).unwrap().unwrap();
        let agreed = server.accept(&parse_extensions([offer.as_bytes()]).unwrap()).unwrap();
        // Both ends see the same terms, or the client binds itself further.
        proptest::prop_assert_eq!(confirmed.server(), agreed.server());
        proptest::prop_assert!(confirmed.client().window_bits <= agreed.client().window_bits);
        proptest::prop_assert!(
            agreed.client().context_takeover || !confirmed.client().context_takeover
        );
    }
}

fn config() -> impl proptest::strategy::Strategy<Value = DeflateConfig> {
    use proptest::prelude::*;
    let memory = prop_oneof![
        Just(DeflateMemory::Dedicated),
        Just(DeflateMemory::Shared),
        (9u8..=15).prop_map(|window_bits| DeflateMemory::Pooled { window_bits }),
    ];
    (memory, any::<[bool; 3]>(), proptest::option::of(9u8..=15)).prop_map(
        |(memory, [server, client, bounded], bits)| {
            let config = DeflateConfig::default()
                .memory(memory)
                .server_no_context_takeover(server)
                .client_no_context_takeover(client)
                .bounded_peer_window(bounded);
            match bits {
                Some(bits) => config
                    .server_max_window_bits(bits)
                    .client_max_window_bits(bits),
                None => config,
            }
        },
    )
}
