use super::*;
use crate::command::Since;

#[test]
fn two_facts_in_one_byte_are_independent() {
    let connection = ConnectionId {
        index: 1,
        generation: 1,
    };
    let feed = Slot {
        index: 1,
        generation: 1,
    };
    let opening = Opening {
        command: None,
        since: Since::Now,
        restored: false,
        regained: false,
        members: false,
        earlier: None,
        asked: None,
    };
    let mut s = Subscription::new(connection, feed, None, opening);
    assert!(!s.is_vouched());
    assert!(!s.set_owed(true));
    assert!(!s.is_vouched());
    s.set_vouched();
    assert!(s.set_owed(true) && s.is_vouched());
    assert!(s.set_owed(false) && s.is_vouched());
    assert!(!s.set_owed(false) && s.is_vouched());
    assert!(!s.set_owed(true) && s.set_owed(true) && s.set_owed(true));
    s.set_vouched();
    assert!(s.is_vouched());
    assert!(Subscription::is_number(SubscriptionId(0)));
    assert!(!Subscription::is_number(SubscriptionId(NONE)));
}
