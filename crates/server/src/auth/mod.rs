//! Authentication: tokens verified with the server's keys, and revocations.

mod classes;
mod fetching;
mod presented;
mod rereading;
mod revoked;
mod sources;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use offhook_auth::{
    ApiKey, ApiKeys, Certificate, CertificateRule, Claims, KeySet, RefetchLimits, Refetching,
    Rules, TokenError, UserGrant, Verifier,
};
use offhook_engine::{ErrorCode, Grant, Identity, Refusal, Target};
use tokio::sync::Notify;

use crate::{
    config::{Auth, Config},
    stamp::Stamp,
    start_error::StartError,
};
pub(crate) use classes::Classes;
pub(crate) use fetching::{first_fetch, keep_fetching, tls_client};
pub(crate) use presented::{Places, TwoTokens, presented};
pub(crate) use rereading::keep_rereading;
use revoked::Revoked;
use sources::{Material, Sources};

/// How soon a client whose token waits for keys should try again: longer than a fetch takes.
const KEYS_COME: Duration = Duration::from_secs(1);

/// The maximum number of grants by subscription tokens for one session. 128: as many as
/// subscriptions.
const MAX_SUBSCRIPTION_GRANTS: usize = 128;

/// Verifies tokens for all workers.
pub(crate) struct Authenticator {
    settings: Auth,
    classes: Classes,
    rules: Rules,
    /// The sources of keys. Locked while they are read from files.
    keys: Mutex<Keys>,
    /// Keys of tokens from the configuration and from files. Locked while the verifier is built, so
    /// that the newest keys win.
    own_keys: Mutex<KeySet>,
    /// Keys from a URL.
    fetched: Option<Mutex<Refetching>>,
    /// The beginning of the time by which keys are fetched.
    started: Instant,
    /// Wakes the thread that fetches.
    wanted: Notify,
    verifier: RwLock<Arc<Verifier>>,
    revoked: Mutex<Revoked>,
    /// The keys of the HTTP API.
    api_keys: RwLock<Arc<ApiKeys>>,
}

/// The sources of keys, and the stamps of the files when they were last read.
struct Keys {
    sources: Sources,
    stamps: Vec<Option<Stamp>>,
}

impl Authenticator {
    /// Reads the configured keys.
    pub(crate) fn open(config: &Config) -> Result<Self, StartError> {
        let settings = config.auth.clone();
        let sources = Sources::of(&config.auth, &config.api);
        let stamps = sources.stamps();
        let Material { tokens, api } = sources.read()?;
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
        let verifier = Verifier::with_rules(tokens.clone(), rules.clone());
        Ok(Self {
            fetched: fetched.then(|| Mutex::new(Refetching::new(limits))),
            started: Instant::now(),
            wanted: Notify::new(),
            verifier: RwLock::new(Arc::new(verifier)),
            revoked: Mutex::default(),
            api_keys: RwLock::new(Arc::new(ApiKeys::new(api))),
            classes: Classes::of(&config.limits),
            settings,
            rules,
            keys: Mutex::new(Keys { sources, stamps }),
            own_keys: Mutex::new(tokens),
        })
    }

    /// The grants of every user.
    fn of_users(&self) -> &[UserGrant] {
        &self.settings.grants
    }

    /// The keys of the HTTP API.
    pub(crate) fn api_keys(&self) -> Arc<ApiKeys> {
        let keys = self.api_keys.read();
        Arc::clone(&keys.unwrap_or_else(PoisonError::into_inner))
    }

    /// Accepts only these keys of the HTTP API from now on. Files with keys of the API are no
    /// longer read.
    pub(crate) fn set_api_keys(&self, api: Vec<ApiKey>) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.sources.set_api_keys(api.clone());
        keys.stamps = keys.sources.stamps();
        self.use_api_keys(api);
    }

    fn use_api_keys(&self, keys: Vec<ApiKey>) {
        let keys = Arc::new(ApiKeys::new(keys));
        *self
            .api_keys
            .write()
            .unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Verifies with these keys from now on. Connections that were opened with other keys stay
    /// open.
    fn use_material(&self, Material { tokens, api }: Material) {
        {
            let mut own = self.own_keys.lock().unwrap_or_else(PoisonError::into_inner);
            *own = tokens;
        }
        self.build_verifier();
        self.use_api_keys(api);
    }

    /// The identity of a user without a token, with the grants that every user has. Anonymous if
    /// the name is empty.
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

    /// The identity in a token.
    pub(crate) fn identity(&self, token: &str, now_ms: u64) -> Result<Identity, Refusal> {
        let claims = self.verify(token, now_ms)?;
        if claims.channel().is_some() {
            let detail = "token: this is a subscription token (claim channel), which does not identify a client";
            return Err(Refusal::new(ErrorCode::Unauthenticated, detail));
        }
        let mut identity = claims.identity(self.of_users());
        self.classes.check(&mut identity).map_err(|detail| {
            Refusal::new(ErrorCode::Unauthenticated, format!("token: {detail}"))
        })?;
        Ok(identity)
    }

    /// The identity that the certificate of a client stands for, if it does. TLS has verified it.
    pub(crate) fn certified(&self, certificate: &[u8]) -> Option<Identity> {
        let rules = &self.settings.certificates;
        if rules.is_empty() {
            return None;
        }
        let certificate = Certificate::read(certificate)?;
        CertificateRule::identity(rules, &certificate, self.of_users())
    }

    /// The grant in a subscription token.
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
            let detail = "token: this is not a subscription token: the claim channel is missing";
            return Err(refused(detail.to_owned()));
        };
        if claims.user() != &*identity.user {
            return Err(refused(
                "token: it belongs to another user (sub)".to_owned(),
            ));
        }
        if target.channel() != claims.channel() {
            return Err(refused(format!("token: it is not for {target}")));
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
            Err(TokenError::NoKey { .. }) if self.may_come() => Err(TokenError::KeysAway),
            other => other,
        };
        let claims = verified.map_err(|error| refusal(&error))?;
        if self.is_revoked(claims.user(), claims.issued_ms()) {
            return Err(refusal(&TokenError::Revoked));
        }
        Ok(claims)
    }

    /// A token names a key that is not present: requests a fetch, and returns whether that may soon
    /// help.
    fn may_come(&self) -> bool {
        let now_ms = self.fetch_clock_ms();
        let Some(mut fetched) = self.fetched() else {
            return false;
        };
        let comes = fetched.want(now_ms);
        drop(fetched);
        self.wanted.notify_one();
        comes
    }

    /// The time by which keys are fetched. The wall clock may be set back: nothing would be fetched
    /// until it has passed the earlier time again.
    fn fetch_clock_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }

    fn fetched(&self) -> Option<MutexGuard<'_, Refetching>> {
        let fetched = self.fetched.as_ref()?;
        // Each change is complete before anything that could panic.
        Some(fetched.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Verifies with the current keys from now on: those of the configuration and of files, and
    /// those that were fetched.
    fn build_verifier(&self) {
        let own = self.own_keys.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = own.clone();
        if let Some(fetched) = self.fetched() {
            keys = keys.and(fetched.keys());
        }
        let verifier = Arc::new(Verifier::with_rules(keys, self.rules.clone()));
        *self
            .verifier
            .write()
            .unwrap_or_else(PoisonError::into_inner) = verifier;
    }

    /// Revokes everything given to a user until now: tokens, and the resume tokens of sessions.
    pub(crate) fn revoke(&self, user: &str, now_ms: u64) {
        let mut revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        revoked.add(user, now_ms);
    }

    /// Whether something given to a user at this time has been revoked; without a time it counts as
    /// older.
    pub(crate) fn is_revoked(&self, user: &str, given_ms: Option<u64>) -> bool {
        let revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        revoked.covers(user, given_ms)
    }
}

/// The answer to a client whose token is invalid.
fn refusal(error: &TokenError) -> Refusal {
    if error.may_pass_later() {
        return Refusal::new(ErrorCode::Busy, error.to_string()).after(KEYS_COME);
    }
    Refusal::new(ErrorCode::Unauthenticated, error.to_string())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Without a key.
impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}
