//! Conversations with a `Connection`, one module for each part of the specifications.

mod fuzz_corpora;
mod handshake_heads;
mod handshake_properties;
mod rfc6455_10_2_origin;
mod rfc6455_1_9_subprotocols;
mod rfc6455_4_1_client_request;
mod rfc6455_4_1_client_validation;
mod rfc6455_4_2_1_server_request;
mod rfc6455_4_2_2_server_answer;
mod rfc6455_5_4_fragmentation;
mod rfc6455_9_1_extensions;
mod rfc8441_extended_connect;
mod rfc9112_heads;
