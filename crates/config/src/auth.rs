//! Settings of who may connect and do what: tokens, and keys of the HTTP API.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use data_encoding::BASE64;
use offhook_auth::{Algorithm, ApiKey, UserGrant};

use super::group::group;
use super::kind::{Bytes, Choice, File, Many, Or, Parsed, Switch, time};
use super::url::HttpUrl;

const SECRET_ALGORITHMS: &[(&str, Algorithm)] = &[
    ("HS256", Algorithm::Hs256),
    ("HS384", Algorithm::Hs384),
    ("HS512", Algorithm::Hs512),
];

group! {
    /// Who connects: JSON Web Tokens, and the keys that they are verified with. Without any key
    /// everyone is anonymous, and a token is refused.
    pub struct Auth {
        /// Secrets that tokens are signed with by HMAC, each as it stands, or after `base64:` in
        /// base64. Several, so that one can be exchanged: a token may be signed with any.
        ///
        /// A first try needs no users.
        secrets: Vec<TokenSecret> = Vec::new() => Many(Parsed::new("a secret of at least 32 bytes", "SECRET").secret());

        /// What tokens are signed with a secret by.
        ///
        /// What every library does without being asked.
        secret_algorithm: Algorithm = Algorithm::Hs256 => Choice(SECRET_ALGORITHMS);

        /// Files with public keys that tokens are verified with: PEM, or a JSON Web Key Set.
        ///
        /// A first try needs no users.
        key_files: Vec<PathBuf> = Vec::new() => Many(File);

        /// Where the issuer of tokens publishes its public keys as a JSON Web Key Set. Redirects are not
        /// followed. Plain `http` is taken from this machine only.
        ///
        /// A first try needs no users.
        jwks_url: Option<JwksUrl> = None => Or("none", Parsed::new("a URL like \"https://login.example.com/.well-known/jwks.json\"", "URL"));

        /// How old keys from there become before they are fetched again. A token that names an
        /// unknown key has them fetched sooner, once in 30 s at most.
        ///
        /// A key that the issuer takes out is gone within that.
        jwks_refresh: Duration = Duration::from_secs(600) => time();

        /// How long keys from there are used while they can't be fetched. Then tokens are
        /// refused until they can be.
        ///
        /// An issuer's bad day is no outage here, and a key that was taken out is not good for ever.
        jwks_keep: Duration = Duration::from_secs(24 * 3600) => time();

        /// How long a fetch may take, from looking up the name to the last byte.
        ///
        /// Issuers answer within a second.
        jwks_timeout: Duration = Duration::from_secs(5) => time();

        /// Names of this server: a token's `aud` has to have one of them. Without any, a token with
        /// an `aud` is refused, since it is for somebody else.
        ///
        /// Only you know what your tokens are for.
        audiences: Vec<String> = Vec::new() => Many(Parsed::new("a name like \"chat.example.com\"", "NAME"));

        /// Whose tokens are taken: the `iss` that they have to have. Without any, that of everybody who
        /// has a key.
        ///
        /// Who has the key is whom you trust.
        issuers: Vec<String> = Vec::new() => Many(Parsed::new("a name like \"https://login.example.com/\"", "NAME"));

        /// How far clocks may be apart when `exp` and `nbf` are looked at.
        ///
        /// Machines without a time service are off by that.
        leeway: Duration = Duration::from_secs(30) => time().or_none();

        /// Whether a token has to have an end (`exp`).
        ///
        /// One that leaks would be good for ever.
        require_expiry: bool = true => Switch;

        /// Whether clients without a token may connect, as nobody in particular. `auto`: as long as
        /// there is no key to verify tokens with.
        ///
        /// A first try needs no users; whoever configures keys wants to know who connects.
        anonymous: Option<bool> = None => Or("auto", Switch);

        /// A cookie that holds a token. It counts only for pages of the server's own origin.
        ///
        /// Nothing is read that nobody asked for.
        cookie: Option<String> = None => Or("none", Parsed::new("the name of a cookie", "NAME"));

        /// Whether a token may stand in the URL, as `?token=`.
        ///
        /// URLs land in logs, of proxies too.
        query: bool = false => Switch;

        /// What every user may do where a channel asks for grants, beside what the token grants: verbs
        /// (publish, subscribe, history, presence, state, call, read, *) and a pattern, in which
        /// `{user}` stands for the user's name.
        ///
        /// Nobody may anything that nobody granted.
        grants: Vec<UserGrant> = Vec::new() => Many(Parsed::new("a grant like \"publish+subscribe private/{user}/*\"", "GRANT"));

        /// How long before its token expires a client is told, so that it can refresh it.
        ///
        /// Time to ask a busy backend for a new one, twice.
        notice: Duration = Duration::from_secs(60) => time();
    }
}

impl Auth {
    /// Whether there is any key to verify tokens with.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.secrets.is_empty() || !self.key_files.is_empty() || self.jwks_url.is_some()
    }

    /// Whether clients without a token may connect.
    #[must_use]
    pub fn allows_anonymous(&self) -> bool {
        self.anonymous.unwrap_or(!self.has_keys())
    }
}

group! {
    /// The HTTP API below `/api/v1/`, with which a backend publishes. Without a key it is not there.
    pub struct Api {
        /// The keys that requests may have: what each is for (publish, read, sessions, admin, or `*`;
        /// several with `+`), maybe a pattern of channels, and the key's SHA-256.
        /// `offhook token --api-key` makes a key and its entry.
        ///
        /// Nothing is open that nobody opened. The key itself is kept by the backend alone.
        keys: Vec<ApiKey> = Vec::new() => Many(Parsed::new("an entry like \"publish+read chat/* sha256:9f86...\"", "KEY").secret());

        /// The longest body of a request.
        ///
        /// A batch of a hundred publications of 10 KiB.
        max_body: usize = 1 << 20 => Bytes::new();

        /// How long a request may take to come in whole.
        ///
        /// A megabyte over a bad network; who sends slower holds a connection for nothing.
        body_timeout: Duration = Duration::from_secs(10) => time();
    }
}

/// A secret that tokens are signed with, never shown.
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

/// Without the secret.
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
            "{text:?}: keys that come by plain http could be anybody's; use https, or a proxy on \
             this machine"
        ))
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
