//! The claims of a verified token.

use std::collections::BTreeMap;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use offhook_engine::{ChannelName, ClientClass, Grant, Identity, MAX_CLASS, Verbs};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    grants::{UserGrant, for_user, pattern_of, verbs_of},
    token_error::TokenError,
};

/// The longest name of a user, in bytes: it is sent with each of the user's publications.
pub const MAX_USER: usize = 256;
/// The longest `info`, in bytes: the same limit as for clients in the native dialect.
pub const MAX_INFO: usize = 256;
/// The maximum number of grants in one token. 128: as many as a session may have subscriptions.
pub const MAX_GRANTS: usize = 128;

/// The end of a grant by a subscription token that has none. A grant with an end is one by such a token:
/// a newer token replaces it, and sessions may have so many of them.
const NO_END: u64 = u64::MAX - 1;

/// The latest end of a token, in milliseconds since 1970. 2^53 - 1: clients are told the time that is
/// left, and JavaScript reads no larger integer exactly.
const LATEST: u64 = (1 << 53) - 1;

/// The claims that are used. Others are ignored.
#[derive(Deserialize)]
pub(crate) struct Payload<'a> {
    pub(crate) sub: Option<String>,
    pub(crate) exp: Option<serde_json::Number>,
    pub(crate) nbf: Option<serde_json::Number>,
    pub(crate) iat: Option<serde_json::Number>,
    pub(crate) iss: Option<String>,
    pub(crate) aud: Option<Audience>,
    channel: Option<String>,
    class: Option<String>,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    grants: Option<BTreeMap<String, Can>>,
}

/// One name or several (RFC 7519 §4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Several(several) => several.iter().any(|one| one == name),
        }
    }
}

/// Verbs as a string (`"publish+subscribe"`) or a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Can {
    Text(String),
    List(Vec<String>),
}

/// What a backend says of a client that connects.
#[derive(Deserialize)]
struct Stated<'a> {
    user: Option<String>,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    grants: Option<BTreeMap<String, Can>>,
    class: Option<String>,
    expires_in: Option<u64>,
}

/// The content of a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    user: String,
    info: Bytes,
    grants: Vec<Grant>,
    channel: Option<ChannelName>,
    class: Option<String>,
    ends_ms: Option<u64>,
    issued_ms: Option<u64>,
}

impl Claims {
    /// From claims whose times, audience and issuer were checked.
    pub(crate) fn new(
        payload: Payload<'_>,
        ends_ms: Option<u64>,
        issued_ms: Option<u64>,
    ) -> Result<Self, TokenError> {
        if payload.sub.as_deref().is_none_or(str::is_empty) && payload.channel.is_none() {
            return Err(TokenError::Missing("sub"));
        }
        Self::of(payload, ends_ms, issued_ms)
    }

    fn of(
        payload: Payload<'_>,
        ends_ms: Option<u64>,
        issued_ms: Option<u64>,
    ) -> Result<Self, TokenError> {
        let user = payload.sub.unwrap_or_default();
        let claim = |name, reason: String| TokenError::Claim { name, reason };
        if user.len() > MAX_USER {
            let reason = format!("is {} bytes; the limit is {MAX_USER}", user.len());
            return Err(claim("sub", reason));
        }
        // Names with control characters are reserved for sessions without a user.
        if user.chars().any(char::is_control) {
            return Err(claim("sub", "has a control character".to_owned()));
        }
        let channel = payload.channel.as_deref().map(ChannelName::new);
        let channel = channel.transpose();
        let channel = channel.map_err(|refusal| claim("channel", refusal.detail.into_owned()))?;
        if payload
            .class
            .as_deref()
            .is_some_and(|name| !ClientClass::is_name(name))
        {
            let reason = format!(
                "is no name of a class: expected letters, digits, -, _ and ., at most {MAX_CLASS} \
                 bytes"
            );
            return Err(claim("class", reason));
        }
        let info = payload.info.map_or("", RawValue::get);
        if info.len() > MAX_INFO {
            let reason = format!("is {} bytes; the limit is {MAX_INFO}", info.len());
            return Err(claim("info", reason));
        }
        let info = if info == "null" { "" } else { info };
        let grants = payload.grants.unwrap_or_default();
        if grants.len() > MAX_GRANTS {
            let reason = format!("has {} patterns; the limit is {MAX_GRANTS}", grants.len());
            return Err(claim("grants", reason));
        }
        let grants = grants.iter().map(|(pattern, can)| {
            let verbs = match can {
                Can::Text(text) => verbs_of(text.split('+')),
                Can::List(list) => verbs_of(list.iter().map(String::as_str)),
            }?;
            Ok(Grant::new(&for_user(pattern_of(pattern)?, &user), verbs))
        });
        let grants: Result<_, crate::InvalidGrant> = grants.collect();
        Ok(Self {
            grants: grants.map_err(|error| claim("grants", format!("is wrong: {error}")))?,
            info: Bytes::copy_from_slice(info.as_bytes()),
            user,
            channel,
            class: payload.class,
            ends_ms: ends_ms.map(|ends| ends.min(LATEST)),
            issued_ms,
        })
    }

    /// A backend's answer about a client that connects: JSON with `user`, `info`, `grants` and
    /// `class` as in a token (`user` for `sub`), and `expires_in`, in seconds from now. Without a
    /// user it stays anonymous. Other fields are not read.
    ///
    /// # Errors
    /// A field is of another type, too long or otherwise wrong.
    pub fn stated(text: &[u8], now_ms: u64) -> Result<Self, TokenError> {
        let stated: Stated<'_> = serde_json::from_slice(text).map_err(|_| {
            TokenError::Malformed("a field of the backend's answer has a wrong type")
        })?;
        let ends_ms = stated
            .expires_in
            .map(|seconds| now_ms.saturating_add(seconds.saturating_mul(1_000)));
        let payload = Payload {
            sub: stated.user,
            exp: None,
            nbf: None,
            iat: None,
            iss: None,
            aud: None,
            channel: None,
            class: stated.class,
            info: stated.info,
            grants: stated.grants,
        };
        Self::of(payload, ends_ms, None)
    }

    /// The user's name; empty only in a subscription token for an anonymous session.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The channel of a subscription token; none in a token that identifies a client.
    #[must_use]
    pub fn channel(&self) -> Option<&ChannelName> {
        self.channel.as_ref()
    }

    /// When it expires, in milliseconds since 1970.
    #[must_use]
    pub fn ends_ms(&self) -> Option<u64> {
        self.ends_ms
    }

    /// When it was issued, in milliseconds since 1970, if it says so.
    #[must_use]
    pub fn issued_ms(&self) -> Option<u64> {
        self.issued_ms
    }

    /// The identity of a client with this token: its own grants, and those of every user.
    #[must_use]
    pub fn identity(&self, of_users: &[UserGrant]) -> Identity {
        let of_users = of_users.iter().filter(|_| !self.user.is_empty());
        let of_users = of_users.map(|grant| grant.of(&self.user));
        Identity {
            info: self.info.clone(),
            info_is_fixed: !self.info.is_empty(),
            grants: self.grants.iter().cloned().chain(of_users).collect(),
            ends_ms: self.ends_ms,
            class: self.class.as_deref().map(Into::into),
            ..Identity::user(&self.user)
        }
    }

    /// The grant in a subscription token: to subscribe to its channel and to read it, until it
    /// expires.
    #[must_use]
    pub fn subscription(&self) -> Option<Grant> {
        let grant = Grant::new(self.channel.as_ref()?.as_str(), Verbs::READ);
        Some(grant.until(self.ends_ms.unwrap_or(NO_END)))
    }
}

/// A decoded token, from [`inspect`]; nothing is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified {
    /// The header, as JSON.
    pub header: String,
    /// The claims, as JSON.
    pub claims: String,
}

/// Decodes a token for people to read. This does not verify who made it.
///
/// # Errors
/// It is not three parts in base64url that hold JSON.
pub fn inspect(token: &str) -> Result<Unverified, TokenError> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _signature] = parts[..] else {
        return Err(TokenError::Malformed(
            "it does not have three parts between dots",
        ));
    };
    let json = |part: &str| {
        let bytes = BASE64URL_NOPAD.decode(part.as_bytes());
        let bytes = bytes.map_err(|_| TokenError::Malformed("a part is not base64url"))?;
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| TokenError::Malformed("a part is not UTF-8"))?;
        match serde_json::from_str::<&RawValue>(&text) {
            Ok(_) => Ok(text),
            Err(_) => Err(TokenError::Malformed("a part is not JSON")),
        }
    };
    Ok(Unverified {
        header: json(header)?,
        claims: json(claims)?,
    })
}
