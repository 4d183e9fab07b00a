//! The dialects' behaviour: accepted and refused messages, and output.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod graphql;
mod graphql_documents;
mod hostile;
mod jsonrpc;
mod mqtt;
mod mqtt_packets;
mod native_cbor;
mod native_client;
mod native_decode;
mod native_encode;
mod pusher;
mod socketio;
mod socketio_packets;
mod specification;
mod stomp;
mod stomp_frames;
mod webtransport;
