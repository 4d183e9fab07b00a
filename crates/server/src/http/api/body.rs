//! The body of a request: complete, and within limits of size and time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Request, StatusCode,
    body::{Body as _, Incoming},
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::problem::Problem;

/// A received body.
pub(in crate::http) struct Body {
    pub(in crate::http) bytes: Bytes,
    pub(super) is_json: bool,
    /// `Idempotency-Key`, if the request has one.
    pub(super) idempotency_key: Option<String>,
}

impl Body {
    /// Reads a body of at most `limit` bytes, the value of `setting`, within `limit_time`. An announced
    /// length allocates nothing.
    pub(in crate::http) async fn read(
        request: Request<Incoming>,
        (limit, setting): (usize, &'static str),
        limit_time: Duration,
    ) -> Result<Self, Problem> {
        let headers = request.headers();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let kind = text(CONTENT_TYPE.as_str()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let is_json = kind.eq_ignore_ascii_case("application/json");
        if text(CONTENT_ENCODING.as_str()).is_some_and(|coding| coding != "identity") {
            let detail = "the body is compressed (Content-Encoding); send it uncompressed";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Problem::new(status, "bad_request", detail));
        }
        if headers.get_all("idempotency-key").iter().count() > 1 {
            let detail = "Idempotency-Key: is there twice; send one";
            return Err(Problem::bad(detail));
        }
        let idempotency_key = text("idempotency-key").map(str::to_owned);
        let too_large = || {
            let detail = format!("the body is longer than {limit} bytes ({setting})");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
        };
        let body = request.into_body();
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large());
        }
        let whole = timeout(limit_time, collect(body, limit)).await;
        let whole = whole.map_err(|_| {
            let detail =
                format!("the body was not complete within {limit_time:?} (api.body_timeout)");
            Problem::new(StatusCode::REQUEST_TIMEOUT, "timed_out", detail)
        })?;
        let bytes = match whole {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(too_large()),
            Err(error) => return Err(Problem::bad(format!("the body is incomplete: {error}"))),
        };
        Ok(Self {
            bytes,
            is_json,
            idempotency_key,
        })
    }

    /// Parses a JSON body.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let is_object = self.bytes.trim_ascii_start().starts_with(b"{");
        if !self.is_json {
            let detail = "expected a body of Content-Type: application/json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Problem::new(status, "bad_request", detail));
        }
        // Serde would also accept an array of the fields' values.
        if !is_object {
            return Err(Problem::bad("body: expected one JSON object"));
        }
        serde_json::from_slice(&self.bytes).map_err(|error| Problem::bad(format!("body: {error}")))
    }
}

/// None if it is longer than allowed.
async fn collect(mut body: Incoming, limit: usize) -> Result<Option<Bytes>, hyper::Error> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            if whole.len() + data.len() > limit {
                return Ok(None);
            }
            whole.extend_from_slice(data);
        }
    }
    Ok(Some(whole.into()))
}
