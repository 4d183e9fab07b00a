//! Origins, host names, URL paths, and the keys that seal resume tokens.

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use offhook::OriginPolicy;
use offhook::protocol::handshake::OriginPattern;

use super::Kind;
use crate::ResumeKey;
use crate::given::{Given, Misfit, Value};
use crate::toml_text::quoted;

/// Which web pages may connect.
pub(crate) struct Origins;

const SAME: &str = "same";
const ANY: &str = "any";

impl Kind for Origins {
    type Value = OriginPolicy;

    fn expected(&self) -> String {
        format!(
            "{SAME:?}, {ANY:?} or a list like [\"https://example.com\", \"https://*.example.com\", \
             \"http://localhost:*\"]"
        )
    }

    fn placeholder(&self) -> String {
        "same|any|ORIGIN".to_owned()
    }

    fn read(&self, given: &Given) -> Result<OriginPolicy, Vec<Misfit>> {
        let items = match &given.value {
            Value::List(items) if items.len() == 1 => items.as_slice(),
            Value::List(items) if !items.is_empty() => return allow_list(items),
            Value::List(_) => return Err(given.misfit(self.expected())),
            Value::Word(_)
            | Value::Text(_)
            | Value::Integer(_)
            | Value::Bool(_)
            | Value::Table(_)
            | Value::Other(_) => std::slice::from_ref(given),
        };
        match items[0].text() {
            Some(SAME) => Ok(OriginPolicy::SameOrigin),
            Some(ANY) => Ok(OriginPolicy::Any),
            Some(_) => allow_list(items),
            None => Err(items[0].misfit(self.expected())),
        }
    }

    fn write(&self, value: &OriginPolicy) -> Option<String> {
        Some(match value {
            OriginPolicy::SameOrigin => quoted(SAME),
            OriginPolicy::Any => quoted(ANY),
            OriginPolicy::AllowList(list) => {
                let list: Vec<_> = list.iter().map(|one| quoted(&one.to_string())).collect();
                format!("[{}]", list.join(", "))
            }
        })
    }

    fn is_list(&self) -> bool {
        true
    }
}

fn allow_list(items: &[Given]) -> Result<OriginPolicy, Vec<Misfit>> {
    let (mut origins, mut misfits) = (Vec::new(), Vec::new());
    for item in items {
        let parsed = item.text().unwrap_or_default().parse::<OriginPattern>();
        match (item.text(), parsed) {
            (Some(ANY), _) => {
                misfits.extend(
                    item.complaint("this word must not be in a list of origins; use it alone"),
                );
            }
            (Some(_), Ok(origin)) => origins.push(origin),
            (Some(_), Err(error)) => misfits.extend(item.complaint(error.to_string())),
            (None, _) => misfits.extend(item.misfit("an origin like \"https://example.com\"")),
        }
    }
    if misfits.is_empty() {
        Ok(OriginPolicy::AllowList(origins))
    } else {
        Err(misfits)
    }
}

/// A URL path that this server serves.
pub(crate) struct UrlPath;

/// Paths that are already in use.
const TAKEN: &[&str] = &[
    "/",
    "/talk",
    "/dashboard",
    "/docs",
    "/healthz",
    "/readyz",
    "/metrics",
];

impl Kind for UrlPath {
    type Value = String;

    fn expected(&self) -> String {
        "a path that begins with /, like \"/ws\"".to_owned()
    }

    fn placeholder(&self) -> String {
        "PATH".to_owned()
    }

    fn read(&self, given: &Given) -> Result<String, Vec<Misfit>> {
        let is_path = |text: &&str| {
            let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
            text.starts_with('/') && visible && !text.contains(['?', '#', '%'])
        };
        let text = given.text().filter(is_path);
        let path = text.ok_or_else(|| given.misfit(self.expected()))?;
        if TAKEN.contains(&path.trim_end_matches('/')) || path == "/" {
            return Err(given.complaint(format!("{path} is already in use; choose another path")));
        }
        Ok(path.to_owned())
    }

    fn write(&self, value: &String) -> Option<String> {
        Some(quoted(value))
    }
}

/// 32 secret bytes.
pub(crate) struct Secret;

impl Kind for Secret {
    type Value = ResumeKey;

    fn expected(&self) -> String {
        "32 random bytes in hexadecimal or base64 (`openssl rand -hex 32` creates them)".to_owned()
    }

    fn placeholder(&self) -> String {
        "KEY".to_owned()
    }

    fn read(&self, given: &Given) -> Result<ResumeKey, Vec<Misfit>> {
        // The value may be most of a secret: it is not repeated.
        let wrong = || given.complaint(format!("expected {}", self.expected()));
        let text = given.text().ok_or_else(wrong)?.trim().as_bytes();
        let encodings = [&HEXLOWER_PERMISSIVE, &BASE64, &BASE64URL_NOPAD];
        let mut decoded = encodings.iter().filter_map(|one| one.decode(text).ok());
        let key = decoded.find_map(|bytes| <[u8; 32]>::try_from(bytes).ok());
        key.map(ResumeKey).ok_or_else(wrong)
    }

    fn write(&self, _: &ResumeKey) -> Option<String> {
        None
    }
}

/// A host name, without a port.
pub(crate) struct HostName;

impl Kind for HostName {
    type Value = String;

    fn expected(&self) -> String {
        "a host name like \"chat.example.com\", without a scheme or port".to_owned()
    }

    fn placeholder(&self) -> String {
        "HOST".to_owned()
    }

    fn read(&self, given: &Given) -> Result<String, Vec<Misfit>> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let name = given.text().map(str::trim);
        let name = name.filter(|name| !name.is_empty() && name.chars().all(is_part));
        let name = name.map(str::to_ascii_lowercase);
        name.ok_or_else(|| given.misfit(self.expected()))
    }

    fn write(&self, value: &String) -> Option<String> {
        Some(quoted(value))
    }
}
