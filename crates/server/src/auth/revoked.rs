//! Whose tokens were revoked, and up to when they had been given.

use std::collections::{HashMap, VecDeque};

/// Users that are remembered. 65,536, in some 8 MB; the oldest are forgotten, whose tokens have
/// mostly expired.
const REMEMBERED: usize = 65_536;

/// Whose tokens were revoked. In memory: a restart forgets it, which the documentation says.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    up_to_ms: HashMap<Box<str>, u64>,
    /// In the order of revoking; some were revoked again since.
    order: VecDeque<(Box<str>, u64)>,
}

impl Revoked {
    pub(super) fn add(&mut self, user: &str, now_ms: u64) {
        self.up_to_ms.insert(user.into(), now_ms);
        self.order.push_back((user.into(), now_ms));
        while self.order.len() > REMEMBERED {
            let Some((user, at)) = self.order.pop_front() else {
                return;
            };
            if self.up_to_ms.get(&user) == Some(&at) {
                self.up_to_ms.remove(&user);
            }
        }
    }

    pub(super) fn covers(&self, user: &str, given_ms: Option<u64>) -> bool {
        let Some(up_to) = self.up_to_ms.get(user) else {
            return false;
        };
        // `iat` has whole seconds: what was given in the second of the revocation is covered.
        given_ms.is_none_or(|given| given <= *up_to)
    }
}
