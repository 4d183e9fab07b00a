//! What one session may do, and how much the engine may hold.

use offhook_engine::Limits;

use super::group::group;
use super::kind::{Bytes, Many, Parsed, count, some, time};

group! {
    /// The budget for the memory that clients can make the process use. The log's queues and cache
    /// (`storage`) and the cost of idle connections are additional.
    pub struct Memory {
        /// The total of unsent output, of incomplete messages from clients, of data of HTTP/2 that was
        /// received and not read, and of what is held for channels in memory. From half of it on, connections fall back to reading from the log
        /// earlier; from three quarters on, new connections are refused; beyond it, the connections
        /// with the largest incomplete messages, and the connections of HTTP/2 with the most unread
        /// data, are closed, then the slowest ones, and can resume.
        /// Channels in memory take at most half of it: their oldest idempotency keys are removed
        /// first, then their oldest history, and then new channels are refused.
        ///
        /// A quarter of a small machine's memory; enough for 4,000 connections that do not read.
        bytes: usize = 1 << 30 => Bytes::new();
    }
}

group! {
    /// What one session may do, and how much the engine may hold. Rates are refilled continuously;
    /// a burst is what is allowed at once after a pause.
    for Limits {
        /// Subscriptions of one session.
        ///
        /// Enough for every room and feed of one page.
        subscriptions => some();

        /// Channels and filters of one worker with a subscription.
        ///
        /// About 500 MB, and as many as the maximum number of connections.
        channels => some();

        /// Unacknowledged publications of one acknowledged subscription.
        ///
        /// The publications to redeliver after a reconnect must fit into a session's state.
        window => some();

        /// Bytes of one publication's data.
        ///
        /// A message, not a file.
        data_bytes => Bytes::new();

        /// Commands per second of each connection.
        ///
        /// Ten times what fast typing produces.
        commands_per_second => some();

        /// Commands at once after a pause.
        ///
        /// Enough for a page that subscribes to everything again after a reconnect.
        command_burst => some();

        /// Publications per second of each connection.
        ///
        /// Positions of a mouse pointer at almost half the rate of a display.
        publishes_per_second => some();

        /// Publications at once after a pause.
        ///
        /// What a client queues while it is offline.
        publish_burst => some();

        /// Refusals for exceeding the rate after which the connection is closed. The count decreases
        /// by `commands_per_second` every second: a client that keeps sending more than twice the
        /// rate is closed.
        ///
        /// A client that slows down after the first refusals never reaches it.
        flood => some();

        /// How long a member stays after its connection was lost.
        ///
        /// A phone that changes networks has reconnected by then.
        presence_grace => time().or_none();

        /// How long members stay if their worker stops working.
        ///
        /// It is renewed three times within this time.
        presence_lease => time();

        /// Members in one presence answer.
        ///
        /// More than a screen can list.
        members => some();

        /// Unanswered requests of one connection to the broker.
        ///
        /// Covers the burst of publications, and one connection cannot fill the broker's queue.
        requests_per_connection => some();

        /// Classes of clients. Each entry is a name and the limits that differ from those of other
        /// clients: `commands_per_second`, `command_burst`, `publishes_per_second`,
        /// `publish_burst`, `subscriptions` and `requests_per_connection`. A client's class is the
        /// claim `class` of its token, or the field `class` of the backend's answer to `connect`.
        ///
        /// Without tokens, all clients are treated alike.
        classes => Many(Parsed::new("a class like \"backend publishes_per_second=2000 publish_burst=5000\"", "CLASS"));

        /// Unanswered requests of one worker to the broker.
        ///
        /// What a fast disk writes in half a second.
        requests => some();

        /// Concurrent history reads of one worker.
        ///
        /// Enough to keep a disk busy, and few enough that publishes do not wait behind many
        /// reconnecting clients.
        reads => some();

        /// Publications in one page of history.
        ///
        /// A page is read at once, so both its count and its bytes are limited.
        page_count => some();

        /// Bytes in one page of history.
        ///
        /// Half an outbox; more would only wait to be sent.
        page_bytes => Bytes::new();

        /// Publications of one channel kept in memory while a connection is behind.
        ///
        /// The last part of catching up then needs no reads.
        recent_count => count();

        /// Bytes of these publications.
        ///
        /// The size of an outbox.
        recent_bytes => Bytes::new();

        /// How long the broker may take to answer a command.
        ///
        /// Longer than an fsync of a slow disk under load.
        answer_within => time();

        /// How long the backend may take to answer a call.
        ///
        /// A common limit for HTTP requests.
        call_within => time();

        /// How outdated the broker's copy of a durable session may be.
        ///
        /// A busy subscriber is saved once per second rather than with each acknowledgement.
        save_after => time();

        /// Delay before a failed history read is retried.
        ///
        /// Short enough not to be noticed, long enough for an overloaded disk.
        read_again_after => time();
    }
}
