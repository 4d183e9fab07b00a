use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn an_earlier_time_set_later_comes_first() {
    let (mut wheel, now) = (Wheel::default(), Instant::now());
    wheel.set(None, &Weak::new(), now + seconds(30), now);
    wheel.set(None, &Weak::new(), now + seconds(5), now);
    let due = wheel.next_due().unwrap();
    assert!(due >= now + seconds(5) && due < now + seconds(6));
    assert!(wheel.due(now + seconds(4)).is_empty());
    assert_eq!(wheel.due(now + seconds(6)).len(), 1);
    assert_eq!(wheel.due(now + seconds(31)).len(), 1);
}

#[test]
fn a_time_that_is_set_again_is_due_once() {
    let (mut wheel, now) = (Wheel::default(), Instant::now());
    let key = wheel.set(None, &Weak::new(), now + seconds(10), now);
    for at in [20, 15, 5, 25, 25] {
        wheel.set(Some(key), &Weak::new(), now + seconds(at), now);
    }
    assert!(wheel.due(now + seconds(24)).is_empty());
    assert_eq!(wheel.due(now + seconds(26)).len(), 1);
    assert_eq!(wheel.keys, 0);
}

#[test]
fn a_time_beyond_one_turn_of_the_wheel_is_kept() {
    let (mut wheel, now) = (Wheel::default(), Instant::now());
    wheel.set(None, &Weak::new(), now + seconds(3_600), now);
    let mut at = now;
    while let Some(next) = wheel.next_due() {
        at = next;
        if !wheel.due(at).is_empty() {
            break;
        }
    }
    assert!(at >= now + seconds(3_600) && at < now + seconds(3_601));
}

/// Ten connections at a time, each for one second, for an hour.
#[test]
fn closed_connections_leave_nothing_behind() {
    let (mut wheel, start) = (Wheel::default(), Instant::now());
    for second in 0..3_600 {
        let now = start + seconds(second);
        wheel.due(now);
        let keys: Vec<Key> = (0..10)
            .map(|_| wheel.set(None, &Weak::new(), now + seconds(30), now))
            .collect();
        for key in keys {
            wheel.forget(key);
        }
        assert!(wheel.keys <= 10 * 33, "{} keys", wheel.keys);
    }
    wheel.set(None, &Weak::new(), start + seconds(3_700), start);
    assert_eq!(wheel.due(start + seconds(3_701)).len(), 1);
    assert_eq!(wheel.keys, 0);
}
