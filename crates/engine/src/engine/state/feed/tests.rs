use super::*;
use crate::channel_name::ChannelName;

fn feed() -> Feed {
    let name = ChannelName::new("a").unwrap();
    Feed::new(name.into(), Arc::new(ChannelRules::default()), 0)
}

fn slot(index: u32) -> Slot {
    Slot {
        index,
        generation: 1,
    }
}

#[test]
fn what_only_subscriptions_behind_need_is_freed_with_the_last_of_them() {
    let mut f = feed();
    f.fell_behind(slot(1));
    f.fell_behind(slot(2));
    f.not_behind(slot(1));
    f.settle();
    assert!(f.is_any_behind());
    f.not_behind(slot(2));
    assert!(!f.is_any_behind());
    f.settle();
    assert!(f.catching_up.is_none());
}

#[test]
fn what_is_awaited_keeps_what_subscriptions_behind_need() {
    let awaited: [fn(&mut CatchingUp); 4] = [
        |c| c.opening.push(slot(1)),
        |c| c.ahead.push(slot(1)),
        |c| c.awaits_state.push(slot(1)),
        |c| {
            c.reads.push(Read {
                id: RequestId(1),
                after: Position::new(1, 0),
                waiters: vec![slot(1)],
            });
        },
    ];
    for awaits in awaited {
        let mut f = feed();
        awaits(f.catching_up());
        f.settle();
        assert!(f.catching_up.is_some());
    }
}

#[test]
fn a_subscription_that_waits_again_and_again_is_not_listed_as_often() {
    let mut f = feed();
    f.fell_behind(slot(1));
    for _ in 0..1_000 {
        f.awaits_more(slot(1));
        // It has ended since.
        f.awaits_more(slot(2));
    }
    let listed = f.take_ahead();
    assert!(listed.len() <= 20, "{}", listed.len());
    assert!(listed.contains(&slot(1)));
}
