//! Who connects: tokens verified by the server's keys, and what was revoked.

mod fetching;
mod presented;
mod revoked;

use std::{
    fmt, fs,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use offhook_auth::{
    ApiKey, ApiKeys, Claims, Key, KeySet, RefetchLimits, Refetching, Rules, TokenError, UserGrant,
    Verifier,
};
use offhook_engine::{ErrorCode, Grant, Identity, Refusal, Target};
use tokio::sync::Notify;

use crate::{
    config::{Auth, Config},
    start_error::StartError,
};
pub(crate) use fetching::{first_fetch, keep_fetching, tls_client};
pub(crate) use presented::{TwoTokens, presented};
use revoked::Revoked;

/// How soon a client whose token waits for keys should try again: a fetch takes less.
const KEYS_COME: Duration = Duration::from_secs(1);

/// Grants by subscription tokens that one session may have. 128: as many as subscriptions.
const MAX_SUBSCRIPTION_GRANTS: usize = 128;

/// Verifies tokens for all workers.
pub(crate) struct Authenticator {
    settings: Auth,
    rules: Rules,
    /// Keys from the configuration and from files.
    own_keys: KeySet,
    /// Keys from a URL.
    fetched: Option<Mutex<Refetching>>,
    /// Wakes the thread that fetches.
    wanted: Notify,
    verifier: RwLock<Arc<Verifier>>,
    revoked: Mutex<Revoked>,
    /// The keys of the HTTP API.
    api_keys: RwLock<Arc<ApiKeys>>,
}

impl Authenticator {
    /// Reads the configured keys.
    pub(crate) fn open(config: &Config) -> Result<Self, StartError> {
        let settings = config.auth.clone();
        let mut keys = Vec::new();
        for secret in &settings.secrets {
            let key = Key::hmac(settings.secret_algorithm, &secret.0);
            // The configuration has checked it where it was loaded.
            keys.push(key.map_err(|error| StartError::Secret(error.to_string()))?);
        }
        let mut own_keys = KeySet::new(keys);
        for path in &settings.key_files {
            own_keys = own_keys.and(&read_keys(path)?);
        }
        let rules = Rules {
            audiences: settings.audiences.clone(),
            issuers: settings.issuers.clone(),
            leeway_ms: millis(settings.leeway),
            needs_end: settings.require_expiry,
        };
        let limits = RefetchLimits {
            refresh_ms: millis(settings.jwks_refresh),
            keep_ms: millis(settings.jwks_keep),
            ..RefetchLimits::default()
        };
        let fetched = settings.jwks_url.is_some();
        let verifier = Verifier::with_rules(own_keys.clone(), rules.clone());
        Ok(Self {
            fetched: fetched.then(|| Mutex::new(Refetching::new(limits))),
            wanted: Notify::new(),
            verifier: RwLock::new(Arc::new(verifier)),
            revoked: Mutex::default(),
            api_keys: RwLock::new(Arc::new(ApiKeys::new(config.api.keys.clone()))),
            settings,
            rules,
            own_keys,
        })
    }

    /// What every user is granted.
    fn of_users(&self) -> &[UserGrant] {
        &self.settings.grants
    }

    /// The keys of the HTTP API.
    pub(crate) fn api_keys(&self) -> Arc<ApiKeys> {
        let keys = self.api_keys.read();
        Arc::clone(&keys.unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes these keys of the HTTP API from now on, and no others.
    pub(crate) fn set_api_keys(&self, keys: Vec<ApiKey>) {
        let keys = Arc::new(ApiKeys::new(keys));
        *self
            .api_keys
            .write()
            .unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// What is known of a user without a token: the grants that every user has. Nobody, where the
    /// name is empty.
    pub(crate) fn known_of(&self, user: &str) -> Identity {
        let mut identity = Identity::user(user);
        if !user.is_empty() {
            identity.grants = self.of_users().iter().map(|grant| grant.of(user)).collect();
        }
        identity
    }

    /// Whether clients without a token may connect.
    pub(crate) fn allows_anonymous(&self) -> bool {
        self.settings.allows_anonymous()
    }

    /// Whom a token says that the client is.
    pub(crate) fn identity(&self, token: &str, now_ms: u64) -> Result<Identity, Refusal> {
        let claims = self.verify(token, now_ms)?;
        if claims.channel().is_some() {
            let detail = "token: is a subscription token (channel), and does not say who connects";
            return Err(Refusal::new(ErrorCode::Unauthenticated, detail));
        }
        Ok(claims.identity(self.of_users()))
    }

    /// What a subscription token grants to a session.
    pub(crate) fn subscription_grant(
        &self,
        token: &str,
        target: &Target,
        identity: &Identity,
        now_ms: u64,
    ) -> Result<Grant, Refusal> {
        let claims = self.verify(token, now_ms)?;
        let refused = |detail: String| Refusal::new(ErrorCode::Unauthenticated, detail);
        let Some(grant) = claims.subscription() else {
            let detail = "token: is no subscription token: the claim channel is missing";
            return Err(refused(detail.to_owned()));
        };
        if claims.user() != &*identity.user {
            return Err(refused("token: is of another user (sub)".to_owned()));
        }
        if target.channel() != claims.channel() {
            return Err(refused(format!("token: is not for {target}")));
        }
        let many = identity
            .grants
            .iter()
            .filter(|grant| grant.ends_ms.is_some());
        if many.count() >= MAX_SUBSCRIPTION_GRANTS {
            let detail = format!(
                "this session has {MAX_SUBSCRIPTION_GRANTS} grants by subscription tokens, which is the limit"
            );
            return Err(Refusal::new(ErrorCode::TooManySubscriptions, detail));
        }
        Ok(grant)
    }

    fn verify(&self, token: &str, now_ms: u64) -> Result<Claims, Refusal> {
        if !self.settings.has_keys() {
            let detail = "token: this server has no keys to verify tokens with; \
                          connect without one, or configure `auth`";
            return Err(Refusal::new(ErrorCode::Unauthenticated, detail));
        }
        let verifier = Arc::clone(&self.verifier.read().unwrap_or_else(PoisonError::into_inner));
        let verified = verifier.verify(token, now_ms);
        let verified = match verified {
            Err(TokenError::NoKey { .. }) if self.may_come(now_ms) => Err(TokenError::KeysAway),
            other => other,
        };
        let claims = verified.map_err(|error| refusal(&error))?;
        if self.is_revoked(claims.user(), claims.issued_ms()) {
            return Err(refusal(&TokenError::Revoked));
        }
        Ok(claims)
    }

    /// A token names a key that is not here: has it fetched, and says whether that may help soon.
    fn may_come(&self, now_ms: u64) -> bool {
        let Some(mut fetched) = self.fetched() else {
            return false;
        };
        let comes = fetched.want(now_ms);
        drop(fetched);
        self.wanted.notify_one();
        comes
    }

    fn fetched(&self) -> Option<MutexGuard<'_, Refetching>> {
        let fetched = self.fetched.as_ref()?;
        // Each change is whole before anything that could panic.
        Some(fetched.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Verifies with the keys that were fetched from now on.
    fn use_fetched(&self) {
        let Some(fetched) = self.fetched() else {
            return;
        };
        let keys = self.own_keys.clone().and(fetched.keys());
        drop(fetched);
        let verifier = Arc::new(Verifier::with_rules(keys, self.rules.clone()));
        *self
            .verifier
            .write()
            .unwrap_or_else(PoisonError::into_inner) = verifier;
    }

    /// Everything that was given to a user up to now is good no longer: tokens, and the resume
    /// tokens of sessions.
    pub(crate) fn revoke(&self, user: &str, now_ms: u64) {
        let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        revoked.add(user, now_ms);
    }

    /// Whether something that was given to a user at this time has been revoked; what does not say
    /// when it was given counts as older.
    pub(crate) fn is_revoked(&self, user: &str, given_ms: Option<u64>) -> bool {
        let revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        revoked.covers(user, given_ms)
    }
}

/// What a client is told of a token that is not good.
fn refusal(error: &TokenError) -> Refusal {
    if error.may_pass_later() {
        return Refusal::new(ErrorCode::Busy, error.to_string()).after(KEYS_COME);
    }
    Refusal::new(ErrorCode::Unauthenticated, error.to_string())
}

fn read_keys(path: &Path) -> Result<KeySet, StartError> {
    let text = fs::read_to_string(path).map_err(|source| StartError::File {
        path: path.to_owned(),
        source,
    })?;
    let keys = if text.trim_start().starts_with('{') {
        KeySet::from_jwks(text.as_bytes())
    } else {
        Key::from_pem(&text).map(KeySet::new)
    };
    keys.map_err(|error| StartError::Keys {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Without any key.
impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}
