//! Requests to the writer.

use std::{sync::Arc, time::Instant};

use offhook_engine::{BrokerRequest, ChannelName, Draft, Key, Position, RequestId};

/// A request for the writer. The hub and the reader answer all others.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) id: RequestId,
    /// When it was requested.
    pub(super) at: Instant,
    pub(super) what: What,
}

/// The data to make durable. Boxed, since it moves from queue to queue.
#[derive(Debug)]
pub(super) enum What {
    Publish(Box<Draft>),
    Ack(Box<Ack>),
}

/// A consumer's cursor is moved, or only read.
#[derive(Debug)]
pub(super) struct Ack {
    pub(super) channel: ChannelName,
    pub(super) scope: Arc<str>,
    pub(super) consumer: Key,
    pub(super) position: Option<Position>,
}

impl Write {
    /// The request as the writer knows it, or unchanged if it is not for the writer.
    #[expect(clippy::result_large_err, reason = "the request goes on either way")]
    pub(super) fn of(request: BrokerRequest, at: Instant) -> Result<Self, BrokerRequest> {
        if let BrokerRequest::Publish { id, draft } = request {
            let what = What::Publish(Box::new(draft));
            return Ok(Self { id, at, what });
        }
        if let BrokerRequest::Ack {
            id,
            channel,
            scope,
            consumer,
            position,
        } = request
        {
            let what = What::Ack(Box::new(Ack {
                channel,
                scope,
                consumer,
                position,
            }));
            return Ok(Self { id, at, what });
        }
        Err(request)
    }

    /// The request as it was submitted.
    pub(super) fn into_request(self) -> BrokerRequest {
        let id = self.id;
        match self.what {
            What::Publish(draft) => BrokerRequest::Publish { id, draft: *draft },
            What::Ack(ack) => {
                let Ack {
                    channel,
                    scope,
                    consumer,
                    position,
                } = *ack;
                BrokerRequest::Ack {
                    id,
                    channel,
                    scope,
                    consumer,
                    position,
                }
            }
        }
    }

    pub(super) fn channel(&self) -> &ChannelName {
        match &self.what {
            What::Publish(draft) => &draft.channel,
            What::Ack(ack) => &ack.channel,
        }
    }

    /// Bytes that it holds while it waits: data, and tags, which may be more.
    pub(super) fn bytes(&self) -> usize {
        match &self.what {
            What::Publish(draft) => draft.weight(),
            What::Ack(_) => 0,
        }
    }
}
