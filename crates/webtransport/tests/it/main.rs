//! Sessions with the real server.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod clients;
mod place;
mod sessions;
mod urls;
