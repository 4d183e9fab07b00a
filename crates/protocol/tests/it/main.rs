//! Tests of the protocol, one module for each part of the specifications, so that this list is an
//! index of them.

mod rfc6455_1_9_subprotocols;
mod rfc6455_4_1_client_request;
mod rfc6455_4_1_client_validation;
mod rfc6455_4_2_1_server_request;
mod rfc6455_4_2_2_server_answer;
mod rfc6455_5_1_masking_direction;
mod rfc6455_5_2_base_framing;
mod rfc6455_5_3_masking;
mod rfc6455_5_4_fragmentation;
mod rfc6455_5_5_1_close;
mod rfc6455_5_5_2_ping;
mod rfc6455_5_5_3_pong;
mod rfc6455_5_6_data_frames;
mod rfc6455_5_7_examples;
mod rfc6455_6_1_sending;
mod rfc6455_6_2_receiving;
mod rfc6455_7_1_closing;
mod rfc6455_7_2_abnormal_closure;
mod rfc6455_7_4_status_codes;
mod rfc6455_8_1_utf8;
mod rfc6455_9_1_extensions;

mod rfc6455_10_2_origin;
mod rfc6455_10_4_deflate_limits;
mod rfc6455_10_4_limits;

mod rfc7692_6_framing;
mod rfc7692_7_1_parameters;
mod rfc7692_7_2_examples;

mod rfc8441_extended_connect;
mod rfc9112_heads;

// What no specification requires.
mod chunks;
mod direct_reads;
mod fuzz_corpora;
mod handshake_heads;
mod handshake_properties;
mod hostile_input;
mod idle_and_close_timeouts;
mod keepalive;
mod memory;
mod model;
mod output_order;
mod output_writes;
mod pieces_and_prepared;
