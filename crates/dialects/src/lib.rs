//! Dialects: the languages spoken over Offhook's connections.
//!
//! A dialect is a translator without I/O: wire messages become the engine's
//! [`Command`](offhook_engine::Command)s, its deliveries become wire messages. It knows no
//! transport, no clock and no state of a connection. All dialects speak of the same channels, positions,
//! members and history.
//!
//! [`native`] is Offhook's own, specified in `docs/protocol.md`.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod native;
