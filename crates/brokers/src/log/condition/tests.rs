use super::*;

fn channel(n: usize) -> ChannelName {
    ChannelName::new(&format!("room/{n:05}")).unwrap()
}

fn text(health: &Health) -> &str {
    match health {
        Health::Good => "",
        Health::Failing(why) | Health::Corrupt(why) => why,
    }
}

#[test]
fn what_an_operator_must_fix_comes_before_what_passes() {
    let condition = Condition::default();
    assert_eq!(condition.health(), Health::Good);
    condition.damaged(&channel(1), "offset 7".to_owned());
    assert!(matches!(condition.health(), Health::Corrupt(_)));
    condition.suspended(Some("compaction waits".to_owned()));
    let both = condition.health();
    assert!(text(&both).starts_with("compaction waits. Moreover, "));
    assert!(text(&both).contains("room/00001: offset 7"));
    condition.over_budget(Some("too large".to_owned()));
    assert_eq!(condition.health(), Health::Failing("too large".to_owned()));
    assert!(!condition.is_failing());
    condition.failing("no space".to_owned());
    assert!(condition.is_failing());
    assert_eq!(condition.health(), Health::Failing("no space".to_owned()));
    condition.broken("a file is missing".to_owned());
    let broken = Health::Corrupt("a file is missing".to_owned());
    assert_eq!(condition.health(), broken);
}

#[test]
fn a_log_that_recovered_is_good_except_for_its_damage() {
    let condition = Condition::default();
    condition.failing("no space".to_owned());
    condition.over_budget(Some("too large".to_owned()));
    condition.suspended(Some("compaction waits".to_owned()));
    condition.recovered();
    condition.over_budget(None);
    let suspended = Health::Corrupt("compaction waits".to_owned());
    assert_eq!(condition.health(), suspended);
    condition.suspended(None);
    assert_eq!(condition.health(), Health::Good);
    condition.damaged(&channel(1), "offset 7".to_owned());
    condition.recovered();
    assert!(matches!(condition.health(), Health::Corrupt(_)));
    condition.whole(&channel(1));
    assert_eq!(condition.health(), Health::Good);
    condition.damaged_index("the list of epochs".to_owned());
    assert!(matches!(condition.health(), Health::Corrupt(_)));
}

#[test]
fn damage_is_told_as_a_list_of_limited_length() {
    let told = |channels: usize, index: bool| {
        let condition = Condition::default();
        for n in 0..channels {
            condition.damaged(&channel(n), "bad".to_owned());
        }
        if index {
            condition.damaged_index("index".to_owned());
        }
        let health = condition.health();
        let list = text(&health).split_once("written: ").unwrap().1;
        list.split_once("; publishing").unwrap().0.to_owned()
    };
    assert_eq!(told(1, false), "channel room/00000: bad");
    assert_eq!(
        told(2, false),
        "channel room/00000: bad, channel room/00001: bad"
    );
    assert_eq!(told(0, true), "index");
    assert_eq!(told(1, true), "index, channel room/00000: bad");
    let all = told(NAMED, false);
    assert!(all.ends_with("channel room/00019: bad"), "{all}");
    let more = told(NAMED + 3, false);
    assert!(
        more.ends_with("room/00019: bad and 3 more channels"),
        "{more}"
    );
}

#[test]
fn a_limited_number_of_damaged_channels_is_remembered() {
    let condition = Condition::default();
    for n in 0..=REMEMBERED {
        condition.damaged(&channel(n), "bad".to_owned());
    }
    condition.damaged(&channel(0), "worse".to_owned());
    let found = condition.found();
    assert_eq!(found.damaged.len(), REMEMBERED);
    assert_eq!(found.damaged[&channel(0)], "worse");
}
