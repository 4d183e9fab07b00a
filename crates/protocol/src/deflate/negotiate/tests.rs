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

mod offering;

mod accepting;

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

mod confirming;

proptest::proptest! {
    #[test]
    fn every_answer_of_our_server_is_accepted_by_our_client(
        (client, server) in (config(), config())
    ) {
        let offer = client.offer();
        let answer = accept(&server, &offer).unwrap();
        let confirmed = confirm(&client, &answer).unwrap().unwrap();
        let agreed = server.accept(&parse_extensions([offer.as_bytes()]).unwrap()).unwrap();
        // Both ends see the same terms, or the client restricts itself further.
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
