//! Files with keys are read again while the server runs.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;
use offhook_auth::{ApiKey, Signer};
use offhook_server::Config;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{
    hall::{Hall, NEVER, config},
    logged::journal,
};

const OLD: &str = "ohk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
const NEW: &str = "ohk_GFEDCBAzyxwvutsrqponmlkjihgfedcba9876543210";

/// An issuer with one key: its private and its public part.
struct Issuer {
    signer: Signer,
    jwks: String,
}

impl Issuer {
    fn new() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let private = pair.to_pkcs8v1().unwrap();
        let x = BASE64URL_NOPAD.encode(pair.public_key().as_ref());
        Self {
            signer: Signer::from_der(private.as_ref(), None).unwrap(),
            jwks: json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x }] }).to_string(),
        }
    }

    fn token(&self) -> String {
        let claims = json!({ "sub": "ann", "exp": 9_999_999_999_u64 });
        self.signer.sign(&claims).unwrap()
    }
}

/// The answer to a client that connects with a token.
async fn connect(hall: &Hall, issuer: &Issuer) -> Value {
    let mut caller = hall.dial().await;
    caller
        .ask(json!({ "type": "connect", "token": issuer.token() }))
        .await
}

/// Repeats a request until its answer satisfies a condition.
async fn until(what: impl AsyncFn() -> bool) {
    let asking = async { while !what().await {} };
    timeout(NEVER, asking)
        .await
        .expect("the files are read again");
}

/// Replaces a file like editors and secret managers: it is never incomplete.
fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

struct Files {
    _directory: TempDir,
    tokens: PathBuf,
    api: PathBuf,
}

impl Files {
    fn new(issuer: &Issuer, key: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (tokens, api) = (
            directory.path().join("keys.json"),
            directory.path().join("api"),
        );
        fs::write(&tokens, &issuer.jwks).unwrap();
        fs::write(&api, entry(key)).unwrap();
        Self {
            _directory: directory,
            tokens,
            api,
        }
    }

    fn config(&self, check: Duration) -> Config {
        let mut config = config();
        config.auth.key_files = vec![self.tokens.clone()];
        config.auth.key_files_check = check;
        config.api.key_files = vec![self.api.clone()];
        config
    }
}

fn entry(key: &str) -> String {
    format!("# the shop\n\n  {}  \n", ApiKey::of_everything(key))
}

async fn status(hall: &Hall, key: &str) -> u16 {
    hall.api(key, "GET /api/v1/channels", "").await.0
}

#[tokio::test]
async fn keys_in_files_can_be_replaced_while_the_server_runs() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let files = Files::new(&old, OLD);
    let hall = Hall::open(files.config(Duration::from_millis(5))).await;
    assert_eq!(connect(&hall, &old).await["user"], "ann");
    assert_eq!(connect(&hall, &new).await["code"], "unauthenticated");
    let mut open = hall.dial().await;
    open.ask(json!({ "type": "connect", "token": old.token() }))
        .await;
    assert_eq!(
        (status(&hall, OLD).await, status(&hall, NEW).await),
        (200, 401)
    );

    replace(&files.tokens, &new.jwks);
    replace(&files.api, &entry(NEW));
    until(async || connect(&hall, &new).await["user"] == "ann").await;
    assert_eq!(connect(&hall, &old).await["code"], "unauthenticated");
    until(async || status(&hall, NEW).await == 200).await;
    assert_eq!(status(&hall, OLD).await, 401);
    // It connected with a key that was valid then.
    assert_eq!(open.ask(json!({ "type": "ping" })).await["type"], "pong");
    open.cut();
    hall.close().await;
}

#[tokio::test]
async fn a_file_that_is_damaged_or_gone_leaves_the_earlier_keys_and_is_logged_without_its_content()
{
    let issuer = Issuer::new();
    let files = Files::new(&issuer, OLD);
    let journal = journal();
    let hall = Hall::open(files.config(Duration::from_millis(5))).await;
    let file = files.api.display().to_string();
    let complaints = || {
        let of_file = |line: &&String| line.contains("ERROR") && line.contains(&file);
        journal.lines().iter().filter(of_file).count()
    };
    // A key instead of its hash, an incomplete file, and a file without keys.
    for (n, text) in ["publish ohk_leaked-by-mistake", "", "# nothing"]
        .iter()
        .enumerate()
    {
        replace(&files.api, text);
        until(async || complaints() == n + 1).await;
        assert_eq!(status(&hall, OLD).await, 200, "{text:?}");
    }
    fs::remove_file(&files.api).unwrap();
    until(async || complaints() == 4).await;
    assert_eq!(status(&hall, OLD).await, 200);
    let lines = journal.lines();
    assert!(!lines.iter().any(|line| line.contains("leaked-by-mistake")));
    // The keys work again once the file is valid again.
    replace(&files.api, &entry(NEW));
    until(async || status(&hall, NEW).await == 200).await;
    hall.close().await;
}

#[tokio::test]
async fn changed_settings_are_applied_either_all_together_or_not_at_all() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let files = Files::new(&old, OLD);
    let config = files.config(Duration::ZERO);
    let hall = Hall::open(config.clone()).await;
    let other = Files::new(&new, NEW);
    let mut next = other.config(Duration::ZERO);
    fs::write(&other.api, "no entry").unwrap();
    let error = hall.reload_keys(&next).unwrap_err().to_string();
    assert!(
        error.contains("api.key_files") && error.contains("line 1"),
        "{error}"
    );
    assert_eq!(connect(&hall, &old).await["user"], "ann");
    fs::write(&other.api, entry(NEW)).unwrap();
    hall.reload_keys(&next).unwrap();
    assert_eq!(connect(&hall, &new).await["user"], "ann");
    assert_eq!(connect(&hall, &old).await["code"], "unauthenticated");
    assert_eq!(
        (status(&hall, OLD).await, status(&hall, NEW).await),
        (401, 200)
    );
    // Whether tokens are verified at all cannot change while the server runs.
    next.auth.key_files = Vec::new();
    let error = hall.reload_keys(&next).unwrap_err().to_string();
    assert!(error.contains("restart"), "{error}");
    hall.close().await;
}

#[tokio::test]
async fn api_keys_that_are_set_by_the_program_replace_those_of_files() {
    let files = Files::new(&Issuer::new(), OLD);
    let hall = Hall::open(files.config(Duration::from_millis(5))).await;
    hall.set_api_keys(vec![ApiKey::of_everything(NEW)]);
    assert_eq!(
        (status(&hall, OLD).await, status(&hall, NEW).await),
        (401, 200)
    );
}
