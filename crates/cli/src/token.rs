//! `offhook token`: creates tokens and API keys for development, and decodes tokens.

use std::{fs, path::PathBuf, time::Duration};

use clap::Args;
use offhook_auth::{Algorithm, ApiKey, Signer, inspect, new_api_key};
use offhook_server::config::parse_time;
use serde_json::{Map, Value};

use crate::{failure::Failure, screen};

/// Create a token or an API key, or show what a token contains.
///
/// Signs a JSON Web Token with a secret (--secret, or `OFFHOOK_TOKEN_SECRET`) or a private key in
/// PEM (--key), for development and for scripts. A backend creates its tokens with a JWT library.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Token {
    /// The user's name (`sub`).
    #[arg(value_name = "USER", required_unless_present_any = ["inspect", "api_key", "channel"])]
    user: Option<String>,

    /// The secret to sign with, as in auth.secrets. Other users of the machine can see a secret on
    /// the command line: prefer the variable `OFFHOOK_TOKEN_SECRET`.
    #[arg(long, value_name = "SECRET", conflicts_with = "key")]
    secret: Option<String>,

    /// The private key to sign with, in PEM.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// The algorithm: HS256, HS384 or HS512 with a secret; RS256, PS256, ES256 or EdDSA with a key
    /// [default: HS256, or according to the key].
    #[arg(long, value_name = "ALG")]
    algorithm: Option<Algorithm>,

    /// The key's name (`kid`).
    #[arg(long, value_name = "NAME")]
    kid: Option<String>,

    /// How long the token is valid.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = time)]
    expires: Duration,

    /// A grant: verbs and a pattern, such as "publish+subscribe chat/*". May be repeated.
    #[arg(long = "grant", value_name = "GRANT")]
    grants: Vec<String>,

    /// Create a subscription token for this channel.
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,

    /// The class of the client (`class`), as in limits.classes.
    #[arg(long, value_name = "NAME")]
    class: Option<String>,

    /// The audience (`aud`), as in auth.audiences.
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,

    /// The issuer (`iss`), as in auth.issuers.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,

    /// What other members see of the user: a JSON value.
    #[arg(long, value_name = "JSON")]
    info: Option<String>,

    /// Decode this token, without verifying it.
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["user", "secret", "key", "api_key"])]
    inspect: Option<String>,

    /// Create a key for the HTTP API, and its entry for api.keys.
    #[arg(long, conflicts_with_all = ["user", "secret", "key"])]
    api_key: bool,
}

const EXAMPLES: &str = "\
Examples:
  OFFHOOK_TOKEN_SECRET=... offhook token ann --grant \"publish+subscribe chat/*\"
  offhook token ann --key private.pem --kid 2027 --expires 10m
  offhook token ann --channel private/7 --key private.pem      for a subscription
  offhook token --inspect eyJhbGciOi...
  offhook token --api-key";

const SECRET_VARIABLE: &str = "OFFHOOK_TOKEN_SECRET";

impl Token {
    pub(crate) fn run(self) -> Result<(), Failure> {
        if self.api_key {
            return api_key();
        }
        if let Some(token) = &self.inspect {
            return taken_apart(token);
        }
        let claims = self.claims()?;
        let mut signer = self.signer()?;
        if let Some(kid) = &self.kid {
            signer = signer.named(kid);
        }
        let token = signer
            .sign(&claims)
            .map_err(|error| Failure::failed(&error))?;
        Ok(screen::print(&format!("{token}\n"))?)
    }

    fn signer(&self) -> Result<Signer, Failure> {
        let wrong = |error: offhook_auth::InvalidKey| Failure::usage(error.to_string());
        if let Some(path) = &self.key {
            let text = fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("--key {}: {error}", path.display())))?;
            return Signer::from_pem(&text, self.algorithm).map_err(wrong);
        }
        let secret = self
            .secret
            .clone()
            .or_else(|| std::env::var(SECRET_VARIABLE).ok());
        let secret = secret.ok_or_else(|| {
            let missing = format!("no key to sign with: give {SECRET_VARIABLE}, --secret or --key");
            Failure::usage(missing)
                .hint("`openssl rand -hex 32` creates a secret; the server's is auth.secrets")
        })?;
        let secret: offhook_server::config::TokenSecret = secret
            .parse()
            .map_err(|error: &str| Failure::usage(error.to_owned()))?;
        let algorithm = self.algorithm.unwrap_or(Algorithm::Hs256);
        Signer::hmac(algorithm, &secret.0).map_err(wrong)
    }

    fn claims(&self) -> Result<Value, Failure> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let mut claims = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                claims.insert(name.to_owned(), value);
            }
        };
        let text = |text: &Option<String>| text.clone().map(Value::from);
        set("sub", text(&self.user));
        set("iat", Some(now.into()));
        set(
            "exp",
            Some(now.saturating_add(self.expires.as_secs()).into()),
        );
        set("aud", text(&self.audience));
        set("iss", text(&self.issuer));
        set("channel", text(&self.channel));
        set("class", text(&self.class));
        if let Some(info) = &self.info {
            let value = serde_json::from_str(info);
            let value = value.map_err(|error| Failure::usage(format!("--info: {error}")))?;
            set("info", Some(value));
        }
        let mut grants = Map::new();
        for grant in &self.grants {
            // Checked like the server's settings, and written as in tokens.
            let checked: Result<offhook_auth::UserGrant, _> = grant.parse();
            checked.map_err(|error| Failure::usage(format!("--grant: {error}")))?;
            if let Some((verbs, pattern)) = grant.trim().split_once(' ') {
                grants.insert(pattern.trim().to_owned(), verbs.into());
            }
        }
        if !grants.is_empty() {
            set("grants", Some(grants.into()));
        }
        Ok(claims.into())
    }
}

fn time(text: &str) -> Result<Duration, String> {
    parse_time(text).ok_or_else(|| "expected a time like 10m or 1h".to_owned())
}

fn api_key() -> Result<(), Failure> {
    let key = new_api_key();
    let key = key.ok_or_else(|| Failure::usage("the system cannot provide random bytes"))?;
    let entry = ApiKey::of_everything(&key).to_string();
    let hash = entry.rsplit_once(' ').map_or("", |(_, hash)| hash);
    Ok(screen::print(&format!(
        "key    {key}\nentry  [api]\n       keys = [\"* {hash}\"]\n\n\
         The backend keeps the key; the server needs only the entry. Replace * by the key's scopes\n\
         (publish, read, sessions, admin, metrics; several with +), and add a pattern of channels if needed.\n"
    ))?)
}

fn taken_apart(token: &str) -> Result<(), Failure> {
    let parts = inspect(token.trim()).map_err(|error| Failure::usage(error.to_string()))?;
    let pretty = |json: &str| {
        let value = serde_json::from_str::<Value>(json);
        value
            .and_then(|value| serde_json::to_string_pretty(&value))
            .unwrap_or_default()
    };
    let (header, claims) = (pretty(&parts.header), pretty(&parts.claims));
    Ok(screen::print(&format!(
        "header  {header}\nclaims  {claims}\n\nThe signature was not verified.\n"
    ))?)
}
