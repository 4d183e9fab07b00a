//! Errors of the API (RFC 9457).

use std::{fmt, time::Duration};

use hyper::{
    Method, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use offhook_auth::Scope;
use offhook_engine::{ErrorCode, Refusal};
use serde_json::{Value, json};

use super::{Answer, json_answer};
use crate::{door::Peer, refused::Client, worker::Worker};

/// An error of the API.
#[derive(Debug)]
pub(in crate::http) struct Problem {
    status: StatusCode,
    /// For programs: the codes of the native dialect, and some of HTTP's own.
    code: &'static str,
    detail: String,
    retry_after: Option<Duration>,
    allow: Option<String>,
}

impl Problem {
    pub(in crate::http) fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            retry_after: None,
            allow: None,
        }
    }

    pub(in crate::http) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub(super) fn no_key() -> Self {
        let detail = "the header Authorization: Bearer with an API key is missing";
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// The text does not contain the key: it may be a valid key with a typing error.
    pub(super) fn wrong_key() -> Self {
        let detail = "the API key is not one of this server's";
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    pub(in crate::http) fn scope(scope: Scope) -> Self {
        let detail = format!("this API key is not for {}; see api.keys", scope.name());
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub(super) fn no_route(path: &str) -> Self {
        let shown: String = path.chars().take(60).collect();
        let detail = format!("nothing is served at {shown:?}; see /api/v1/openapi.json");
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    pub(in crate::http) fn method(methods: &[Method]) -> Self {
        let names: Vec<_> = methods.iter().map(Method::as_str).collect();
        let names = names.join(", ");
        let detail = format!("this path supports {names}");
        Self {
            allow: Some(names),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        }
    }

    /// When to try again.
    pub(in crate::http) const fn after(mut self, pause: Option<Duration>) -> Self {
        self.retry_after = pause;
        self
    }

    /// When to try again, if that may help.
    pub(in crate::http) const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Invalid keys and bodies are logged for the operator; an unknown channel is the backend's
    /// concern.
    pub(in crate::http) fn is_worth_a_log(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED || self.status == StatusCode::REQUEST_TIMEOUT
    }

    /// Logs the refusal of a request to this path, and answers it.
    pub(in crate::http) fn logged(
        &self,
        worker: &Worker,
        kind: &'static str,
        (peer, path): (Option<Peer>, &str),
    ) -> Answer {
        let client = Client {
            peer,
            path: Some(path),
            ..Client::default()
        };
        worker.note_refusal(kind, self, client);
        self.answer()
    }

    /// The problem as JSON, for the body of an answer and for a result in a batch.
    pub(in crate::http) fn value(&self) -> Value {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let mut value = json!({
            "type": format!("urn:offhook:error:{}", self.code),
            "title": title,
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Some(pause) = self.retry_after {
            value["retry_after_ms"] = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX).into();
        }
        value
    }

    pub(in crate::http) fn answer(&self) -> Answer {
        let mut answer = json_answer(self.status, self.value().to_string());
        let headers = answer.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, kind);
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = self
            .allow
            .as_deref()
            .and_then(|a| HeaderValue::from_str(a).ok())
        {
            headers.insert(ALLOW, allow);
        }
        if let Some(pause) = self.retry_after {
            let seconds = pause.as_millis().div_ceil(1000).max(1);
            headers.insert(RETRY_AFTER, u64::try_from(seconds).unwrap_or(1).into());
        }
        answer
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self {
            retry_after: refusal.retry_after,
            ..Self::new(status(refusal.code), refusal.code.name(), refusal.detail)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BadRequest
        | ErrorCode::BadChannelName
        | ErrorCode::BadFilter
        | ErrorCode::BadKey
        | ErrorCode::BadTags => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthenticated | ErrorCode::BadToken => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden | ErrorCode::Rejected => StatusCode::FORBIDDEN,
        ErrorCode::UnknownChannel
        | ErrorCode::NotSubscribed
        | ErrorCode::NoHistory
        | ErrorCode::NoState
        | ErrorCode::NoPresence => StatusCode::NOT_FOUND,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::AlreadySubscribed
        | ErrorCode::TooManySubscriptions
        | ErrorCode::TooManyConsumers => StatusCode::CONFLICT,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::TooManyConnections
        | ErrorCode::TooManyChannels
        | ErrorCode::Busy
        | ErrorCode::Draining => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::BackendAway => StatusCode::BAD_GATEWAY,
        ErrorCode::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::StorageFailed | ErrorCode::StorageCorrupt => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
