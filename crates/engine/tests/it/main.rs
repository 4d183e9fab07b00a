//! The engine's behaviour through its public API.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "in a test a panic is the report, and one variant is what it is about"
)]

mod applying;
mod asking;
mod channel_state;
mod classes;
mod durable;
mod filters;
mod following;
mod groups;
mod leaving;
mod limits;
mod memory;
mod model;
mod permissions;
mod permitted;
mod presence;
mod progress;
mod publishing;
mod receipts;
mod recovery;
mod server_side;
mod sessions;
mod sharing;
mod slow_connections;
mod snapshots;
mod subscriptions;
mod vocabulary;
mod windows;
mod world;
