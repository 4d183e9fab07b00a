//! The sources of the keys of tokens and of the HTTP API: settings, and files that are read again
//! when they change.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use offhook_auth::{Algorithm, ApiKey, Key, KeySet};

use crate::{
    config::{Api, Auth, TokenSecret},
    stamp::Stamp,
    start_error::StartError,
};

/// The largest file with keys, in bytes. 1 MiB: thousands of keys.
const MAX_FILE: u64 = 1 << 20;

/// The settings that contain keys or name files with keys.
#[derive(Clone)]
pub(super) struct Sources {
    secrets: Vec<TokenSecret>,
    secret_algorithm: Algorithm,
    key_files: Vec<PathBuf>,
    api_keys: Vec<ApiKey>,
    api_key_files: Vec<PathBuf>,
}

/// The keys themselves.
pub(super) struct Material {
    /// Keys of tokens, except for those of a JWKS URL.
    pub(super) tokens: KeySet,
    /// Keys of the HTTP API.
    pub(super) api: Vec<ApiKey>,
}

impl Sources {
    pub(super) fn of(auth: &Auth, api: &Api) -> Self {
        Self {
            secrets: auth.secrets.clone(),
            secret_algorithm: auth.secret_algorithm,
            key_files: auth.key_files.clone(),
            api_keys: api.keys.clone(),
            api_key_files: api.key_files.clone(),
        }
    }

    /// Replaces all keys of the API by these, without files.
    pub(super) fn set_api_keys(&mut self, keys: Vec<ApiKey>) {
        self.api_keys = keys;
        self.api_key_files = Vec::new();
    }

    /// Reads the files. If one of them cannot be used, this fails.
    pub(super) fn read(&self) -> Result<Material, StartError> {
        let mut keys = Vec::new();
        for secret in &self.secrets {
            let key = Key::hmac(self.secret_algorithm, &secret.0);
            // The configuration was checked when it was loaded.
            keys.push(key.map_err(|error| StartError::Secret(error.to_string()))?);
        }
        let mut tokens = KeySet::new(keys);
        for path in &self.key_files {
            tokens = tokens.and(&token_keys(path)?);
        }
        let mut api = self.api_keys.clone();
        for path in &self.api_key_files {
            api.extend(api_keys(path)?);
        }
        Ok(Material { tokens, api })
    }

    /// The stamps of all files; none for a file whose metadata cannot be read.
    pub(super) fn stamps(&self) -> Vec<Option<Stamp>> {
        let files = self.key_files.iter().chain(&self.api_key_files);
        files.map(|path| Stamp::of(path)).collect()
    }
}

fn text_of(path: &Path) -> Result<String, StartError> {
    let unusable = |source| StartError::File {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unusable)?;
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(unusable)?;
    if text.len() as u64 > MAX_FILE {
        let reason = format!("it is larger than {MAX_FILE} bytes, the limit for files with keys");
        return Err(unusable(io::Error::other(reason)));
    }
    Ok(text)
}

/// PEM, or a JSON Web Key Set.
fn token_keys(path: &Path) -> Result<KeySet, StartError> {
    let text = text_of(path)?;
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

/// An entry per line, as in the setting `api.keys`. Empty lines and those that begin with `#` are
/// skipped. A file without entries is an error: it is more likely to be incomplete than to mean
/// that no key is valid.
fn api_keys(path: &Path) -> Result<Vec<ApiKey>, StartError> {
    let wrong = |reason| StartError::ApiKeys {
        path: path.to_owned(),
        reason,
    };
    let text = text_of(path)?;
    let mut keys = Vec::new();
    for (n, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The line is not repeated: it may be the key itself.
        let key = line.parse::<ApiKey>();
        keys.push(key.map_err(|error| wrong(format!("line {}: {error}", n + 1)))?);
    }
    if keys.is_empty() {
        return Err(wrong(
            "it has no entry; `offhook token --api-key` creates one".to_owned(),
        ));
    }
    Ok(keys)
}
