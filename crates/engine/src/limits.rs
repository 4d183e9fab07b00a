//! Every limit of the engine, in one place.

use std::time::Duration;

use crate::client_class::ClientClass;

/// The engine's limits. Each field states its default and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of one worker. Default 1,000,000: descriptors run out first.
    pub connections: usize,
    /// Subscriptions of one session. Default 128: every room and feed of one page. More cost
    /// memory, but no time.
    pub subscriptions: usize,
    /// The number of subscriptions of a closed connection that end immediately; of the others, as
    /// many end with each [`Engine::leave_on`](crate::Engine::leave_on). Default 256: some hundred
    /// microseconds, including the requests to the broker.
    pub leave_at_once: usize,
    /// Subscriptions to which replaced rules are applied at once; with more, other work is done in
    /// between. Default 256: a millisecond or two, if all of them end.
    pub rules_at_once: usize,
    /// Channels and filters of one worker with subscribers. Default 1,000,000: some 500 MB, and as
    /// many as the maximum number of connections.
    pub channels: usize,
    /// Unacknowledged publications of one acknowledged subscription. Default 1,024: those to
    /// redeliver after a reconnect must fit into a session's state.
    pub window: u16,
    /// Bytes of one publication's data. Default 64 KiB: a message, not a file.
    pub data_bytes: usize,
    /// Commands per second of one connection. Default 100: ten times what fast typing produces.
    pub commands_per_second: u32,
    /// Commands that one connection may send at once after a pause. Default 256: a page that
    /// subscribes to everything again after a reconnect.
    pub command_burst: u32,
    /// Publications per second of one connection. Default 50: a mouse pointer at half the display
    /// rate.
    pub publishes_per_second: u32,
    /// Publications that one connection may send at once after a pause. Default 200: what a client
    /// queues while offline.
    pub publish_burst: u32,
    /// Refusals for exceeding the rate after which the connection is closed. The count decreases by
    /// `commands_per_second` every second: a client that keeps sending more than twice the rate is
    /// closed. Default 1,000: a client that respects the first refusals never reaches it.
    pub flood: u32,
    /// Unanswered requests of one connection to the broker. Default 256: covers the publish burst,
    /// and one connection cannot fill the broker's queue.
    pub requests_per_connection: u16,
    /// Classes of clients with their own limits, by the class in their identity. Default none:
    /// without classes in tokens, all clients are treated alike.
    pub classes: Vec<ClientClass>,
    /// Unanswered requests of one worker to the broker. Default 16,384: half a second of a fast
    /// disk.
    pub requests: usize,
    /// Concurrent history reads of one worker. Default 64: enough to keep a disk busy, and few
    /// enough that publishes do not wait behind many reconnecting clients.
    pub reads: usize,
    /// Publications in one history page. Default 512.
    pub page_count: u32,
    /// Bytes in one history page. Default 128 KiB: more than a few outboxes could hold would only
    /// wait.
    pub page_bytes: usize,
    /// Bytes that a new connection may be handed out individually before its first
    /// `handle_writable`; less than its outbox holds, so that live publications fit as well.
    /// Default 64 KiB.
    pub outbox_bytes: usize,
    /// Publications of one channel kept in memory while a connection is behind. Default 256: the
    /// last steps of catching up need no read.
    pub recent_count: usize,
    /// Bytes of these publications. Default 256 KiB.
    pub recent_bytes: usize,
    /// Members in one presence answer. Default 1,000: more than a screen can list.
    pub members: u32,
    /// How long the broker may take to answer a command. Default 10 s: longer than an fsync of a
    /// slow disk under load.
    pub answer_within: Duration,
    /// The maximum time for a backend to answer a call. Default 30 s: a common limit of HTTP
    /// requests.
    pub call_within: Duration,
    /// How outdated the broker's copy of a durable session may be. Default 1 s: a busy subscriber
    /// is saved once per second rather than with each acknowledgement.
    pub save_after: Duration,
    /// Delay before a failed history read is retried. Default 500 ms.
    pub read_again_after: Duration,
    /// How long this worker's members stay if it dies. Default 30 s; renewed three times within
    /// that.
    pub presence_lease: Duration,
    /// How long a member stays after its connection was lost. Default 15 s: a phone that changes
    /// networks has reconnected by then.
    pub presence_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_000_000,
            subscriptions: 128,
            leave_at_once: 256,
            rules_at_once: 256,
            channels: 1_000_000,
            window: 1_024,
            data_bytes: 64 * 1024,
            commands_per_second: 100,
            command_burst: 256,
            publishes_per_second: 50,
            publish_burst: 200,
            flood: 1_000,
            requests_per_connection: 256,
            classes: Vec::new(),
            requests: 16_384,
            reads: 64,
            page_count: 512,
            page_bytes: 128 * 1024,
            outbox_bytes: 64 * 1024,
            recent_count: 256,
            recent_bytes: 256 * 1024,
            members: 1_000,
            answer_within: Duration::from_secs(10),
            call_within: Duration::from_secs(30),
            save_after: Duration::from_secs(1),
            read_again_after: Duration::from_millis(500),
            presence_lease: Duration::from_secs(30),
            presence_grace: Duration::from_secs(15),
        }
    }
}
