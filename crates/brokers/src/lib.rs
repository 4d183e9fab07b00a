//! Brokers assign positions to publications, retain them, and deliver them to workers.
//!
//! [`Broker`] is the contract; [`Memory`] keeps everything in memory, [`Log`] keeps channels with
//! history durably on disk. Both are used in the same way:
//!
//! - A worker attaches with a [`Mailbox`] and passes its engine's requests to [`Broker::submit`],
//!   which never waits for a disk.
//! - Answers and updates arrive in the mailbox, whose wake function wakes the worker's event loop.
//! - The server calls [`Broker::tick`] about once a second: brokers do not read a clock.
//!
//! There is no async runtime here: a mailbox is a bounded queue, and the log uses plain threads.
//!
//! ```
//! use std::{sync::{Arc, mpsc}, time::Instant};
//! use offhook_brokers::{Broker, Mailbox, Memory};
//! use offhook_engine::*;
//!
//! let now = Now { instant: Instant::now(), unix_ms: 1_700_000_000_000 };
//! let broker = Memory::new(Arc::new(RuleBook::everything(ChannelRules::default())), now);
//! let (wake, woken) = mpsc::sync_channel(1);
//! let mailbox = Arc::new(Mailbox::new(1 << 20, move || wake.try_send(()).unwrap_or_default()));
//! let worker = broker.attach(Arc::clone(&mailbox));
//!
//! let draft = Draft {
//!     channel: ChannelName::new("chat")?,
//!     data: "\"hello\"".into(),
//!     format: Format::Json,
//!     tags: Tags::default(),
//!     publisher: None,
//!     key: Some(Key::new("once")?),
//!     time_ms: now.unix_ms,
//! };
//! broker.submit(worker, BrokerRequest::Publish { id: RequestId(1), draft });
//! woken.recv()?;
//! let events = mailbox.take();
//! assert!(matches!(events[..], [BrokerEvent::Published { duplicate: false, .. }]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod broker;
mod changes;
mod cursors;
mod durations;
mod hub;
mod lineage;
mod log;
mod mailbox;
mod memory;
mod values;

pub use broker::{Broker, Budget, Health, Held, Occupied, Timings, WorkerId};
pub use changes::{Changes, ChannelChange};
pub use durations::{CountedDurations, Durations};
pub use log::{
    ChannelSummary, CheckReport, Durability, Entry, Log, LogOptions, LogView, OpenError, Snapshot,
    SnapshotError, private_directory,
};
pub use mailbox::Mailbox;
pub use memory::Memory;
