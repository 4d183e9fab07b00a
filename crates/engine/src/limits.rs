//! Every limit of the engine, in one place.

use std::time::Duration;

/// The engine's limits. Each field says its default and why it is that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of one worker. Default 1,000,000: descriptors run out before.
    pub connections: usize,
    /// Subscriptions of one session. Default 128: every room and feed of one page. More cost memory,
    /// and no time.
    pub subscriptions: usize,
    /// Subscriptions of a connection that has gone which end at once; of more, so many with each
    /// [`Engine::leave_on`](crate::Engine::leave_on). Default 256: some hundred microseconds, with what
    /// the broker is told of each.
    pub leave_at_once: usize,
    /// Channels and filters of one worker that somebody subscribes to. Default 1,000,000: some 500
    /// MB, and as many as there may be connections.
    pub channels: usize,
    /// Publications of one acknowledged subscription that the client is not done with, at most.
    /// Default 1,024: what is delivered again after a reconnect has to fit into a session's state.
    pub window: u16,
    /// Bytes of one publication's data. Default 64 KiB: a message, not a file.
    pub data_bytes: usize,
    /// Commands a second and connection. Default 100: ten times what fast typing makes.
    pub commands_per_second: u32,
    /// Commands one connection may send at once after a pause. Default 256: a page that re-subscribes
    /// everything after a reconnect.
    pub command_burst: u32,
    /// Publications a second and connection. Default 50: a mouse pointer at display rate halved.
    pub publishes_per_second: u32,
    /// Publications one connection may send at once after a pause. Default 200: what was queued offline.
    pub publish_burst: u32,
    /// Refusals for being too fast, without one success between, that close the connection.
    /// Default 1,000: a client that honours the first ones never comes near.
    pub flood: u32,
    /// Requests of one connection the broker has not answered yet. Default 256: covers the publish
    /// burst, and one connection can't fill the broker's queue.
    pub requests_per_connection: u16,
    /// Requests of one worker the broker has not answered yet. Default 16,384: half a second of
    /// a fast disk.
    pub requests: usize,
    /// History reads of one worker under way at once. Default 64: enough to keep a disk busy,
    /// few enough that publishes don't wait behind a herd.
    pub reads: usize,
    /// Publications in one history page. Default 512.
    pub page_count: u32,
    /// Bytes in one history page. Default 128 KiB: several outboxes full would only wait.
    pub page_bytes: usize,
    /// Bytes a new connection may be handed out one by one before its first `handle_writable`; less
    /// than its outbox holds, so that live publications have room beside. Default 64 KiB.
    pub outbox_bytes: usize,
    /// Publications of one channel kept in memory while some connection is behind. Default 256: the
    /// last steps of catching up need no read.
    pub recent_count: usize,
    /// Bytes of the same. Default 256 KiB.
    pub recent_bytes: usize,
    /// Members in one presence answer. Default 1,000: more than a list on a screen.
    pub members: u32,
    /// How long the broker may take to answer a command. Default 10 s: longer than a slow disk's
    /// fsync under load.
    pub answer_within: Duration,
    /// How long a backend may take to answer a call, at most. Default 30 s: as long as HTTP
    /// requests commonly may.
    pub call_within: Duration,
    /// How long the broker's copy of a durable session may be older than the session. Default 1 s: a
    /// busy subscriber is saved once a second and not with each acknowledgement.
    pub save_after: Duration,
    /// Pause before a failed history read is tried again. Default 500 ms.
    pub read_again_after: Duration,
    /// How long this worker's members stay when it dies without a word. Default 30 s; renewed
    /// three times in that.
    pub presence_lease: Duration,
    /// How long a member stays after its connection was lost. Default 15 s: a phone that changes
    /// network is back by then.
    pub presence_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_000_000,
            subscriptions: 128,
            leave_at_once: 256,
            channels: 1_000_000,
            window: 1_024,
            data_bytes: 64 * 1024,
            commands_per_second: 100,
            command_burst: 256,
            publishes_per_second: 50,
            publish_burst: 200,
            flood: 1_000,
            requests_per_connection: 256,
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
