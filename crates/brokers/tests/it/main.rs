//! The brokers' behaviour: one contract for all of them, and what the log guarantees beyond it.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "in a test a panic is the report, one variant is what it is about, and what was \
              not run is printed"
)]

mod acks;
mod budget;
mod changes;
mod contract;
mod corruption;
mod crash;
mod disk_full;
mod failed_fsync;
mod filters;
mod incomplete;
mod lineage;
mod mailbox;
mod presence;
mod restart;
mod retention;
mod rules;
mod sessions;
mod sharing;
mod state;
mod test_worker;
mod together;
