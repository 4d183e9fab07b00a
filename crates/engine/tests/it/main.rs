//! The engine's behaviour through its public surface.

mod limits;
mod model;
mod presence;
mod receipts;
mod recovery;
mod sessions;
mod slow_lines;
mod snapshots;
mod world;
