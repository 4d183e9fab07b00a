//! The server as its clients see it: real sockets on loopback, the library as client.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "in a test a panic is the report, and what was not run is printed"
)]

mod admission;
mod api;
mod api_fields;
mod asked;
mod attacks;
mod authentication;
mod bad_input;
mod caller;
mod carried;
mod carried_ends;
mod channel_state;
mod classes;
mod client_certificates;
mod conversation;
mod damage;
mod disk_full;
mod echo;
mod explain;
mod graphql;
mod graphql_abuse;
mod hall;
mod hand_over;
mod http;
mod http2;
mod http2_abuse;
mod http2_peer;
mod http3;
mod http3_abuse;
mod http3_peer;
mod issuer;
mod jsonrpc;
mod key_files;
mod large_sessions;
mod listeners;
mod logged;
mod memory;
mod metrics;
mod mqtt;
mod mqtt_rumqttc;
mod native_cbor;
mod origins;
mod polling;
mod proxies;
mod pusher;
mod reader;
mod receipts;
mod reconnect_storm;
mod reload;
mod resuming;
mod secrets;
mod sessions;
mod slow_connection;
mod socketio;
mod socketio_polling;
mod sse;
mod starting;
mod stomp;
mod stopping;
mod tls;
mod useless_backend;
mod webhooks;
mod webhooks_http2;
mod webtransport;
mod windows;
