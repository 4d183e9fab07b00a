//! Attacks on tokens, each named, and what keeps it out.

use data_encoding::BASE64URL_NOPAD;
use offhook_auth::{
    Algorithm, Key, KeySet, MAX_TOKEN, Rules, Signer, TokenError, UserGrant, Verifier,
};
use offhook_engine::{Access, ChannelName, Verbs};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{NOW, SECRET, claims, signer, verifier, with_rules};

/// A token with this header, these claims and whatever signature.
fn by_hand(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let (header, claims) = (header.to_string(), claims.to_string());
    let parts = [header.as_bytes(), claims.as_bytes(), signature];
    parts.map(part).join(".")
}

fn refused(token: &str) -> TokenError {
    verifier().verify(token, NOW).unwrap_err()
}

#[test]
fn an_unsigned_token_is_refused_in_any_spelling_of_none() {
    for none in ["none", "None", "NONE", "nOnE", ""] {
        let token = by_hand(&json!({ "alg": none }), &claims(), b"");
        assert_eq!(refused(&token), TokenError::Algorithm(none.to_owned()));
    }
}

#[test]
fn arrays_are_refused_as_header_and_claims() {
    let signed = |header: &str, claims: &str| {
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let message = format!("{}.{}", part(header), part(claims));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET);
        let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
    };
    let header = r#"{"alg":"HS256"}"#;
    for token in [
        signed(r#"["HS256",null,null,null]"#, &claims().to_string()),
        signed(
            header,
            r#"["ann",4102444800,null,null,null,null,null,null,null]"#,
        ),
    ] {
        let error = refused(&token);
        assert!(matches!(error, TokenError::Unreadable { .. }), "{error}");
    }
}

#[test]
fn a_public_key_is_not_accepted_as_an_hmac_secret() {
    // The attacker signs by HMAC with the public key, which everybody knows, as the secret.
    let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let public = aws_lc_rs::signature::KeyPair::public_key(&pair);
    let der: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
        aws_lc_rs::encoding::AsDer::as_der(public).unwrap();
    let verifier = Verifier::new(KeySet::new(vec![Key::from_der(der.as_ref()).unwrap()]));
    for secret in [der.as_ref(), public.as_ref()] {
        let forged = Signer::hmac(Algorithm::Hs256, secret).unwrap();
        let forged = forged.sign(&claims()).unwrap();
        let refused = verifier.verify(&forged, NOW).unwrap_err();
        assert!(matches!(refused, TokenError::NoKey { .. }), "{refused}");
    }
}

#[test]
fn a_key_verifies_only_its_own_algorithm() {
    let token = Signer::hmac(Algorithm::Hs512, SECRET).unwrap();
    let error = refused(&token.sign(&claims()).unwrap());
    assert!(
        matches!(
            error,
            TokenError::NoKey {
                algorithm: Algorithm::Hs512,
                ..
            }
        ),
        "{error}"
    );
    // The header says another algorithm than the signature is of.
    let token = signer().sign(&claims()).unwrap();
    let (_, rest) = token.split_once('.').unwrap();
    let header = BASE64URL_NOPAD.encode(br#"{"alg":"EdDSA"}"#);
    assert!(matches!(
        refused(&format!("{header}.{rest}")),
        TokenError::NoKey { .. }
    ));
}

#[test]
fn a_token_with_any_byte_changed_is_refused() {
    let token = signer().sign(&claims()).unwrap();
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(verifier().verify(&changed, NOW).is_err(), "{at}");
    }
}

#[test]
fn a_truncated_or_missing_signature_is_refused() {
    let token = signer().sign(&claims()).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    for length in 0..signature.len() {
        let token = format!("{signed}.{}", &signature[..length]);
        assert!(verifier().verify(&token, NOW).is_err(), "{length}");
    }
    assert!(verifier().verify(signed, NOW).is_err());
}

#[test]
fn the_error_for_an_expired_token_says_since_when() {
    let token = signer()
        .sign(&json!({ "sub": "ann", "exp": NOW / 1000 - 100 }))
        .unwrap();
    assert_eq!(refused(&token), TokenError::Expired { seconds: 100 });
    let within = signer()
        .sign(&json!({ "sub": "ann", "exp": NOW / 1000 - 29 }))
        .unwrap();
    assert!(verifier().verify(&within, NOW).is_ok(), "within the leeway");
}

#[test]
fn a_token_without_an_expiry_is_refused_unless_allowed() {
    let token = signer().sign(&json!({ "sub": "ann" })).unwrap();
    assert_eq!(refused(&token), TokenError::Missing("exp"));
    let rules = Rules {
        needs_end: false,
        ..Rules::default()
    };
    let claims = with_rules(rules).verify(&token, NOW).unwrap();
    assert_eq!(claims.ends_ms(), None);
}

#[test]
fn a_token_that_is_not_valid_yet_is_refused() {
    let at = |nbf: u64| {
        let mut claims = claims();
        claims["nbf"] = nbf.into();
        signer().sign(&claims).unwrap()
    };
    assert_eq!(
        refused(&at(NOW / 1000 + 60)),
        TokenError::NotYet { seconds: 60 }
    );
    assert!(
        verifier().verify(&at(NOW / 1000 + 30), NOW).is_ok(),
        "within the leeway"
    );
}

#[test]
fn a_token_for_another_audience_is_refused() {
    let to = |aud: Value| {
        let mut claims = claims();
        claims["aud"] = aud;
        signer().sign(&claims).unwrap()
    };
    let rules = Rules {
        audiences: vec!["chat".to_owned()],
        ..Rules::default()
    };
    let ours = with_rules(rules);
    for good in [json!("chat"), json!(["other", "chat"])] {
        assert!(ours.verify(&to(good), NOW).is_ok());
    }
    for wrong in [
        json!("other"),
        json!(["other"]),
        json!([]),
        json!("cha"),
        json!("chatt"),
    ] {
        assert_eq!(
            ours.verify(&to(wrong), NOW).unwrap_err(),
            TokenError::Audience
        );
    }
    let without = signer().sign(&claims()).unwrap();
    assert_eq!(
        ours.verify(&without, NOW).unwrap_err(),
        TokenError::Missing("aud")
    );
    // RFC 7519 §4.1.3: who has no name here is not among the audience.
    assert_eq!(refused(&to(json!("chat"))), TokenError::Audience);
}

#[test]
fn a_token_of_another_issuer_is_refused() {
    let rules = Rules {
        issuers: vec!["https://login".to_owned()],
        ..Rules::default()
    };
    let ours = with_rules(rules);
    let mut claims = claims();
    claims["iss"] = "https://login".into();
    assert!(ours.verify(&signer().sign(&claims).unwrap(), NOW).is_ok());
    claims["iss"] = "https://login.evil".into();
    let refused = ours.verify(&signer().sign(&claims).unwrap(), NOW);
    assert_eq!(refused.unwrap_err(), TokenError::Issuer);
}

#[test]
fn a_kid_with_a_path_a_url_or_a_query_is_treated_as_an_unknown_key() {
    let named = Key::hmac(Algorithm::Hs256, SECRET).unwrap().named("k1");
    let verifier = Verifier::new(KeySet::new(vec![named]));
    for kid in [
        "../../../../dev/null",
        "/dev/null",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "k1' OR '1'='1",
        "k1\0",
        "",
    ] {
        // /dev/null as a key is the empty secret.
        let token = by_hand(&json!({ "alg": "HS256", "kid": kid }), &claims(), &[0; 32]);
        let refused = verifier.verify(&token, NOW).unwrap_err();
        assert!(
            matches!(refused, TokenError::NoKey { .. }),
            "{kid}: {refused}"
        );
    }
}

#[test]
fn a_key_inside_a_token_is_not_used_to_verify_it() {
    let signer = Signer::hmac(Algorithm::Hs256, b"the attacker's own secret, 32 by").unwrap();
    let own = signer.sign(&claims()).unwrap();
    let signature = own.rsplit_once('.').unwrap().1;
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    for name in ["jwk", "jku", "x5c", "x5u"] {
        let mut header = json!({ "alg": "HS256" });
        header[name] = json!("https://evil.example/keys");
        let token = by_hand(&header, &claims(), &signature);
        assert_eq!(refused(&token), TokenError::Signature, "{name}");
    }
}

#[test]
fn a_token_with_unknown_critical_headers_is_refused() {
    for header in [
        json!({ "alg": "HS256", "crit": ["exp"] }),
        json!({ "alg": "HS256", "b64": false }),
    ] {
        assert_eq!(
            refused(&by_hand(&header, &claims(), b"x")),
            TokenError::Extension
        );
    }
}

#[test]
fn a_token_with_a_duplicate_name_is_refused() {
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let header = part(r#"{"alg":"HS256","alg":"none"}"#);
    let token = format!("{header}.{}.", part(&claims().to_string()));
    assert!(matches!(
        refused(&token),
        TokenError::Unreadable { part: "header", .. }
    ));
    // Signed, so that the claims are looked at.
    #[derive(serde::Serialize)]
    struct Twice {
        sub: &'static str,
        #[serde(rename = "sub")]
        again: &'static str,
        exp: u64,
    }
    let twice = Twice {
        sub: "ann",
        again: "root",
        exp: NOW / 1000 + 60,
    };
    let token = signer().sign(&twice).unwrap();
    assert!(matches!(
        refused(&token),
        TokenError::Unreadable { part: "claims", .. }
    ));
}

#[test]
fn a_user_name_with_wildcards_grants_no_other_users_channels() {
    let grant: UserGrant = "* private/{user}/*".parse().unwrap();
    let channel = ChannelName::new("private/bob/inbox").unwrap();
    for name in ["*", "b*", "bob/inbox", "{user}", "bob/../bob", "+", "#"] {
        let mut claims = claims();
        claims["sub"] = name.into();
        let token = signer().sign(&claims).unwrap();
        let claims = verifier().verify(&token, NOW).unwrap();
        let identity = claims.identity(std::slice::from_ref(&grant));
        assert!(
            !identity.may(Access::Granted, Verbs::SUBSCRIBE, &channel),
            "{name}"
        );
    }
}

#[test]
fn an_oversized_token_is_refused_without_parsing() {
    let mut claims = claims();
    claims["padding"] = "x".repeat(MAX_TOKEN).into();
    let error = refused(&signer().sign(&claims).unwrap());
    assert!(
        matches!(
            error,
            TokenError::TooLong {
                limit: MAX_TOKEN,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn no_error_repeats_the_token_or_its_claims() {
    let mut claims = claims();
    claims["sub"] = 7.into();
    claims["password"] = "hunter2".into();
    let token = signer().sign(&claims).unwrap();
    let error = refused(&token).to_string();
    assert!(
        !error.contains("hunter2") && !error.contains(&token[..20]),
        "{error}"
    );
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    let error = refused(&forged).to_string();
    assert!(
        !error.contains("hunter2") && !error.contains(&forged[..20]),
        "{error}"
    );
}

proptest! {
    #[test]
    fn any_text_is_refused_without_a_panic(text in "[A-Za-z0-9._=-]{0,200}|\\PC{0,60}") {
        prop_assert!(verifier().verify(&text, NOW).is_err());
        let _either = offhook_auth::inspect(&text);
    }

    #[test]
    fn any_signed_claims_are_parsed_without_a_panic(claims in "\\PC{0,80}") {
        let token = signer().sign(&claims).unwrap();
        prop_assert!(verifier().verify(&token, NOW).is_err());
    }

    #[test]
    fn any_fetched_keys_are_parsed_without_a_panic(text in "\\PC{0,80}") {
        prop_assert!(KeySet::from_jwks(text.as_bytes()).is_err());
    }
}
