//! The registry: who is present where, and questions that only the workers can answer.

use offhook_engine::Now;

use super::{members::Members, questions::Questions};

#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) members: Members,
    pub(crate) questions: Questions,
}

impl Registry {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            members: Members::new(now.instant),
            questions: Questions::default(),
        }
    }
}
