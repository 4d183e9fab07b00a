//! The users whose tokens were revoked, and when.

use std::collections::{HashMap, VecDeque};

/// The maximum number of remembered users. 65,536, in some 8 MB; the oldest are forgotten, whose
/// tokens have mostly expired.
const REMEMBERED: usize = 65_536;

/// The users whose tokens were revoked. Only in memory: a restart forgets them, as documented.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    up_to_ms: HashMap<Box<str>, u64>,
    /// In the order of revocation; some were revoked again since.
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
        // `iat` has whole seconds: a token given in the second of the revocation counts as revoked.
        given_ms.is_none_or(|given| given <= *up_to)
    }
}
