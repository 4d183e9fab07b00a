//! Every algorithm, with keys in every form that they come in.

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use offhook_auth::{Algorithm, Key, KeySet, Signer, TokenError, Verifier};
use serde_json::{Value, json};

use super::{NOW, SECRET, claims};

/// A private key in PKCS #8, its public key in DER, and as JSON.
struct Pair {
    private: Vec<u8>,
    public: Vec<u8>,
    jwk: Value,
}

fn der(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Vec<u8> {
    key.as_der().unwrap().as_ref().to_vec()
}

fn text(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn rsa() -> Pair {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public = pair.public_key();
    // RFC 8017 §A.1.1: a sequence of the modulus, after its sign's byte, and the exponent 65537.
    let whole = public.as_ref();
    let (n, e) = (&whole[9..265], &whole[267..]);
    Pair {
        private: private.as_ref().to_vec(),
        public: der(public),
        jwk: json!({ "kty": "RSA", "n": text(n), "e": text(e) }),
    }
}

fn p256() -> Pair {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public = pair.public_key();
    let point = public.as_ref();
    Pair {
        private: pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
        public: der(public),
        jwk: json!({
            "kty": "EC", "crv": "P-256", "x": text(&point[1..33]), "y": text(&point[33..]),
        }),
    }
}

fn ed25519() -> Pair {
    let pair = Ed25519KeyPair::generate().unwrap();
    let public = pair.public_key();
    Pair {
        private: pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
        public: der(public),
        jwk: json!({ "kty": "OKP", "crv": "Ed25519", "x": text(public.as_ref()) }),
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = BASE64.encode(der);
    let lines: Vec<_> = body
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

fn jwks(keys: &[Value]) -> Vec<u8> {
    serde_json::to_vec(&json!({ "keys": keys })).unwrap()
}

#[test]
fn a_token_of_each_algorithm_is_verified_with_its_key() {
    for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
        let token = Signer::hmac(algorithm, SECRET)
            .unwrap()
            .sign(&claims())
            .unwrap();
        let keys = KeySet::new(vec![Key::hmac(algorithm, SECRET).unwrap()]);
        assert_eq!(
            Verifier::new(keys).verify(&token, NOW).unwrap().user(),
            "ann"
        );
    }
    let pairs = [
        (Algorithm::Rs256, rsa()),
        (Algorithm::Ps256, rsa()),
        (Algorithm::Es256, p256()),
        (Algorithm::EdDsa, ed25519()),
    ];
    for (algorithm, pair) in pairs {
        let private = pem("PRIVATE KEY", &pair.private);
        let signer = Signer::from_pem(&private, Some(algorithm)).unwrap();
        let token = signer.sign(&claims()).unwrap();
        let by_pem = Key::from_pem(&pem("PUBLIC KEY", &pair.public)).unwrap();
        for keys in [
            KeySet::new(by_pem),
            KeySet::from_jwks(&jwks(&[pair.jwk])).unwrap(),
        ] {
            let verified = Verifier::new(keys).verify(&token, NOW);
            assert_eq!(verified.unwrap().user(), "ann", "{algorithm}");
        }
    }
}

#[test]
fn a_token_names_its_key_among_several() {
    let (old, new) = (p256(), p256());
    let named = |pair: &Pair, id: &str| {
        let mut jwk = pair.jwk.clone();
        jwk["kid"] = id.into();
        jwk
    };
    let set = jwks(&[named(&old, "old"), named(&new, "new")]);
    let verifier = Verifier::new(KeySet::from_jwks(&set).unwrap());
    for (pair, id) in [(&old, "old"), (&new, "new")] {
        let signer = Signer::from_der(&pair.private, None).unwrap().named(id);
        assert!(
            verifier
                .verify(&signer.sign(&claims()).unwrap(), NOW)
                .is_ok()
        );
    }
    let wrong = Signer::from_der(&old.private, None).unwrap().named("new");
    let refused = verifier.verify(&wrong.sign(&claims()).unwrap(), NOW);
    assert_eq!(refused.unwrap_err(), TokenError::Signature);
    let unknown = Signer::from_der(&old.private, None).unwrap().named("gone");
    let refused = verifier.verify(&unknown.sign(&claims()).unwrap(), NOW);
    assert!(
        matches!(refused, Err(TokenError::NoKey { .. })),
        "{refused:?}"
    );
}

#[test]
fn keys_for_other_uses_in_a_set_are_ignored() {
    let good = p256().jwk;
    let mut encrypts = p256().jwk;
    encrypts["use"] = "enc".into();
    let mut signs = p256().jwk;
    signs["key_ops"] = json!(["sign"]);
    let mut other = p256().jwk;
    other["alg"] = "ES384".into();
    let secret = json!({ "kty": "oct", "k": text(SECRET), "alg": "HS256" });
    let curve = json!({ "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA" });
    let nonsense = json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "!!" });
    let all = [
        good,
        encrypts,
        signs,
        other,
        secret,
        curve,
        nonsense,
        json!(7),
    ];
    assert_eq!(KeySet::from_jwks(&jwks(&all)).unwrap().len(), 1);
    let error = KeySet::from_jwks(&jwks(&all[1..])).unwrap_err().to_string();
    assert!(error.contains("none of the set's 7 keys"), "{error}");
}

#[test]
fn the_error_for_an_invalid_key_says_what_to_do_without_showing_it() {
    let short = Key::hmac(Algorithm::Hs256, b"too short to be one")
        .unwrap_err()
        .to_string();
    assert!(
        short.contains("19 bytes") && short.contains("openssl"),
        "{short}"
    );
    assert!(!short.contains("too short to be one"));
    let certificate = pem("CERTIFICATE", b"whatever");
    let error = Key::from_pem(&certificate).unwrap_err().to_string();
    assert!(error.contains("-pubkey"), "{error}");
    assert!(Key::from_pem("nothing").is_err());
    assert!(Key::from_pem(&pem("PUBLIC KEY", &[1; 40])).is_err());
    let private = pem("PRIVATE KEY", &ed25519().private);
    assert!(
        Key::from_pem(&private).is_err(),
        "a private key is no public one"
    );
    assert!(Signer::from_pem(&private, Some(Algorithm::Rs256)).is_err());
}
