//! Sessions with the real server.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of what can happen most is of no interest to one test"
)]

mod clients;
mod place;
mod sessions;
mod urls;
