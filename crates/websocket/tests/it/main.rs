//! The library as its users see it.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "these are tests: what is unexpected fails them"
)]

mod cancelled;
mod cancelling;
mod closing;
mod corking;
mod counted;
mod link;
mod liveness;
mod receiving;
mod sending;
