//! Keys of the HTTP API.

use offhook_auth::{ApiKey, ApiKeys, Scope, new_api_key};
use offhook_engine::ChannelName;

#[test]
fn an_api_key_is_found_by_its_hash_with_its_scopes() {
    let (key, other) = (new_api_key().unwrap(), new_api_key().unwrap());
    assert_ne!(key, other);
    let entry = ApiKey::of_everything(&key).to_string();
    let hash = entry.rsplit_once(' ').unwrap().1;
    let entry: ApiKey = format!("publish+read chat/* {hash}").parse().unwrap();
    let keys = ApiKeys::new(vec![ApiKey::of_everything(&other), entry]);
    let found = keys.find(&key).unwrap();
    assert!(found.is_for(Scope::Publish) && found.is_for(Scope::Read));
    assert!(!found.is_for(Scope::Sessions) && !found.is_for(Scope::Admin));
    assert!(found.reaches(&ChannelName::new("chat/1").unwrap()));
    assert!(!found.reaches(&ChannelName::new("news").unwrap()));
    assert!(keys.find(&other).unwrap().reaches_all());
    for wrong in [
        "",
        "ohk_",
        &key[1..],
        &key[..key.len() - 1],
        &key.to_lowercase(),
    ] {
        assert!(keys.find(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn an_entry_round_trips() {
    let hash = "ab".repeat(32);
    for text in [
        "publish+read chat/*",
        "admin *",
        "publish+read+sessions+admin *",
    ] {
        let text = format!("{text} sha256:{hash}");
        assert_eq!(text.parse::<ApiKey>().unwrap().to_string(), text);
    }
    let all: ApiKey = format!("* sha256:{hash}").parse().unwrap();
    assert!(Scope::ALL.iter().all(|scope| all.is_for(*scope)));
}

#[test]
fn a_key_in_place_of_its_hash_is_refused_without_showing_it() {
    let key = new_api_key().unwrap();
    for entry in [
        key.clone(),
        format!("publish {key}"),
        format!("fly sha256:{}", "ab".repeat(32)),
    ] {
        let error = entry.parse::<ApiKey>().unwrap_err().to_string();
        assert!(!error.contains(&key), "{error}");
    }
    let debug = format!("{:?}", ApiKey::of_everything(&key));
    assert!(!debug.contains(&key), "{debug}");
}
