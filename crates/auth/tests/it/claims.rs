//! What a token says, and what it may not say.

use offhook_auth::{MAX_GRANTS, TokenError, UserGrant, inspect};
use offhook_engine::{Access, ChannelName, Identity, Verbs};
use serde_json::{Value, json};

use super::{NOW, claims, signer, verifier};

fn identity(more: &Value, of_users: &[UserGrant]) -> Result<Identity, TokenError> {
    let mut claims = claims();
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let token = signer().sign(&claims).unwrap();
    Ok(verifier().verify(&token, NOW)?.identity(of_users))
}

fn may(identity: &Identity, verb: Verbs, channel: &str) -> bool {
    identity.may(Access::Granted, verb, &ChannelName::new(channel).unwrap())
}

#[test]
fn a_token_is_converted_to_an_identity() {
    let token = json!({
        "info": { "name": "Ann" },
        "grants": { "chat/*": "subscribe+publish", "news": ["read"], "own/{user}": "*" },
    });
    let ann = identity(&token, &[]).unwrap();
    assert_eq!(
        (&*ann.user, &ann.info[..]),
        ("ann", &br#"{"name":"Ann"}"#[..])
    );
    assert!(ann.info_is_fixed);
    // The leeway of 30 s belongs to the end.
    assert_eq!(ann.ends_ms, Some(NOW + 3_600_000 + 30_000));
    assert!(may(&ann, Verbs::PUBLISH, "chat/1") && may(&ann, Verbs::SUBSCRIBE, "chat/1"));
    assert!(!may(&ann, Verbs::HISTORY, "chat/1"));
    assert!(may(&ann, Verbs::HISTORY, "news") && !may(&ann, Verbs::PUBLISH, "news"));
    assert!(may(&ann, Verbs::STATE, "own/ann") && !may(&ann, Verbs::STATE, "own/bob"));
    assert_eq!(ann.class, None);
}

#[test]
fn a_token_names_the_class_whose_limits_apply() {
    let backend = identity(&json!({ "class": "backend" }), &[]).unwrap();
    assert_eq!(backend.class.as_deref(), Some("backend"));
    for wrong in [
        json!(""),
        json!("a b"),
        json!("x".repeat(65)),
        json!("\u{e9}"),
    ] {
        let refused = identity(&json!({ "class": wrong }), &[]).unwrap_err();
        assert!(refused.to_string().contains("class"), "{refused}");
    }
}

#[test]
fn grants_for_all_users_contain_the_users_own_name() {
    let grant: UserGrant = "publish+subscribe private/{user}/*".parse().unwrap();
    let ann = identity(&json!({}), std::slice::from_ref(&grant)).unwrap();
    assert!(may(&ann, Verbs::PUBLISH, "private/ann/inbox"));
    assert!(!may(&ann, Verbs::PUBLISH, "private/bob/inbox"));
    assert_eq!(grant.to_string(), "publish+subscribe private/{user}/*");
    for wrong in ["", "publish", "fly private/*", "+ x", " x"] {
        assert!(wrong.parse::<UserGrant>().is_err(), "{wrong:?}");
    }
}

#[test]
fn claims_of_the_wrong_type_are_refused_by_name() {
    let long = "x".repeat(300);
    let many: Value = (0..=MAX_GRANTS)
        .map(|n| (n.to_string(), json!("*")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    for (claims, what) in [
        (json!({ "sub": "" }), "sub"),
        (json!({ "sub": null }), "sub"),
        (json!({ "sub": "a\u{0}b" }), "sub"),
        (json!({ "sub": long }), "sub"),
        (json!({ "sub": 7 }), "claims"),
        (json!({ "info": long }), "info"),
        (json!({ "grants": { "x": "fly" } }), "grants"),
        (json!({ "grants": { "x": "" } }), "grants"),
        (json!({ "grants": { "": "*" } }), "grants"),
        (json!({ "grants": many }), "grants"),
        (json!({ "grants": ["x"] }), "claims"),
        (json!({ "exp": "soon" }), "claims"),
        (json!({ "exp": -1 }), "exp"),
        (json!({ "nbf": 1e300 }), "nbf"),
        (json!({ "channel": "a*" }), "channel"),
    ] {
        let error = identity(&claims, &[]).unwrap_err().to_string();
        assert!(error.contains(what), "{claims}: {error}");
    }
}

#[test]
fn a_subscription_token_grants_reading_its_channel_until_it_expires() {
    let token = json!({ "channel": "private/7", "exp": NOW / 1000 + 60 });
    let token = signer().sign(&token).unwrap();
    let claims = verifier().verify(&token, NOW).unwrap();
    let grant = claims.subscription().unwrap();
    assert_eq!(grant.pattern.as_str(), "private/7");
    assert!(grant.verbs.contains(Verbs::SUBSCRIBE) && !grant.verbs.contains(Verbs::PUBLISH));
    assert_eq!((claims.user(), grant.ends_ms), ("", Some(NOW + 90_000)));
}

#[test]
fn a_token_can_be_decoded_without_verifying_it() {
    let token = signer().named("k1").sign(&claims()).unwrap();
    let parts = inspect(&token).unwrap();
    let header: Value = serde_json::from_str(&parts.header).unwrap();
    assert_eq!(header, json!({ "alg": "HS256", "typ": "JWT", "kid": "k1" }));
    assert_eq!(
        serde_json::from_str::<Value>(&parts.claims).unwrap(),
        claims()
    );
    for wrong in ["", "a.b", "a.b.c.d", "!!.!!.!!", "AAAA.AAAA.AAAA"] {
        assert!(inspect(wrong).is_err(), "{wrong}");
    }
}
