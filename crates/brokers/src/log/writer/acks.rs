//! Consumers' cursors: staged into the same group as publications, and durable with them.

use offhook_engine::{BrokerFailure, Position, Resolution};

use super::Writer;
use crate::{
    cursors::{Cursor, MAX_CONSUMERS, abandoned, is_of_session},
    log::{
        open_error::failure_of,
        record::{cursor_key, of_user},
        store::Group,
        write::Ack,
    },
};

impl Writer {
    /// Moves a consumer's cursor with the group, or reads it.
    pub(super) fn acked(
        &mut self,
        group: &mut Group,
        ack: &Ack,
    ) -> Result<Option<Position>, BrokerFailure> {
        let Ack {
            channel,
            scope,
            consumer,
            position,
        } = ack;
        let failed = |error| failure_of(&error);
        let now_ms = self.now_ms;
        let epochs = std::sync::Arc::clone(&self.epochs);
        let retained = &self.channel(channel)?.retained;
        let resolve = |position| retained.lineage.resolve(&epochs, position, retained.head);
        // A position ahead of the head, or of another stream. Such a cursor would block every valid
        // one, since cursors never go back.
        let acknowledged = match position.map(resolve) {
            Some((Resolution::Continuous, offset)) => Some(retained.at(&epochs, offset)),
            Some(_) => return Err(BrokerFailure::UnknownPosition),
            None => None,
        };
        if retained.head == 0 {
            // The channel has no number yet, so nothing in it can be acknowledged.
            return Ok(None);
        }
        let number = retained.id;
        let key = cursor_key(number, scope, consumer);
        let before = group.cursor(&key).map_err(failed)?;
        // It may be there until its block is rewritten.
        let of_session = is_of_session(scope.as_bytes());
        let before = before.filter(|before| !(of_session && before.has_ended(now_ms)));
        let Some(position) = acknowledged else {
            return Ok(before.map(|before| before.position));
        };
        let same = before.map(|before| resolve(before.position));
        let further =
            matches!(same, Some((Resolution::Continuous, offset)) if offset > position.offset);
        let position = match before {
            Some(before) if further => before.position,
            _ => position,
        };
        if before.is_none() {
            let mine = group.cursors(&of_user(number, scope)).map_err(failed)?;
            if mine.len() >= MAX_CONSUMERS {
                group.forget_cursor(abandoned(mine.into_iter(), now_ms)?);
            }
        }
        let time_ms = self.stamp_ms;
        group.move_cursor(key, Cursor { position, time_ms });
        Ok(Some(position))
    }
}
