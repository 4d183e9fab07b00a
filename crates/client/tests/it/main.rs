//! The client with the real server, and with scripted ones that do what no server should.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "of what can happen most is of no interest to one test"
)]

mod calling;
mod conversation;
mod filters;
mod pairs;
mod proxy;
mod recovery;
mod requests;
mod scripted;
mod slow_reader;
mod test_server;
mod tokens;
