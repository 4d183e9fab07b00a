//! Apps of the Pusher protocol: an id, and keys with their secrets. Clients connect with a key;
//! backends sign permissions of their clients, and their own requests, with the secret.

use std::{fmt, str::FromStr};

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use md5::{Digest, Md5};

/// The minimum length of a secret in bytes. 16: Pusher itself issues secrets of 20.
const LEAST_SECRET: usize = 16;
/// The maximum length of an id, key and prefix in bytes. 64: they are parts of paths and of
/// channels' names.
const LONGEST_PART: usize = 64;

/// One key of an app, as an entry of the configuration: `ID KEY SECRET`, and optionally a prefix.
///
/// ```
/// use offhook_auth::AppKey;
/// let entry: AppKey = "1 app-key a-secret-of-16-bytes acme/".parse()?;
/// assert_eq!((entry.id(), entry.key(), entry.prefix()), ("1", "app-key", "acme/"));
/// # Ok::<(), offhook_auth::InvalidApp>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct AppKey {
    id: Box<str>,
    key: Box<str>,
    secret: Box<[u8]>,
    prefix: Box<str>,
}

/// A text is not a valid entry for an app. The text is not repeated, since it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidApp(&'static str);

impl fmt::Display for InvalidApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for InvalidApp {}

impl AppKey {
    /// The app's id, which is in the paths of its backend's requests.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key, which is in the path of its clients' connections. It is public.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The prefix of the names of all its channels and users.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl AppKey {
    /// Signs a text, as a backend does for its clients: `KEY:SIGNATURE`.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        format!("{}:{}", self.key, self.signature(text.as_bytes()))
    }

    /// Signs a request, as a backend does, and returns the query. The parameters are not
    /// percent-encoded.
    #[must_use]
    pub fn sign_request(
        &self,
        method: &str,
        path: &str,
        parameters: &[(&str, &str)],
        body: &[u8],
        now_s: u64,
    ) -> String {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut query: Vec<_> = parameters
            .iter()
            .map(|(name, value)| own(name, value))
            .collect();
        query.push(own("auth_key", &self.key));
        query.push(own("auth_timestamp", &now_s.to_string()));
        query.push(own("auth_version", "1.0"));
        if !body.is_empty() {
            query.push(own("body_md5", &HEXLOWER.encode(&Md5::digest(body))));
        }
        let request = SignedRequest {
            method,
            path,
            query: &query,
            body,
        };
        let signature = self.signature(request.signed_text().as_bytes());
        query.push(own("auth_signature", &signature));
        let pairs: Vec<_> = query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("&")
    }

    /// The signature of a text without the key, as webhooks carry it: the HMAC-SHA256 in hexadecimal.
    #[must_use]
    pub fn signature(&self, text: &[u8]) -> String {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &self.secret);
        HEXLOWER.encode(hmac::sign(&secret, text).as_ref())
    }
}

impl FromStr for AppKey {
    type Err = InvalidApp;

    fn from_str(text: &str) -> Result<Self, InvalidApp> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let (id, key, secret, prefix) = match parts[..] {
            [id, key, secret] => (id, key, secret, ""),
            [id, key, secret, prefix] => (id, key, secret, prefix),
            [..] => {
                return Err(InvalidApp(
                    "expected an id, a key and a secret, and optionally a prefix, separated by spaces",
                ));
            }
        };
        let is_word = |part: &str| {
            let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            part.len() <= LONGEST_PART && part.bytes().all(is_fine)
        };
        if !is_word(id) || !is_word(key) {
            return Err(InvalidApp(
                "an app's id and key may have at most 64 letters, digits, dots, dashes and underscores",
            ));
        }
        if secret.len() < LEAST_SECRET {
            return Err(InvalidApp(
                "an app's secret needs at least 16 bytes, such as those of `openssl rand -hex 16`",
            ));
        }
        let is_prefix = |c: char| !c.is_control() && !"*+#".contains(c);
        if prefix.len() > LONGEST_PART || !prefix.chars().all(is_prefix) {
            return Err(InvalidApp(
                "an app's prefix may have at most 64 bytes, without *, + and #",
            ));
        }
        Ok(Self {
            id: id.into(),
            key: key.into(),
            secret: secret.as_bytes().into(),
            prefix: prefix.into(),
        })
    }
}

/// Omits the secret.
impl fmt::Display for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (not shown) {}", self.id, self.key, self.prefix)
    }
}

impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppKey({self})")
    }
}

/// An app with all its keys.
pub struct App {
    id: Box<str>,
    prefix: Box<str>,
    keys: Vec<(Box<str>, hmac::Key)>,
}

impl App {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The prefix of the names of all its channels and users.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether `auth` is `KEY:SIGNATURE`, with the HMAC-SHA256 of the text in hexadecimal, by one of
    /// its keys. Compared in constant time.
    #[must_use]
    pub fn is_signed(&self, auth: &str, text: &str) -> bool {
        let Some((key, signature)) = auth.split_once(':') else {
            return false;
        };
        self.verify(key, text.as_bytes(), signature)
    }

    fn verify(&self, key: &str, text: &[u8], signature: &str) -> bool {
        let Some((_, secret)) = self.keys.iter().find(|(known, _)| **known == *key) else {
            return false;
        };
        let signature = HEXLOWER_PERMISSIVE.decode(signature.as_bytes());
        signature.is_ok_and(|tag| hmac::verify(secret, text, &tag).is_ok())
    }

    /// Checks the signature of a backend's request.
    ///
    /// # Errors
    /// [`BadRequestSignature`] says what is wrong.
    pub fn check(
        &self,
        request: &SignedRequest<'_>,
        now_s: u64,
        window_s: u64,
    ) -> Result<(), BadRequestSignature> {
        let one = |name: &'static str| request.one(name);
        if one("auth_version")? != "1.0" {
            return Err(BadRequestSignature("auth_version: expected 1.0"));
        }
        let at = one("auth_timestamp")?;
        let at: u64 = at.parse().map_err(|_| {
            BadRequestSignature("auth_timestamp: expected seconds since 1970, in digits")
        })?;
        if at.abs_diff(now_s) > window_s {
            return Err(BadRequestSignature(
                "auth_timestamp: is too far from the server's clock; check both clocks \
                 (pusher.signature_window)",
            ));
        }
        let md5 = request.body_md5()?;
        let (key, signature) = (one("auth_key")?, one("auth_signature")?);
        let text = request.signed_text();
        let is_signed = self.verify(key, text.as_bytes(), signature);
        // Both are always computed, so that the time does not reveal which one failed.
        if is_signed && md5 {
            return Ok(());
        }
        Err(BadRequestSignature(
            "auth_signature: is not a signature of this request by a key of this app; check the app's id, \
             key and secret",
        ))
    }
}

/// Omits the secrets.
impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.keys.iter().map(|(key, _)| &**key).collect();
        f.debug_struct("App")
            .field("id", &self.id)
            .field("prefix", &self.prefix)
            .field("keys", &keys)
            .finish()
    }
}

/// Joins entries with the same id to apps.
#[must_use]
pub fn apps_of(entries: &[AppKey]) -> Vec<App> {
    let mut apps: Vec<App> = Vec::new();
    for entry in entries {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &entry.secret);
        let key = (entry.key.clone(), secret);
        match apps.iter_mut().find(|app| app.id == entry.id) {
            Some(app) => app.keys.push(key),
            None => apps.push(App {
                id: entry.id.clone(),
                prefix: entry.prefix.clone(),
                keys: vec![key],
            }),
        }
    }
    apps
}

impl App {
    /// Whether it has this key.
    #[must_use]
    pub fn has_key(&self, key: &str) -> bool {
        self.keys.iter().any(|(known, _)| **known == *key)
    }
}

/// A backend's request.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// In upper case.
    pub method: &'a str,
    /// The path as it was sent, without the query.
    pub path: &'a str,
    /// The parameters of the query, decoded.
    pub query: &'a [(String, String)],
    /// The body.
    pub body: &'a [u8],
}

/// Why a request's signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRequestSignature(&'static str);

impl fmt::Display for BadRequestSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadRequestSignature {}

impl SignedRequest<'_> {
    /// A parameter that must be given exactly once.
    fn one(&self, name: &'static str) -> Result<&str, BadRequestSignature> {
        let mut values = self.query.iter().filter(|(known, _)| known == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Ok(value),
            (_, _) => Err(BadRequestSignature(match name {
                "auth_key" => "auth_key: expected once in the query",
                "auth_timestamp" => "auth_timestamp: expected once in the query",
                "auth_version" => "auth_version: expected once in the query",
                "body_md5" => "body_md5: expected once in the query",
                _ => "auth_signature: expected once in the query",
            })),
        }
    }

    /// Whether the body is the signed one. The protocol requires MD5, which is sufficient here: an
    /// attacker would have to find a second body for a given hash.
    fn body_md5(&self) -> Result<bool, BadRequestSignature> {
        let is_there = self.query.iter().any(|(name, _)| name == "body_md5");
        if self.body.is_empty() && !is_there {
            return Ok(true);
        }
        let given = self.one("body_md5")?.to_ascii_lowercase();
        let own = HEXLOWER.encode(&Md5::digest(self.body));
        Ok(verify_slices_are_equal(own.as_bytes(), given.as_bytes()).is_ok())
    }

    /// The method, the path and all parameters except the signature, sorted by name.
    fn signed_text(&self) -> String {
        let mut parameters: Vec<_> = self
            .query
            .iter()
            .filter(|(name, _)| name != "auth_signature")
            .map(|(name, value)| (name.to_lowercase(), value))
            .collect();
        parameters.sort();
        let parameters: Vec<_> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("{}\n{}\n{}", self.method, self.path, parameters.join("&"))
    }
}
