//! The registry: members, sessions' states, groups with shared subscriptions, and questions that only the workers can answer.

use offhook_engine::Now;

use super::{members::Members, questions::Questions, sessions::Sessions, sharing::Groups};

#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) members: Members,
    pub(crate) questions: Questions,
    pub(crate) sessions: Sessions,
    pub(crate) shares: Groups,
}

impl Registry {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            members: Members::new(now.instant),
            questions: Questions::default(),
            sessions: Sessions::default(),
            shares: Groups::default(),
        }
    }
}
