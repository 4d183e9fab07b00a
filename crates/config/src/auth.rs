//! Settings of authentication: tokens, and keys of the HTTP API.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use data_encoding::BASE64;
use offhook_auth::{Algorithm, ApiKey, CertificateRule, UserGrant};

use super::group::group;
use super::kind::{Bytes, Choice, File, Many, Or, Parsed, Switch, time};
use super::url::HttpUrl;

const SECRET_ALGORITHMS: &[(&str, Algorithm)] = &[
    ("HS256", Algorithm::Hs256),
    ("HS384", Algorithm::Hs384),
    ("HS512", Algorithm::Hs512),
];

group! {
    /// Authentication of clients: JSON Web Tokens, and the keys to verify them with. Without keys,
    /// every client is anonymous, and tokens are refused.
    pub struct Auth {
        /// Secrets with which tokens are signed by HMAC, each as plain text, or in base64 after
        /// `base64:`. There may be several, so that one can be replaced: a token may be signed with
        /// any of them.
        ///
        /// No users are needed to try the server.
        secrets: Vec<TokenSecret> = Vec::new() => Many(Parsed::new("a secret of at least 32 bytes", "SECRET").secret());

        /// The HMAC algorithm of tokens that are signed with a secret.
        ///
        /// The default of all JWT libraries.
        secret_algorithm: Algorithm = Algorithm::Hs256 => Choice(SECRET_ALGORITHMS);

        /// Files with public keys to verify tokens with: PEM, or a JSON Web Key Set. They are read
        /// again when they change.
        ///
        /// No users are needed to try the server.
        key_files: Vec<PathBuf> = Vec::new() => Many(File);

        /// How often files with keys, for tokens and for the HTTP API, are checked for changes. If
        /// a file cannot be used, this is logged, and the earlier keys stay valid.
        ///
        /// A leaked key can be removed quickly, and a check costs one system call per file.
        key_files_check: Duration = Duration::from_secs(10) => time().or_none();

        /// The URL at which the issuer of tokens publishes its public keys as a JSON Web Key Set.
        /// Redirects are not followed. Plain `http` is allowed only for this machine.
        ///
        /// No users are needed to try the server.
        jwks_url: Option<JwksUrl> = None => Or("none", Parsed::new("a URL like \"https://login.example.com/.well-known/jwks.json\"", "URL"));

        /// The age at which keys from the URL are fetched again. A token that names an unknown key
        /// causes an earlier fetch, at most once in 30 s.
        ///
        /// A key that the issuer has removed is rejected after this time.
        jwks_refresh: Duration = Duration::from_secs(600) => time();

        /// How long keys from the URL are used while they cannot be fetched. After that, tokens are
        /// refused until a fetch succeeds.
        ///
        /// The server keeps working during an outage of the issuer, but does not accept a removed
        /// key forever.
        jwks_keep: Duration = Duration::from_secs(24 * 3600) => time();

        /// How long a fetch may take, from looking up the name to the last byte.
        ///
        /// Issuers answer within a second.
        jwks_timeout: Duration = Duration::from_secs(5) => time();

        /// Names of this server: a token's `aud` must contain one of them. Without names, a token
        /// with an `aud` is refused, since it is meant for another server.
        ///
        /// Only you know what your tokens are for.
        audiences: Vec<String> = Vec::new() => Many(Parsed::new("a name like \"chat.example.com\"", "NAME"));

        /// The accepted issuers: one of them must be a token's `iss`. Without any, every issuer
        /// with a key is accepted.
        ///
        /// Everyone who has the private key is trusted.
        issuers: Vec<String> = Vec::new() => Many(Parsed::new("a name like \"https://login.example.com/\"", "NAME"));

        /// How far clocks may differ when `exp` and `nbf` are checked.
        ///
        /// The usual deviation of machines without time synchronization.
        leeway: Duration = Duration::from_secs(30) => time().or_none();

        /// Whether a token must expire (`exp`).
        ///
        /// Otherwise a leaked token would be valid forever.
        require_expiry: bool = true => Switch;

        /// Whether clients without a token may connect anonymously. `auto`: only if there is no key
        /// to verify tokens with, and no rule in `certificates`.
        ///
        /// No users are needed to try the server; a server with keys should identify its clients.
        anonymous: Option<bool> = None => Or("auto", Switch);

        /// A cookie that contains a token. It is accepted only from pages of the server's own
        /// origin.
        ///
        /// No cookie is read unless you name it.
        cookie: Option<String> = None => Or("none", Parsed::new("the name of a cookie", "NAME"));

        /// Whether a token may be part of the URL, as `?token=`. At `/sse` and `/poll`, tokens that
        /// expire within 15 minutes are always accepted in the URL.
        ///
        /// URLs are written to logs, including those of proxies.
        query: bool = false => Switch;

        /// What every user may do where a channel requires grants, in addition to the token's
        /// grants: verbs (publish, subscribe, history, presence, state, call, read, *) and a
        /// pattern, in which `{user}` stands for the user's name.
        ///
        /// Nothing is permitted unless you grant it.
        grants: Vec<UserGrant> = Vec::new() => Many(Parsed::new("a grant like \"publish+subscribe private/{user}/*\"", "GRANT"));

        /// Which user the certificate of a client stands for, if `tls.client_certs` or a listener asks
        /// for one: a field (`cn`, `dns`, `email` or `uri`), a pattern for its value, and optionally
        /// the user's name, in which `*` stands for what `*` matched in the pattern. The first rule
        /// that matches applies. A client with a certificate may also send a token of the same user,
        /// whose grants then apply.
        ///
        /// Only you know what is written in your certificates.
        certificates: Vec<CertificateRule> = Vec::new() => Many(Parsed::new("a rule like \"cn device-*\" or \"email *@example.com\"", "RULE"));

        /// How long before a token expires its client is notified, so that it can refresh the
        /// token.
        ///
        /// Enough time to request a new token from a busy backend twice.
        notice: Duration = Duration::from_secs(60) => time();
    }
}

impl Auth {
    /// Whether there is any key to verify tokens with.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.secrets.is_empty() || !self.key_files.is_empty() || self.jwks_url.is_some()
    }

    /// Whether clients without a token, and without a certificate that stands for a user, may
    /// connect.
    #[must_use]
    pub fn allows_anonymous(&self) -> bool {
        let identifies = self.has_keys() || !self.certificates.is_empty();
        self.anonymous.unwrap_or(!identifies)
    }
}

group! {
    /// The HTTP API below `/api/v1/`, with which a backend publishes. Without a key, it is
    /// disabled.
    pub struct Api {
        /// The accepted keys: the scopes of each (publish, read, sessions, admin, metrics, or `*`; several
        /// with `+`), optionally a pattern of channels, and the key's SHA-256. `offhook token
        /// --api-key` creates a key and its entry.
        ///
        /// Nothing is accessible without a key. Only the backend stores the key itself.
        keys: Vec<ApiKey> = Vec::new() => Many(Parsed::new("an entry like \"publish+read chat/* sha256:9f86...\"", "KEY").secret());

        /// Files with more keys, one entry per line, which are read again when they change. Empty
        /// lines, and those that begin with `#`, are skipped.
        ///
        /// Keys in the configuration are enough to start with.
        key_files: Vec<PathBuf> = Vec::new() => Many(File);

        /// The longest body of a request.
        ///
        /// A batch of a hundred publications of 10 KiB.
        max_body: usize = 1 << 20 => Bytes::new();

        /// How long a request may take until it is complete.
        ///
        /// A megabyte over a bad network; a slower client only holds a connection open.
        body_timeout: Duration = Duration::from_secs(10) => time();
    }
}

/// A secret with which tokens are signed, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret(pub Vec<u8>);

impl FromStr for TokenSecret {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("base64:") {
            Some(encoded) => {
                let bytes = BASE64.decode(encoded.trim().as_bytes());
                bytes
                    .map(Self)
                    .map_err(|_| "what follows base64: is not base64")
            }
            None => Ok(Self(text.as_bytes().to_vec())),
        }
    }
}

/// Omits the secret.
impl fmt::Display for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(..)")
    }
}

/// Where keys are fetched: by `https`, or from this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksUrl(pub HttpUrl);

impl FromStr for JwksUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url: HttpUrl = text.parse()?;
        if url.tls || url.is_local() {
            return Ok(Self(url));
        }
        Err(format!(
            "{text:?}: anybody could replace keys that are fetched by plain http; use https, or a \
             proxy on this machine"
        ))
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
