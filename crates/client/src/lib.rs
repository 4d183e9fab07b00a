#![doc = include_str!("lib.md")]

mod answer;
mod builder;
mod client;
mod connection_event;
mod conversation;
mod core;
mod data;
mod driver;
mod error;
mod event;
mod history;
mod positions;
mod publish;
mod random;
mod shared;
mod since;
mod subscription;
mod token;

pub use answer::{History, Published, Receipts};
pub use builder::Builder;
pub use client::Client;
pub use connection_event::{ConnectionEvent, ConnectionEvents, Recovery};
pub use core::Heartbeat;
pub use data::Data;
pub use error::{Error, Refused};
pub use event::{Event, Gap, GapReason, Member, Members, Publication};
pub use history::ReadHistory;
pub use offhook::{Backoff, Connect, Open};
pub use offhook_dialects::native::SUBPROTOCOL;
pub use offhook_dialects::native::client::{ErrorCode, Position, Retry};
pub use positions::{MemoryPositions, PositionStore};
pub use publish::{Publish, Publishing};
pub use since::Since;
pub use subscription::{Subscribe, Subscription};
