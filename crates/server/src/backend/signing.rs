//! Signatures of requests: according to the Standard Webhooks specification, or in the form of Pusher.

use std::fmt::Write;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use data_encoding::BASE64;
use offhook_auth::AppKey;

use crate::config::SigningSecret;

/// How requests are signed.
pub(super) enum Signing {
    Standard(Signer),
    /// By this key of an app.
    Pusher(AppKey),
}

impl Signing {
    /// The headers that sign a request.
    pub(super) fn headers(
        &self,
        id: &str,
        timestamp: u64,
        body: &[u8],
    ) -> Vec<(&'static str, String)> {
        match self {
            Self::Standard(signer) => vec![
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", timestamp.to_string()),
                ("webhook-signature", signer.sign(id, timestamp, body)),
            ],
            Self::Pusher(key) => vec![
                ("x-pusher-key", key.key().to_owned()),
                ("x-pusher-signature", key.signature(body)),
            ],
        }
    }
}

/// Signs requests with every secret.
pub(super) struct Signer(Vec<Key>);

impl Signer {
    pub(super) fn new(secrets: &[SigningSecret]) -> Self {
        let keys = secrets
            .iter()
            .map(|secret| Key::new(HMAC_SHA256, &secret.0));
        Self(keys.collect())
    }

    /// The value of `webhook-signature`: one signature over id, timestamp and body for each secret.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
        let mut value = String::new();
        for key in &self.0 {
            let space = if value.is_empty() { "" } else { " " };
            let signature = BASE64.encode(sign(key, &signed).as_ref());
            // Writing to a String does not fail.
            let _written = write!(value, "{space}v1,{signature}");
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_matches_the_example_of_the_specification() {
        // The example of the Standard Webhooks specification's own libraries.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap();
        let signer = Signer::new(&[secret]);
        let body = br#"{"test": 2432232314}"#;
        let value = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(value, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn while_a_secret_is_rotated_requests_are_signed_with_both() {
        let secrets = [
            "an old secret of thirty-two byte",
            "a new secret of thirty-two bytes",
        ];
        let secrets: Vec<SigningSecret> = secrets.iter().map(|s| s.parse().unwrap()).collect();
        let both = Signer::new(&secrets).sign("1", 2, b"3");
        let each = secrets.iter().map(|secret| {
            let alone = Signer::new(std::slice::from_ref(secret));
            alone.sign("1", 2, b"3")
        });
        assert_eq!(both, each.collect::<Vec<_>>().join(" "));
    }
}
