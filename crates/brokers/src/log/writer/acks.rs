//! Consumers' cursors: staged into the same group as publications, durable with them.

use offhook_engine::{BrokerFailure, BrokerRequest, ChannelName, Key, Position};

use super::{Staged, Writer};
use crate::{
    cursors::{Cursor, MAX_CONSUMERS, abandoned},
    log::{
        open_error::failure_of,
        record::{cursor_key, of_user},
        store::Group,
    },
};

impl Writer {
    /// Moves a consumer's cursor with the group, or reads it; nothing for all other requests.
    pub(super) fn stage_ack(
        &mut self,
        group: &mut Group,
        request: &BrokerRequest,
    ) -> Option<Result<Staged, BrokerFailure>> {
        let BrokerRequest::Ack {
            channel,
            scope,
            consumer,
            position,
            ..
        } = request
        else {
            return None;
        };
        let acked = self.acked(group, channel, scope, consumer, *position);
        Some(acked.map(Staged::Acked))
    }

    fn acked(
        &mut self,
        group: &mut Group,
        channel: &ChannelName,
        scope: &str,
        consumer: &Key,
        position: Option<Position>,
    ) -> Result<Option<Position>, BrokerFailure> {
        let failed = |error| failure_of(&error);
        let now_ms = self.now_ms;
        let open = self.open(channel)?;
        if open.retained.head == 0 {
            // It has no number yet, and nothing that could be acknowledged.
            return Ok(None);
        }
        let number = open.retained.id;
        let key = cursor_key(number, scope, consumer);
        let before = group.cursor(&key).map_err(failed)?;
        let Some(position) = position else {
            return Ok(before.map(|before| before.position));
        };
        if before.is_none() {
            let mine = group.cursors(&of_user(number, scope)).map_err(failed)?;
            if mine.len() >= MAX_CONSUMERS {
                group.forget_cursor(abandoned(mine.into_iter(), now_ms)?);
            }
        }
        let cursor = Cursor::advanced(before, position, now_ms);
        group.move_cursor(key, cursor);
        Ok(Some(cursor.position))
    }
}
