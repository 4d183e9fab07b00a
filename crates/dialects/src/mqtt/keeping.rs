//! Storing the note, and what waits until it is stored.

use bytes::Bytes;
use offhook_engine::{Command, CommandId, Reply};

use super::{
    Reason,
    dialect::{Mqtt, Purpose},
};
use crate::dialect::Intent;

impl Mqtt {
    /// Stores the note if it has changed. The command is queued before the messages whose keys are
    /// in the note, so that no message is published under a key that is not stored yet.
    pub(super) fn keep_note(&mut self) {
        let packets = std::mem::take(&mut self.after_note);
        let note_is_old = std::mem::take(&mut self.note_is_old);
        if !std::mem::take(&mut self.changed) || !self.is_durable {
            if note_is_old && self.is_durable {
                // Nothing relies on it, so that it need not be saved at once.
                let note = Bytes::from(self.session.note());
                let at_once = false;
                self.tell(Command::Remember { note, at_once });
            }
            // Behind those that wait for an earlier note.
            let last = self.last_note.and_then(|id| self.pending.get_mut(&id));
            if let Some(Purpose::Remember(waiting)) = last {
                return waiting.extend(packets);
            }
            return self.say_all(packets);
        }
        let note = Bytes::from(self.session.note());
        let at_once = true;
        let command = Command::Remember { note, at_once };
        self.ask(command, Purpose::Remember(packets));
        self.last_note = Some(CommandId(self.next_command));
        // After the leading `Done` commands: the note no longer contains those messages, and must
        // not be stored without them.
        let is_done = |intent: &&Intent| {
            let Intent::Command { command, .. } = intent else {
                return false;
            };
            matches!(command, Command::Done { .. })
        };
        let done = self.queue.iter().take_while(is_done).count();
        if let Some(remember) = self.queue.pop_back() {
            self.queue.insert(done.min(self.queue.len()), remember);
        }
    }

    pub(super) fn say_all(&mut self, packets: Vec<Vec<u8>>) {
        for bytes in packets {
            self.say_bytes(bytes);
        }
    }

    /// Handles the answer to storing the note. If it failed, nothing that relies on it may be sent.
    pub(super) fn remembered(&mut self, packets: Vec<Vec<u8>>, reply: &Reply) {
        if matches!(reply, Reply::Refused(_)) {
            let why = "the session could not be stored";
            return self.disconnect_for(Reason::UNSPECIFIED, why);
        }
        self.say_all(packets);
    }
}
