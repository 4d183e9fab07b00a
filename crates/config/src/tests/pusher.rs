use super::*;

fn apps(entries: &[&str]) -> Given {
    let entries: Vec<_> = entries.iter().map(|entry| format!("{entry:?}")).collect();
    file(&format!("[pusher]\napps = [{}]", entries.join(", ")))
}

#[test]
fn apps_are_read_and_their_secrets_never_shown() {
    let loaded = apps(&[
        "1 app-key a-secret-of-20-bytes",
        "2 key a-secret-of-20-bytes acme/",
    ])
    .good();
    let prefixes: Vec<_> = loaded
        .config
        .pusher
        .apps
        .iter()
        .map(AppKey::prefix)
        .collect();
    assert_eq!(prefixes, ["", "acme/"]);
    assert!(!loaded.effective().contains("a-secret-of-20-bytes"));
    assert!(!format!("{:?}", loaded.config.pusher).contains("a-secret-of-20-bytes"));
}

#[test]
fn apps_that_would_share_channels_or_keys_are_refused() {
    let wrong = apps(&["1 a a-secret-of-20-bytes", "2 b a-secret-of-20-bytes"]).wrong();
    assert!(wrong.contains("would share all channels"), "{wrong}");
    let wrong = apps(&["1 a a-secret-of-20-bytes", "1 b a-secret-of-20-bytes x/"]).wrong();
    assert!(wrong.contains("have different prefixes"), "{wrong}");
    let wrong = apps(&["1 a a-secret-of-20-bytes", "2 a a-secret-of-20-bytes x/"]).wrong();
    assert!(wrong.contains("two entries have the key \"a\""), "{wrong}");
    let wrong = apps(&["1 a short"]).wrong();
    assert!(wrong.contains("at least 16 bytes"), "{wrong}");
    apps(&["1 a a-secret-of-20-bytes", "1 b another-secret-20"]).good();
}

#[test]
fn private_channels_of_apps_need_a_grant_unless_their_own_rule_opens_them() {
    let text = "[pusher]\napps = [\"1 a a-secret-of-20-bytes\", \"2 b a-secret-of-20-bytes x/\"]\n\
                [[channels]]\npattern = \"presence-lobby\"\n\
                [[channels]]\npattern = \"private-news\"\npublish = \"nobody\"\nsubscribe = \"users\"\n\
                [[channels]]\npattern = \"*\"\nsubscribe = \"users\"";
    let book = file(text).good().config.rule_book();
    let access = |name: &str| {
        let name = ChannelName::new(name).unwrap();
        let rules = book.rules(&name).unwrap();
        (rules.publish, rules.subscribe)
    };
    let granted = (Access::Granted, Access::Granted);
    for name in [
        "private-a",
        "presence-a",
        "private-encrypted-a",
        "#server-to-user-7",
        "x/private-a",
    ] {
        assert_eq!(access(name), granted, "{name}");
    }
    assert_eq!(
        access("presence-lobby"),
        (Access::Everyone, Access::Everyone)
    );
    assert_eq!(access("private-news"), (Access::Nobody, Access::Users));
    assert_eq!(access("chat"), (Access::Everyone, Access::Users));
    assert_eq!(access("y/private-a"), (Access::Everyone, Access::Users));
    let without = file("").good().config.rule_book();
    let name = ChannelName::new("private-a").unwrap();
    assert_eq!(without.rules(&name).unwrap().subscribe, Access::Everyone);
}

#[test]
fn the_configuration_of_the_migration_page_is_accepted() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/migrate/from-pusher.md"
    );
    let page = fs::read_to_string(path).unwrap();
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let config = file(text).good().config;
    assert_eq!(config.pusher.apps.len(), 2);
    assert!(config.pusher.client_events);
}

#[test]
fn another_secret_of_an_app_is_a_change() {
    let before = apps(&["1 a a-secret-of-20-bytes"]).good().config;
    let after = apps(&["1 a another-secret-of-20"]).good().config;
    let changed = changes(&before, &after);
    let keys: Vec<_> = changed
        .iter()
        .map(|change| (&*change.key, change.is_live))
        .collect();
    assert_eq!(keys, [("pusher.apps", false)]);
    assert!(!format!("{changed:?}").contains("secret-of-20"));
}

fn webhook(entry: &str) -> Given {
    file(&format!(
        "[pusher]\napps = [\"1 key a-secret-of-20-bytes\"]\nwebhooks = [{entry:?}]"
    ))
}

#[test]
fn a_webhook_is_an_app_a_url_and_events() {
    let entry = "1 https://app.example.com/pusher channel_occupied client_event";
    let loaded = webhook(entry).good();
    let hook = &loaded.config.pusher.webhooks[0];
    let events = [PusherEvent::ChannelOccupied, PusherEvent::ClientEvent];
    assert_eq!((&*hook.app, &hook.events[..]), ("1", &events[..]));
    assert!(loaded.effective().contains(entry));
}

#[test]
fn a_webhook_of_an_unknown_app_or_without_known_events_is_refused() {
    for (entry, why) in [
        ("2 https://a.example/ cache_miss", "no app has the id"),
        ("1 https://a.example/", "no events after the URL"),
        ("1 https://a.example/ cache_hit", "is not an event"),
        (
            "1 ftp://a.example/ cache_miss",
            "expected https://host/path",
        ),
        ("1", "expected the id of an app, a URL and events"),
    ] {
        let wrong = webhook(entry).wrong();
        assert!(wrong.contains(why), "{entry}: {wrong}");
    }
}
