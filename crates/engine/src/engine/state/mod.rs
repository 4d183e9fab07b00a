//! The state of the engine.

mod audience;
mod behind;
mod connection;
pub(super) mod durable;
mod feed;
mod group;
pub(super) mod ordered;
mod pending;
mod subscription;
pub(super) mod window;

pub(super) use audience::{Kind, live_place};
pub(super) use behind::{Behind, Covered, Missing, Waits, Why};
pub(super) use connection::{Connection, Extra, Subscriptions, Wanted};
pub(super) use feed::{Feed, Read};
pub(super) use group::{Group, Shared};
pub(super) use pending::{Again, Asked, Asker, Item, Opening, Pending};
pub(super) use subscription::{State, Subscription};
