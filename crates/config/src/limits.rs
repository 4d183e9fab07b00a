//! What one session may do, and what the engine may hold.

use offhook_engine::Limits;

use super::group::group;
use super::kind::{Bytes, count, some, time};

group! {
    /// The budget for what strangers can make the process hold, whatever they do. The log's queues and
    /// cache (`storage`) and what an idle connection takes come on top.
    pub struct Memory {
        /// What may wait to be sent, be under way from clients, and be held for channels in memory, all
        /// together. From half of it on, connections fall back to reading from the log sooner; from three
        /// quarters on, nobody new is accepted; beyond it the connections with the largest unfinished
        /// messages are closed, then the slowest, and can resume. Channels in memory take half of it at
        /// most: their oldest idempotency keys go first, then their oldest history, and then new channels
        /// are refused.
        ///
        /// A quarter of a small machine's memory: 4,000 connections that do not read at all.
        bytes: usize = 1 << 30 => Bytes::new();
    }
}

group! {
    /// What one session may do, and what the engine may hold. Rates are refilled all the time; a
    /// burst is what may come at once after a pause.
    for Limits {
        /// Subscriptions of one session.
        ///
        /// Every room and feed of one page.
        subscriptions => some();

        /// Channels and filters of one worker that somebody subscribes to.
        ///
        /// Some 500 MB, and as many as there may be connections.
        channels => some();

        /// Publications of one acknowledged subscription that the client is not done with.
        ///
        /// What is delivered again after a reconnect has to fit into a session's state.
        window => some();

        /// Bytes of one publication's data.
        ///
        /// A message, not a file.
        data_bytes => Bytes::new();

        /// Commands a second for each connection.
        ///
        /// Ten times what fast typing makes.
        commands_per_second => some();

        /// Commands at once.
        ///
        /// A page that re-subscribes everything after a reconnect.
        command_burst => some();

        /// Publications a second for each connection.
        ///
        /// A mouse pointer at display rate, halved.
        publishes_per_second => some();

        /// Publications at once.
        ///
        /// What was queued offline.
        publish_burst => some();

        /// Refusals for being too fast, without one success between, that close the connection.
        ///
        /// A client that honours the first ones never comes near.
        flood => some();

        /// How long a member stays after its connection was lost.
        ///
        /// A phone that changes network is back by then.
        presence_grace => time().or_none();

        /// How long a worker's members stay when it dies without a word.
        ///
        /// Renewed three times in that.
        presence_lease => time();

        /// Members in one answer about presence.
        ///
        /// More than a list on a screen.
        members => some();

        /// Requests of one connection that the broker has not answered yet.
        ///
        /// Covers the burst of publications, and one connection can't fill the broker's queue.
        requests_per_connection => some();

        /// Requests of one worker that the broker has not answered yet.
        ///
        /// Half a second of a fast disk.
        requests => some();

        /// History reads of one worker under way at once.
        ///
        /// Enough to keep a disk busy, few enough that publishes don't wait behind a herd.
        reads => some();

        /// Publications in one page of history.
        ///
        /// A page is read in one go, so it is bounded both ways.
        page_count => some();

        /// Bytes in one page of history.
        ///
        /// Several outboxes full would only wait.
        page_bytes => Bytes::new();

        /// Publications of one channel kept in memory while some connection is behind.
        ///
        /// The last steps of catching up need no read.
        recent_count => count();

        /// Bytes of the same.
        ///
        /// As many as an outbox holds.
        recent_bytes => Bytes::new();

        /// How long the broker may take to answer a command.
        ///
        /// Longer than a slow disk's fsync under load.
        answer_within => time();

        /// How long a backend may take to answer a call.
        ///
        /// As long as HTTP requests commonly may.
        call_within => time();

        /// How long the broker's copy of a durable session may be older than the session.
        ///
        /// A busy subscriber is saved once a second and not with each acknowledgement.
        save_after => time();

        /// Pause before a failed history read is tried again.
        ///
        /// Soon enough not to be noticed, seldom enough for a disk in trouble.
        read_again_after => time();
    }
}
