//! Connections that have ended.

use std::sync::Arc;

use offhook_engine::{Progress, SessionId};

use super::{Recorded, record::Record, recorded};

/// A connection that has ended.
#[derive(Debug)]
pub(in crate::worker) struct Ended {
    pub(in crate::worker) number: Option<u32>,
    pub(in crate::worker) session: SessionId,
    pub(in crate::worker) user: Arc<str>,
    pub(in crate::worker) at_ms: u64,
    pub(in crate::worker) end: End,
    /// How far its subscriptions had progressed.
    pub(in crate::worker) progress: Box<[Progress]>,
    /// Whether there were more subscriptions than `progress` contains.
    pub(in crate::worker) has_more: bool,
    pub(super) record: Option<Box<Record>>,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The server closed it, for this reason.
    Closed(&'static str),
    /// The client announced that it was leaving.
    Left(LastWords),
    /// The connection was lost, or the client closed it without announcing that it was leaving.
    Lost(LastWords),
}

/// What the transport knows about the end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastWords {
    /// The close code, if the transport has codes.
    pub(crate) code: Option<u16>,
    pub(crate) reason: Box<str>,
}

/// A connection that is about to be removed.
pub(in crate::worker) struct Leaver {
    pub(in crate::worker) number: Option<u32>,
    pub(in crate::worker) session: SessionId,
    pub(in crate::worker) user: Arc<str>,
    pub(in crate::worker) progress: Vec<Progress>,
    pub(in crate::worker) has_more: bool,
}

impl Ended {
    pub(super) fn weight(&self) -> usize {
        let record = self.record.as_deref().map_or(0, Record::weight);
        let names = self.progress.iter();
        let names = names.map(|one| one.subscription.target.as_str().len());
        let reason = match &self.end {
            End::Closed(_) => 0,
            End::Left(words) | End::Lost(words) => words.reason.len(),
        };
        let texts = names.sum::<usize>() + self.user.len() + reason;
        size_of::<Self>() + size_of_val(&*self.progress) + texts + record
    }

    /// What is recorded about the connection.
    pub(in crate::worker) fn recorded(&self) -> Recorded {
        let record = self.record.as_deref();
        record.map(recorded).unwrap_or_default()
    }
}
