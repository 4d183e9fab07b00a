//! The cached state of a stream on disk: enough to follow it and to start a read without the writer
//! and reader threads.

use std::{collections::VecDeque, sync::Arc};

use offhook_engine::{BrokerRequest, StreamState};

use crate::{broker::WorkerId, lineage::Lineage};

/// ```text
///          a request              the reader has loaded it
/// (none) ────────────▶ Loading ─────────────────────────────▶ Open
///    ▲                    │ it can't be read                    │
///    └────────────────────┴─────────────────────────────────────┘
///                             idle, or the store was opened again
/// ```
#[derive(Debug)]
pub(crate) enum Durable {
    /// Requests that arrived in the meantime, in order.
    Loading(VecDeque<(WorkerId, BrokerRequest)>),
    /// As of the last commit.
    Open(View),
}

/// A stream as of the last commit, which is the state that followers know.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The channel's number in keys.
    pub(crate) number: u32,
    pub(crate) stream: StreamState,
    pub(crate) lineage: Arc<Lineage>,
    /// When it was last followed or read.
    pub(crate) used_ms: u64,
}
