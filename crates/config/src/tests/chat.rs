//! The channels of the chat.

use offhook_engine::Access;

use super::*;

fn rules(book: &RuleBook, channel: &str) -> Option<ChannelRules> {
    let channel = ChannelName::new(channel).expect("a name");
    book.rules(&channel).map(|rules| ChannelRules::clone(rules))
}

#[test]
fn the_chat_keeps_its_messages_but_not_who_is_writing() {
    let book = Config::default().rule_book();
    let typing = rules(&book, "talk-typing:lobby").expect("a channel");
    assert!(!typing.history.is_kept() && !typing.presence);
    let room = rules(&book, "talk:lobby").expect("a channel");
    assert!(room.history.is_kept() && room.presence);
    let ticker = rules(&book, "examples-live:ticker").expect("a channel");
    assert!(!ticker.history.is_kept() && ticker.presence);
    assert_eq!(ticker.slow, SlowPolicy::LatestByKey);
}

#[test]
fn the_chat_opens_no_channel_that_the_configuration_does_not_allow() {
    let mut config = Config::default();
    config.channels[0].pattern = "ticker/*".to_owned();
    assert_eq!(rules(&config.rule_book(), "talk-typing:lobby"), None);
    config.channels[0].pattern = "talk*".to_owned();
    config.channels[0].rules.publish = Access::Users;
    let typing = rules(&config.rule_book(), "talk-typing:lobby").expect("a channel");
    assert_eq!(typing.publish, Access::Users);
}

#[test]
fn without_the_chat_its_channels_have_no_special_rules() {
    let config = Config {
        talk: false,
        ..Config::default()
    };
    let typing = rules(&config.rule_book(), "talk-typing:lobby").expect("a channel");
    assert!(typing.history.is_kept());
}
