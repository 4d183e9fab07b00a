//! The rules that are recorded with the log.

use fjall::PersistMode;
use offhook_engine::{Epoch, RuleBook};

use super::{super::past_rules::PastRules, Store};

/// The entry in the keyspace `node`.
pub(super) const RULES: &str = "rules";

impl Store {
    /// Records the rules with which an epoch begins, and returns them together with earlier ones.
    pub(in crate::log) fn begin_rules(
        &self,
        epoch: Epoch,
        rules: &RuleBook,
    ) -> fjall::Result<PastRules> {
        let mut past = match self.node.get(RULES)? {
            Some(bytes) => PastRules::decode(&bytes).ok_or(fjall::Error::Unrecoverable)?,
            None => PastRules::default(),
        };
        if past.note(epoch, rules) {
            let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
            batch.insert(&self.node, RULES, past.encode());
            batch.commit()?;
        }
        Ok(past)
    }
}
